"""`manage.py start_run`."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from metrics_stream.collectors.limits import number_between
from metrics_stream.core.errors import MetricsStreamError
from metrics_stream.core.run_values import read_parameter_lines
from metrics_stream.runs import lifecycle


class Command(BaseCommand):
    help = (
        "Start a test run and print its slug. Metrics published until `stop_run` belong to it, and a running server "
        "records them. With --started-at and --ended-at it is a run of a test that is over, whose metrics are recorded "
        "with their own times."
    )
    # The scripts of stress tests call this command and should not wait for the checks of pages.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="what is tested; several runs may have the same name")
        parser.add_argument(
            "--source",
            action="append",
            default=[],
            metavar="SOURCE",
            help="only metrics of this source belong to the run; may be repeated (default: every source)",
        )
        parser.add_argument(
            "--tag", action="append", default=[], metavar="TAG", help="a word by which to find the run; may be repeated"
        )
        parser.add_argument("--target-tps", help="the intended load, in transactions per second")
        parser.add_argument("--notes", default="", help="notes about the run")
        parser.add_argument("--test", help="the slug of the test, whose runs are compared (default: made of the name)")
        parser.add_argument(
            "--parameter",
            action="append",
            default=[],
            metavar="NAME=VALUE",
            help="what was tested and where, such as commit=3f2a9c1; may be repeated; seen by all who may see the run",
        )
        parser.add_argument("--started-at", metavar="TIME", help="when a test that is over began, as ISO 8601")
        parser.add_argument("--ended-at", metavar="TIME", help="when it ended")
        parser.add_argument(
            "--phase",
            action="append",
            default=[],
            nargs=3,
            metavar=("NAME", "START", "END"),
            help="a phase of a test that is over; may be repeated (`mark_phase` marks those of a run that goes on)",
        )

    def handle(self, **options: Any) -> None:
        target = options["target_tps"]
        try:
            run = lifecycle.start(
                options["name"],
                sources=options["source"],
                tags=options["tag"],
                target_tps=None if target is None else number_between("--target-tps", target, 0.0, 1e12),
                notes=options["notes"],
                test=options["test"],
                parameters=read_parameter_lines(options["parameter"]),
                started_at=options["started_at"],
                ended_at=options["ended_at"],
                phases=[dict(zip(("name", "start", "end"), phase, strict=True)) for phase in options["phase"]],
            )
        except MetricsStreamError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(run.slug)
