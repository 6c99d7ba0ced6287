"""Measure what it costs to record 1,000 names of requests of 20 sources at 1/s, and to read their table; see README.md.

The recorder's own writer records the metrics, without a server; twelve numbers and a sketch of each row come once a
second, and every two seconds are written at once, as a recorder does that has much to write.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.stack import Stack

CODE = """
import json, random, time
import psutil
from django.db import connection, reset_queries
from metrics_stream.core.metrics.permission import EVERYTHING
from metrics_stream.core.metrics.sketch import Sketch
from metrics_stream.runs.row_tables import row_tables
from tests.support.recording import Recording, START, metric, start_run

NAMES, SOURCES, SECONDS, EACH, ROWS = {names}, {sources}, {seconds}, 2, 200
chance, process = random.Random(1), psutil.Process()
run, recording = start_run("many"), Recording("many")

def row(number, second):
    sketch = Sketch()
    for _ in range(5):
        sketch.add(chance.lognormvariate(3, 1))
    done = 5 * (second + 1)
    numbers = ("throughput_tps", "error_rate", "avg_response_time_ms", "min_response_time_ms", "p50_response_time_ms")
    numbers += ("p95_response_time_ms", "p99_response_time_ms", "max_response_time_ms")
    return {{
        "name": f"/api/resource/{{number}}", "method": "GET", "requests_total": done, "requests_failed": done // 100,
        "response_time_total_ms": done * 33.25, "received_bytes_total": done * 1000,
        **{{name: chance.random() * 100 for name in numbers}}, "sketches": {{"response_time_ms": sketch.encode()}},
    }}

def second_of(second):
    for source in range(SOURCES):
        yield metric(second, {{"requests_total": 5 * NAMES * second}}, source=f"gen-{{source}}")
        for first in range(0, NAMES, ROWS):
            rows = [row(number, second) for number in range(first, min(NAMES, first + ROWS))]
            yield metric(second, rows, metric_type="request", source=f"gen-{{source}}")

before, busy, used = process.memory_info().rss, 0.0, 0
for second in range(0, SECONDS, EACH):
    published = [list(second_of(at)) for at in range(second, min(SECONDS, second + EACH))]
    batches = [
        recording.publish(*[one for one in of_second if one.metric_type == slug])
        for of_second in published for slug in ("system", "request")
    ]
    recording.now = START + second + EACH
    began = time.process_time()
    recording.write(batches)
    busy += time.process_time() - began
    reset_queries()
    del published, batches
    used = max(used, process.memory_info().rss)
began = time.process_time()
run = recording.end(run)
ended = time.process_time() - began
began, cpu_began = time.perf_counter(), time.process_time()
tables = row_tables(run, permit=EVERYTHING)
took, cpu = time.perf_counter() - began, time.process_time() - cpu_began
print(json.dumps({{
    "cpu_per_second": busy / SECONDS, "end_seconds": ended, "grown_megabytes": (used - before) / 1e6,
    "rows": len(tables.requests), "requests": sum(one.totals.requests for one in tables.requests),
    "table_seconds": took, "table_cpu_seconds": cpu,
}}))
"""


def measure(names: int, sources: int, seconds: int) -> dict[str, Any]:
    """Return the figures of recording so many names of so many sources for some seconds."""
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack(Path(folder), "")
        stack.manage("migrate", "--verbosity", "0")
        code = CODE.format(names=names, sources=sources, seconds=seconds)
        found: dict[str, Any] = json.loads(stack.manage("shell", code=code, timeout=3_600).strip().splitlines()[-1])
    return found


def main(argv: Sequence[str]) -> int:
    """Print the figures; return 1 if a row or a request is missing."""
    parser = argparse.ArgumentParser(prog="dev.py bench recorded-requests", description=__doc__)
    parser.add_argument("--names", type=int, default=1_000, help="names of each source (%(default)s)")
    parser.add_argument("--sources", type=int, default=20, help="sources (%(default)s)")
    parser.add_argument("--seconds", type=int, default=60, help="seconds of the run (%(default)s)")
    options = parser.parse_args(argv)
    found = measure(options.names, options.sources, options.seconds)
    expected = 5 * options.names * options.sources * options.seconds
    lines = [
        ("processor time for each second", f"{found['cpu_per_second']:.2f} s of a core"),
        ("processor time at the end", f"{found['end_seconds']:.1f} s"),
        ("memory grown by at most", f"{found['grown_megabytes']:.0f} MB"),
        ("rows in the table", f"{found['rows']:,}"),
        ("requests counted", f"{found['requests']:,.0f} of {expected:,}"),
        ("table read in", f"{found['table_seconds']:.2f} s, {found['table_cpu_seconds']:.2f} s of a core"),
    ]
    for name, text in lines:
        sys.stdout.write(f"{name:>34}  {text}\n")
    return 0 if (found["rows"], found["requests"]) == (options.names, expected) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
