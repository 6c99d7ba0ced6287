"""The time to read the charts of runs of days and weeks, in a SQLite database.

The runs are written with the recorder's code and synthetic times, see tests/support/long_runs.py; a separate process
writes and reads them.
"""

from __future__ import annotations

import json
from typing import Any

from benchmarks.measure import Bench
from tests.support.stack import Stack

RUNS = {"72 hours": 3 * 86_400, "three weeks": 21 * 86_400}
# Sources, fields and points: what the charts of a page and of an export of everything ask for.
CHARTS = {"100 series": (10, 10, 300), "1,000 series": (100, 10, 60)}

CODE = """
import json
import time
from metrics_stream.runs import series as run_series
from tests.support.long_runs import write_minutes
found = []
for seconds, sources, fields, points in {cases}:
    began = time.perf_counter()
    run = write_minutes(f"run-{{seconds}}-{{sources}}", ends_at=1.8e9, seconds=seconds, sources=sources, fields=fields)
    written = time.perf_counter() - began
    times, cpu = [], []
    for _ in range({reads}):
        began, cpu_began = time.perf_counter(), time.process_time()
        columns = run_series.series(run, max_points=points)
        times.append(1000 * (time.perf_counter() - began))
        cpu.append(1000 * (time.process_time() - cpu_began))
    began = time.perf_counter()
    rows = run_series.summary(run)
    found.append({{
        "series": len(columns), "points": max(len(one.buckets) for one in columns), "times_ms": sorted(times),
        "cpu_ms": sorted(cpu),
        "summary_ms": 1000 * (time.perf_counter() - began), "summarized": len(rows), "write_seconds": written,
        "numbers": sum(row.count for row in rows),
    }})
print(json.dumps(found))
"""


def read_long_runs(bench: Bench, reads: int = 40) -> list[dict[str, Any]]:
    """Return the times to read each kind of chart of each run."""
    folder = bench.folder / "long-runs"
    folder.mkdir()
    stack = Stack(folder, "")
    stack.manage("migrate", "--verbosity", "0")
    labels = [(name, kind) for name in RUNS for kind in CHARTS]
    cases = [(RUNS[name], *CHARTS[kind]) for name, kind in labels]
    code = CODE.format(cases=cases, reads=reads)
    found = json.loads(stack.manage("shell", code=code, timeout=3_600).strip().splitlines()[-1])
    return [{"run": name, "kind": kind, **row} for (name, kind), row in zip(labels, found, strict=True)]
