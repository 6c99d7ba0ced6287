"""Watch a k6 test live: publish its measurements to the dashboard "Operations" once a second, over HTTP.

    export METRICS_URL=https://metrics.example.com METRICS_TOKEN=mst_…
    k6 run --quiet --out json=/dev/stdout script.js | python examples/k6_metrics.py

It needs a token with the scope publish and the package msgspec, and neither Django nor Redis. Other output of k6 is
passed on, so k6's summary is at the end as usual.
"""

import json
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from metrics_stream.broadcast import Broadcaster, Sketch

COUNTED = {"http_reqs", "http_req_failed", "http_req_duration", "vus", "dropped_iterations"}

# The data of a metric and its time, in seconds since 1970.
Timed = tuple[dict[str, Any], float]


class Meter:
    """Turn k6's samples into `system` metrics by the time of each sample; k6 writes samples five times a second."""

    def __init__(self) -> None:
        self._began_at: float | None = None
        self._newest_at = 0.0
        self._total = 0
        self._failed = 0
        self._recent = 0
        self._recent_failed = 0
        self._users: int | None = None
        self._dropped_iterations = 0
        self._response_times = Sketch()

    def count(self, name: str, value: float, at: float) -> Timed | None:
        """Count one sample; when it ends a second, return the metric of that time and the instant of its end."""
        ended = None
        if self._began_at is None:
            self._began_at = at
        if (seconds := int(at - self._began_at)) >= 1:
            self._began_at += seconds
            ended = self._take(seconds), self._began_at
        self._newest_at = max(self._newest_at, at)
        match name:
            case "http_reqs":
                self._total += 1
                self._recent += 1
            case "http_req_failed" if value:
                self._failed += 1
                self._recent_failed += 1
            case "http_req_duration":
                self._response_times.add(value)
            case "vus":
                self._users = int(value)
            case "dropped_iterations":
                self._dropped_iterations += int(value)
        return ended

    def rest(self) -> Timed | None:
        """Return the metric of the samples after the last whole second, None without any sample."""
        if self._began_at is None:
            return None
        return self._take(self._newest_at - self._began_at), self._newest_at

    def _take(self, seconds: float) -> dict[str, Any]:
        recent, failed, times = self._recent, self._recent_failed, self._response_times.take()
        self._recent = self._recent_failed = 0
        return {
            # A shorter time says nothing about a rate per second.
            "throughput_tps": recent / seconds if seconds >= 0.5 else None,
            "requests_total": self._total,
            "requests_successful": self._total - self._failed,
            "requests_failed": self._failed,
            "error_rate": failed / recent if recent else None,
            "p50_response_time_ms": times.quantile(0.50),
            "p95_response_time_ms": times.quantile(0.95),
            "p99_response_time_ms": times.quantile(0.99),
            "sketches": {"response_time_ms": times.encode()},
            "users": self._users,
            "dropped_iterations": self._dropped_iterations,
        }


def samples(lines: Iterable[str]) -> Iterator[tuple[str, float, float]]:
    """Yield name, value and time of the samples in COUNTED; print lines that are not k6's JSON."""
    for line in lines:
        try:
            item = json.loads(line)
            if item["type"] != "Point" or item["metric"] not in COUNTED:
                continue
            name, value = item["metric"], float(item["data"]["value"])
            at = datetime.fromisoformat(item["data"]["time"]).timestamp()
        except (ValueError, LookupError, TypeError):
            print(line, end="")
        else:
            yield name, value, at


def connect() -> Broadcaster | None:
    """Return a Broadcaster, or print why there is none and return None."""
    try:
        if not {"METRICS_URL", "METRICS_TOKEN"} <= os.environ.keys():
            raise ValueError("set METRICS_URL and METRICS_TOKEN, the address of the server and a token for it")
        return Broadcaster(source="k6", url=os.environ["METRICS_URL"], token=os.environ["METRICS_TOKEN"])
    except ValueError as error:
        print(f"k6_metrics.py: nothing is published: {error}", file=sys.stderr)
        return None


def main() -> None:
    """Read until k6 ends, then wait until all metrics are sent."""
    # Ctrl-C reaches k6, too. k6 then ends the test in order, and its last samples and the summary are still to come.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stream, meter = connect(), Meter()
    if stream is None:
        for _ in samples(sys.stdin):
            pass  # k6 does not end until its output is read
        sys.exit(1)
    with stream:
        for sample in samples(sys.stdin):
            if ended := meter.count(*sample):
                stream.broadcast_system_metrics(*ended)
        if rest := meter.rest():
            stream.broadcast_system_metrics(*rest)


if __name__ == "__main__":
    main()
