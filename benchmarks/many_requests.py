"""Measure what 1,000 request names of 20 sources at 1/s cost the browser on the dashboard Load test; see README.md.

Each source publishes its rows once a second, ten numbers each, in metrics of 100 rows, and the totals of all of them.
Server and producer run on the same machine as Chromium, so compare the thread's processor time, too.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from playwright.sync_api import Page

from benchmarks.rows_page import rows_parser, show_rows, watch_rows

# Publishes until its input ends. Only the counts and one latency of each row change, so that the producer keeps up.
PRODUCER = """
import random, sys, threading, time
import django
django.setup()
from metrics_stream.broadcast import Broadcaster, Sketch
names, sources = int(sys.argv[1]), int(sys.argv[2])
random.seed(1)
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
sketch = Sketch()
for _ in range(200):
    sketch.add(random.lognormvariate(4, 0.5))
encoded = sketch.encode()

def row(number):
    p50 = 20 + 60 * random.random()
    return {
        "name": f"/api/resource/{number}/details", "method": "GET" if number % 3 else "POST",
        "requests_total": 0, "requests_failed": number % 7, "throughput_tps": 5.0, "error_rate": 0.001,
        "avg_response_time_ms": round(1.1 * p50, 2), "p50_response_time_ms": round(p50, 2),
        "p95_response_time_ms": round(2.2 * p50, 2), "p99_response_time_ms": round(3.3 * p50, 2),
        "max_response_time_ms": round(5 * p50, 2),
    }

rows = [row(number) for number in range(names)]
with Broadcaster(source="generator-0", max_queued=100_000) as stream:
    started, second = time.time(), 0
    print("live", flush=True)
    while not ended.wait(max(0.0, started + second - time.time())):
        for each in rows:
            each["requests_total"] += 5
            each["p95_response_time_ms"] = round(90 + 90 * random.random(), 2)
        at = time.time()
        for source in range(sources):
            for first in range(0, names, 100):
                stream.broadcast("request", rows[first : first + 100], at, source=f"generator-{source}")
            totals = {
                "users": 50, "throughput_tps": 5.0 * names, "error_rate": 0.001, "p50_response_time_ms": 50.0,
                "p95_response_time_ms": 110.0, "p99_response_time_ms": 170.0,
                "sketches": {"response_time_ms": encoded},
            }
            stream.broadcast("system", totals, at, source=f"generator-{source}")
        second += 1
"""

# A second of these rows has more than the 4 MB that a view keeps by default.
LIMITS = {"METRICS_STREAM_MAX_PENDING_BYTES": "32000000", "METRICS_STREAM_SLOW_CLIENT_BYTES": "16000000"}


def counted(page: Page) -> str:
    """Return what the table of requests says of its rows."""
    return page.locator(".rows__count").first.inner_text()


def main(argv: Sequence[str] | None = None) -> int:
    """Start the stack and the browser, measure and print; return 1 when the table does not have all names."""
    parser = rows_parser("many-requests", __doc__)
    parser.add_argument("--names", type=int, default=1_000, help="how many names each source has (%(default)s)")
    parser.add_argument("--sources", type=int, default=20, help="how many sources (%(default)s)")
    options = parser.parse_args(argv)
    arguments = (options.names, options.sources)
    found = watch_rows(parser, options, "/dashboards/load-test/", PRODUCER, *arguments, counted=counted, **LIMITS)
    show_rows(found, options)
    return 0 if found["counted"].startswith(f"{options.names:,} rows") else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
