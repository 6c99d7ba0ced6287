"""`manage.py start_run`."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from metrics_stream.collectors.limits import number_between
from metrics_stream.core.errors import MetricsStreamError
from metrics_stream.runs import lifecycle as runs


class Command(BaseCommand):
    help = (
        "Start a test run and print its slug. What is published until `stop_run` belongs to it, and is recorded by a "
        "running server."
    )
    # Started and stopped by the scripts of stress tests, which should not wait for checks of pages.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="what is tested; other runs may have the same name")
        parser.add_argument(
            "--source",
            action="append",
            default=[],
            metavar="SOURCE",
            help="only what this source publishes belongs to the run; may be given several times (default: every one)",
        )
        parser.add_argument(
            "--tag", action="append", default=[], metavar="TAG", help="a word to find it by; several times, too"
        )
        parser.add_argument("--target-tps", help="the load that is aimed at, in transactions per second")
        parser.add_argument("--notes", default="", help="what should be remembered of it")

    def handle(self, **options: Any) -> None:
        target = options["target_tps"]
        try:
            run = runs.start(
                options["name"],
                sources=options["source"],
                tags=options["tag"],
                target_tps=None if target is None else number_between("--target-tps", target, 0.0, 1e12),
                notes=options["notes"],
            )
        except MetricsStreamError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(run.slug)
