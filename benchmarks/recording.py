"""The cost of recording a fast test run, and the time to read a chart of a long one, in a SQLite database.

The server and its recorder run as in production. The recorder's own writer writes the long run at once instead of in an
hour; a separate process reads it.
"""

from __future__ import annotations

import json
import random
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.measure import Bench
from benchmarks.native import BenchError
from benchmarks.payload import FIELDS, numbers, schedule
from benchmarks.processes import cpu_seconds
from tests.support.stack import ROOT, Stack

RATE = 2_000.0
# Long enough for minutes to be closed and packed, as for nearly all of a longer run.
SECONDS = 90.0
SOURCES = 20
# How long the recorder may take after the last metric.
PATIENCE_SECONDS = 30.0

HOUR = """
import json
import random
import time
from benchmarks.payload import FIELDS, numbers
from metrics_stream.runs import series as run_series
from tests.support.recording import Recording, metric, start_run
run, recording = start_run("hour"), Recording("hour")
chance = random.Random(1)
for minute in range(60):
    recording.record(
        *(
            metric(second, dict(zip(FIELDS[:10], numbers(chance, second))), source=f"web-{source}")
            for second in range(60 * minute, 60 * minute + 60)
            for source in range(10)
        ),
        each=10,
    )
run = recording.end(run)
def measure(**wish):
    times = []
    for _ in range(30):
        began = time.perf_counter()
        found = run_series.series(run, max_points=300, **wish)
        times.append(1000 * (time.perf_counter() - began))
    return {"series": len(found), "times_ms": sorted(times)}
print(json.dumps({"all": measure(), "one": measure(fields=FIELDS[:1], source="web-0")}))
"""


def fast_run(bench: Bench, seconds: float = SECONDS) -> dict[str, float]:
    """Return the figures of recording RATE metrics a second, and the processor time of the same without a run."""
    folder = bench.folder / "recording"
    folder.mkdir()
    stack = Stack(folder, bench.redis_url())
    stack.manage("migrate", "--verbosity", "0")
    empty_bytes = file_bytes(folder / "db.sqlite3")
    stack.start()
    try:
        assert stack.server is not None
        pid = stack.server.pid
        idle_cpu = _publish(stack, pid, seconds / 3) / (seconds / 3)
        slug = stack.manage("start_run", "Fast").split()[0]
        cpu = _publish(stack, pid, seconds)
        published_at = time.monotonic()
        stack.manage("stop_run", slug)
        recorded = _wait_recorded(folder / "db.sqlite3", slug)
        behind = time.monotonic() - published_at
    finally:
        stack.stop()
    stored = file_bytes(folder / "db.sqlite3") - empty_bytes
    return {
        "metrics": RATE * seconds,
        "recorded": recorded,
        "behind_seconds": behind,
        "cpu_percent": 100 * cpu / seconds,
        "cpu_percent_without": 100 * idle_cpu,
        "bytes_per_number": stored / (recorded * len(FIELDS)),
        "stored_megabytes": stored / 1e6,
    }


def hour_run(bench: Bench) -> dict[str, Any]:
    """Return the times to read the series of an hour, and their size in the database."""
    folder = bench.folder / "hour"
    folder.mkdir()
    stack = Stack(folder, "")
    stack.manage("migrate", "--verbosity", "0")
    empty_bytes = file_bytes(folder / "db.sqlite3")
    found: dict[str, Any] = json.loads(stack.manage("shell", code=HOUR, timeout=600).strip().splitlines()[-1])
    return {**found, "bytes_per_number": (file_bytes(folder / "db.sqlite3") - empty_bytes) / (3600 * 100)}


def file_bytes(path: Path) -> int:
    """Return the size of a database, with all that has been written to it."""
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    return path.stat().st_size


def _publish(stack: Stack, pid: int, seconds: float) -> float:
    """Publish for `seconds`; return the processor time of the server."""
    before = cpu_seconds(pid)
    argv = [sys.executable, "-m", "benchmarks.recording", str(RATE), str(round(RATE * seconds))]
    subprocess.run(argv, cwd=ROOT, env={**stack.environment, "PYTHONPATH": str(ROOT)}, check=True)
    return cpu_seconds(pid) - before


def _wait_recorded(path: Path, slug: str) -> int:
    """Wait until a run is completely recorded; return the number of its metrics."""
    query = "SELECT metrics_recorded, recording_ended_at FROM metrics_stream_testrun WHERE slug = ?"
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        with sqlite3.connect(path) as database:
            recorded, ended_at = database.execute(query, [slug]).fetchone()
        database.close()
        if ended_at is not None:
            return int(recorded)
        time.sleep(0.1)
    raise BenchError(f"the run is not recorded {PATIENCE_SECONDS:g} s after its end")


def produce(rate: float, count: int) -> None:
    """Publish `count` metrics of twelve numbers, from SOURCES sources in turn, at `rate` a second."""
    import django

    django.setup()
    from metrics_stream.broadcast import Broadcaster

    chance = random.Random(1)
    with Broadcaster(source="bench", max_queued=100_000) as stream:
        for number, at in enumerate(schedule(rate, count, time.time())):
            time.sleep(max(0.0, at - time.time()))
            data = dict(zip(FIELDS, numbers(chance, number), strict=True))
            stream.broadcast_system_metrics(data, at, source=f"web-{number % SOURCES}")
        if not stream.flush(30) or stream.dropped:
            raise SystemExit(f"{stream.dropped} metrics were dropped: {stream.last_error}")


if __name__ == "__main__":
    produce(float(sys.argv[1]), int(sys.argv[2]))
