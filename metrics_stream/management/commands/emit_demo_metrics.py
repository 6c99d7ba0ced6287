from argparse import ArgumentParser
from contextlib import ExitStack
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from metrics_stream.broadcast.broadcaster import Broadcaster
from metrics_stream.broadcast.run_block import BlockRun
from metrics_stream.collectors.demo.presentation import UNITS
from metrics_stream.collectors.demo.requests import REQUEST_WINDOWS
from metrics_stream.collectors.demo.simulation import MAX_AGENTS, DemoStep, DemoTest
from metrics_stream.collectors.limits import number_between
from metrics_stream.collectors.pace import stop_on_signals, ticks
from metrics_stream.collectors.progress import ProgressLine, clock_text, stream_text
from metrics_stream.core.errors import MetricsStreamError


class Command(BaseCommand):
    help = (
        "Publish a simulated stress test as metrics of all types: ramp, plateau, spike and recovery, requests by name "
        "and their errors, an agent that fails and recovers, costs and savings. The same seed gives the same test."
    )
    # A producer needs neither a database nor pages, so their checks would only delay it.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        # Values are checked in handle(), so that call_command() with numbers gives the same errors as the shell.
        parser.add_argument("--seed", default=1, help="a whole number that selects the test (default 1)")
        parser.add_argument("--rate", default=2.0, help="steps per second, 0.1 to 50 (default 2)")
        parser.add_argument(
            "--duration",
            default=0.0,
            help="seconds in which the whole story takes place (default 0: cycles of four minutes until stopped)",
        )
        parser.add_argument("--agents", default=5, help=f"the number of agents, 1 to {MAX_AGENTS} (default 5)")
        parser.add_argument("--source", default="demo", help="the source of the metrics (default demo)")
        parser.add_argument(
            "--record", metavar="NAME", default="", help="record the test as a run of this name, with its phases"
        )
        parser.add_argument("--quiet", action="store_true", help="show no progress")

    def handle(self, **options: Any) -> None:
        try:
            rate = number_between("--rate", options["rate"], 0.1, 50.0)
            test = DemoTest(options["seed"], options["agents"], options["duration"])
            with stop_on_signals() as stop, Broadcaster(source=options["source"]) as stream, ExitStack() as block:
                progress = ProgressLine(self.stdout, quiet=options["quiet"])
                run = self._start_run(stream, test, options, block)
                full_second, phase = -1, ""
                for elapsed in ticks(1 / rate, stop=stop, duration_seconds=test.duration_seconds):
                    step = test.step(elapsed)
                    if run is not None and step.phase != phase:
                        phase = step.phase
                        run.phase(phase)
                    publish_step(stream, step)
                    if int(elapsed) != full_second:
                        full_second = int(elapsed)
                        publish_summary(stream, step)
                    progress.show(f"demo {clock_text(elapsed)}, {step.phase}: {stream_text(stream)}")
                if not stream.flush(timeout=3.0):
                    self.stderr.write(f"{stream.queued:,} metrics could not be delivered: {stream.last_error}")
                progress.close(f"demo ended: {stream_text(stream)}")
        except MetricsStreamError as error:
            raise CommandError(str(error)) from error

    def _start_run(
        self, stream: Broadcaster, test: DemoTest, options: dict[str, Any], block: ExitStack
    ) -> BlockRun | None:
        """Start the run that `--record` asks for; it ends with `block`."""
        if not options["record"]:
            return None
        parameters = {"seed": test.seed, "agents": int(options["agents"]), "rate": float(options["rate"])}
        run = block.enter_context(stream.stress_test_run(options["record"], tags=["demo"], parameters=parameters))
        if not options["quiet"]:
            self.stdout.write(f"recorded as {run.slug}")
        return run


def publish_step(stream: Broadcaster, step: DemoStep) -> None:
    """Publish the metrics that come with every step."""
    stream.broadcast_system_metrics({**step.system, "sketches": {"response_time_ms": step.requests.response_times}})
    stream.broadcast_agent_metrics(step.agents)
    stream.broadcast("request", step.requests.rows, windows=REQUEST_WINDOWS)
    if step.requests.errors:
        stream.broadcast("error", step.requests.errors)


def publish_summary(stream: Broadcaster, step: DemoStep) -> None:
    """Publish the metrics for which once per second is enough."""
    stream.broadcast_business_metrics(step.business)
    stream.broadcast_hero_metrics(step.hero)
    stream.broadcast_presentation_data(step.presentation, units=UNITS)
