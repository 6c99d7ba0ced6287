"""Watch a k6 test live: what it measures goes to the dashboard "Operations" once a second, over HTTP.

    export METRICS_URL=https://metrics.example.com METRICS_TOKEN=mst_…
    k6 run --quiet --out json=/dev/stdout script.js | python examples/k6_metrics.py

It needs a token with the scope publish and the package msgspec, and neither Django nor Redis. What k6 prints besides
its samples is passed on.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from metrics_stream.broadcast import Broadcaster, Sketch

INTERVAL_SECONDS = 1.0


class Meter:
    """Counts k6's samples into `system` metrics."""

    def __init__(self) -> None:
        self._total = 0
        self._failed = 0
        self._recent = 0
        self._recent_failed = 0
        self._users = 0
        self._response_times = Sketch()

    def count(self, sample: dict[str, Any]) -> None:
        """Count one sample."""
        value = sample["data"]["value"]
        match sample["metric"]:
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

    def take(self, seconds: float) -> dict[str, Any]:
        """Return what was measured in the last seconds, and begin anew."""
        recent, failed, times = self._recent, self._recent_failed, self._response_times.take()
        self._recent = self._recent_failed = 0
        return {
            "throughput_tps": recent / seconds,
            "requests_total": self._total,
            "requests_successful": self._total - self._failed,
            "requests_failed": self._failed,
            "error_rate": failed / recent if recent else 0.0,
            "p50_response_time_ms": times.quantile(0.50),
            "p95_response_time_ms": times.quantile(0.95),
            "p99_response_time_ms": times.quantile(0.99),
            "sketches": {"response_time_ms": times.encode()},
            "users": self._users,
        }


def main() -> None:
    """Read until k6 ends, then wait until all has left."""
    meter, began_at = Meter(), time.monotonic()
    with Broadcaster(source="k6", url=os.environ["METRICS_URL"], token=os.environ["METRICS_TOKEN"]) as stream:
        for line in sys.stdin:
            try:
                sample = json.loads(line)
                if sample["type"] == "Point":
                    meter.count(sample)
            except (ValueError, LookupError, TypeError):
                print(line, end="")
            if (seconds := time.monotonic() - began_at) >= INTERVAL_SECONDS:
                stream.broadcast_system_metrics(meter.take(seconds))
                began_at += seconds
        stream.broadcast_system_metrics(meter.take(max(time.monotonic() - began_at, 0.001)))


if __name__ == "__main__":
    main()
