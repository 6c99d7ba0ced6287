from argparse import ArgumentParser
from contextlib import ExitStack
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from metrics_stream.broadcast.broadcaster import Broadcaster
from metrics_stream.collectors.host import UNITS, HostMetrics
from metrics_stream.collectors.limits import number_between
from metrics_stream.collectors.pace import stop_on_signals, ticks
from metrics_stream.collectors.probe import Probe
from metrics_stream.collectors.progress import ProgressLine, clock_text, stream_text
from metrics_stream.conf import get_settings
from metrics_stream.core.errors import MetricsStreamError
from metrics_stream.core.sources import host_source


class Command(BaseCommand):
    help = (
        "Publish processor, memory, network and disk of this machine as system metrics; with --probe also throughput, "
        "response times and errors of real requests to a URL."
    )
    # A producer needs neither a database nor pages, so their checks would only delay it.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        # Values are checked in handle(), so that call_command() with numbers gives the same errors as the shell.
        parser.add_argument("--interval", default=1.0, help="seconds between two metrics, 0.1 to 3600 (default 1)")
        parser.add_argument("--probe", metavar="URL", help="an http or https URL to send requests to")
        parser.add_argument("--rate", default=10.0, help="requests per second to that URL, 0.1 to 1000 (default 10)")
        parser.add_argument("--source", help="the source of the metrics (default: the setting SOURCE with -host)")
        parser.add_argument("--duration", default=0.0, help="seconds (default 0: until stopped)")
        parser.add_argument("--quiet", action="store_true", help="show no progress")

    def handle(self, **options: Any) -> None:
        try:
            interval = number_between("--interval", options["interval"], 0.1, 3600.0)
            duration = number_between("--duration", options["duration"], 0.0, 31_536_000.0)
            probe = Probe(options["probe"], options["rate"]) if options["probe"] is not None else None
            with ExitStack() as stack:
                stop = stack.enter_context(stop_on_signals())
                stream = stack.enter_context(
                    Broadcaster(source=options["source"] or host_source(get_settings().source))
                )
                if probe is not None:
                    stack.enter_context(probe)
                host = HostMetrics()
                progress = ProgressLine(self.stdout, quiet=options["quiet"])
                for elapsed in ticks(interval, stop=stop, duration_seconds=duration, first=1):
                    metric = host.sample()
                    if probe is not None:
                        metric |= probe.sample()
                    stream.broadcast_system_metrics(metric, units=UNITS)
                    progress.show(f"host {clock_text(elapsed)}, {state_text(metric, probe)}: {stream_text(stream)}")
                if not stream.flush(timeout=3.0):
                    self.stderr.write(f"{stream.queued:,} metrics could not be delivered: {stream.last_error}")
                progress.close(f"host ended: {stream_text(stream)}")
        except MetricsStreamError as error:
            raise CommandError(str(error)) from error


def state_text(metric: dict[str, Any], probe: Probe | None) -> str:
    """Return the state of the machine and of the probe in a few words."""
    text = f"cpu {metric['cpu_utilization']:.0%}, memory {metric['memory_utilization']:.0%}"
    if probe is None:
        return text
    text += f", probe {metric.get('throughput_tps', 0):.1f}/s"
    if "p95_response_time_ms" in metric:
        text += f" p95 {metric['p95_response_time_ms']:.1f} ms"
    return f"{text} ({probe.last_error})" if probe.last_error else text
