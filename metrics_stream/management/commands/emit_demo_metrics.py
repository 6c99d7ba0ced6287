from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from metrics_stream.broadcast.broadcaster import Broadcaster
from metrics_stream.collectors.demo.simulation import MAX_AGENTS, DemoStep, DemoTest
from metrics_stream.collectors.limits import number_between
from metrics_stream.collectors.pace import stop_on_signals, ticks
from metrics_stream.collectors.progress import ProgressLine, clock_text, stream_text
from metrics_stream.core.errors import MetricsStreamError


class Command(BaseCommand):
    help = (
        "Publish a simulated stress test: ramp, plateau, spike and recovery, an agent that fails and comes back, and "
        "what it all earns, as metrics of all five types. The same seed gives the same test."
    )
    # A producer needs no database and no pages, so their checks would only delay it.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        # Values are checked in handle(), so that call_command() with numbers gets the same answers as the shell.
        parser.add_argument("--seed", default=1, help="which test it is: a whole number (default 1)")
        parser.add_argument("--rate", default=2.0, help="steps per second, 0.1 to 50 (default 2)")
        parser.add_argument(
            "--duration",
            default=0.0,
            help="seconds; the whole story is told in this time (default 0: four-minute cycles until stopped)",
        )
        parser.add_argument("--agents", default=5, help=f"how many agents take part, 1 to {MAX_AGENTS} (default 5)")
        parser.add_argument("--source", default="demo", help="the source that the metrics name (default demo)")
        parser.add_argument("--quiet", action="store_true", help="show no progress")

    def handle(self, **options: Any) -> None:
        try:
            rate = number_between("--rate", options["rate"], 0.1, 50.0)
            test = DemoTest(options["seed"], options["agents"], options["duration"])
            with stop_on_signals() as stop, Broadcaster(source=options["source"]) as stream:
                progress = ProgressLine(self.stdout, quiet=options["quiet"])
                full_second = -1
                for elapsed in ticks(1 / rate, stop=stop, duration_seconds=test.duration_seconds):
                    step = test.step(elapsed)
                    stream.broadcast_system_metrics(step.system)
                    stream.broadcast_agent_metrics(step.agents)
                    if int(elapsed) != full_second:
                        full_second = int(elapsed)
                        publish_summary(stream, step)
                    progress.show(f"demo {clock_text(elapsed)}, {step.phase}: {stream_text(stream)}")
                if not stream.flush(timeout=3.0):
                    self.stderr.write(f"{stream.queued:,} metrics could not be delivered: {stream.last_error}")
                progress.close(f"demo ended: {stream_text(stream)}")
        except MetricsStreamError as error:
            raise CommandError(str(error)) from error


def publish_summary(stream: Broadcaster, step: DemoStep) -> None:
    """Publish what people read rather than follow, and what once per second is enough for."""
    stream.broadcast_business_metrics(step.business)
    stream.broadcast_hero_metrics(step.hero)
    stream.broadcast_presentation_data(step.presentation)
