"""The scenarios: each has a name, measurements and targets. README.md lists them."""

from __future__ import annotations

import importlib
import re
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from benchmarks.load import Clients
from benchmarks.long_runs import read_long_runs
from benchmarks.measure import Bench, Row, Sampler, merged, per_frame, per_point, publish_and_count
from benchmarks.payload import FIELDS
from benchmarks.peers import BatchServer, Floor, Mosquitto, Nats, Tutorial, TutorialUvicorn
from benchmarks.processes import resident_bytes
from benchmarks.recording import fast_run, hour_run
from benchmarks.report import Goal, Outcome, ratio
from benchmarks.streams import (
    Stream,
    StreamDaphne,
    StreamInMemory,
    StreamInMemoryDaphne,
    StreamWithoutHistory,
    StreamWorkers2,
    StreamWorkers3,
)
from benchmarks.systems import Load, System

# Long enough to fill the buffers of clients that do not read, and for the server to close them.
STALLED_SECONDS = 30.0


@dataclass(frozen=True)
class Scenario:
    """One line of `--list`."""

    name: str
    title: str
    run: Callable[[Bench], Outcome]


SCENARIOS: dict[str, Scenario] = {}


def scenario(name: str, title: str) -> Callable[[Callable[[Bench], Outcome]], Callable[[Bench], Outcome]]:
    """Add a function to the list of scenarios."""

    def enter(run: Callable[[Bench], Outcome]) -> Callable[[Bench], Outcome]:
        SCENARIOS[name] = Scenario(name, title, run)
        return run

    return enter


def _missing(row: Row) -> Goal:
    return Goal(f"{row['system']}: points not delivered", 0, row["expected"] - row["delivered"])


def _by_system(rows: list[Row]) -> dict[str, Row]:
    return {row["system"]: row for row in rows if "absent" not in row}


def _quotient(rows: list[Row], kind: type[System], other: type[System], cost: Callable[[Row], float]) -> float | None:
    by_system = _by_system(rows)
    if kind.name not in by_system or other.name not in by_system:
        return None
    return ratio(cost(by_system[kind.name]), cost(by_system[other.name]))


@scenario("fan-out", "1,000 clients x 100 metrics/s, interval 0.1 s, one view, deflate agreed")
def fan_out(bench: Bench) -> Outcome:
    """Compare with the floor and with peers that compress."""
    load = bench.load(clients=1_000, rate=100.0)
    rows = bench.compare([Stream, Floor, Nats, BatchServer], load)
    stream = rows[0]
    return Outcome(
        rows,
        [
            _missing(stream),
            Goal("CPU per frame against the floor's", 3, _quotient(rows, Stream, Floor, per_frame), " x"),
            Goal("p99 age", 200, stream["p99_ms"], " ms"),
            Goal("CPU per point against nats-server's", 0.3, _quotient(rows, Stream, Nats, per_point), " x"),
        ],
    )


@scenario("fan-out-plain", "the same without deflate")
def fan_out_plain(bench: Bench) -> Outcome:
    """Compare with the floor and with peers."""
    load = bench.load(clients=1_000, rate=100.0, deflate=False)
    kinds = [Stream, Floor, StreamInMemory, StreamDaphne, Nats, Mosquitto, BatchServer]
    rows = bench.compare(kinds, load)
    return Outcome(
        rows,
        [
            _missing(rows[0]),
            Goal("CPU per frame against the floor's", 3, _quotient(rows, Stream, Floor, per_frame), " x"),
            Goal("CPU per point against nats-server's", 0.4, _quotient(rows, Stream, Nats, per_point), " x"),
        ],
    )


@scenario("history", "1,000 clients x 100 metrics/s, interval 0.1 s, with and without a history")
def history(bench: Bench) -> Outcome:
    """Compare the live delivery with and without a history."""
    rows = bench.compare([Stream, StreamWithoutHistory], bench.load(clients=1_000, rate=100.0))
    cost = _quotient(rows, Stream, StreamWithoutHistory, per_point)
    return Outcome(rows, [_missing(rows[0]), Goal("CPU per point against none", 1.1, cost, " x")])


@scenario("tutorial", "200 clients x 20 metrics/s against the Channels tutorial's way, in memory")
def tutorial(bench: Bench) -> Outcome:
    """Compare with consumers that join the group themselves."""
    load = bench.load(clients=200, rate=20.0, deflate=False)
    rows = bench.compare([StreamInMemory, StreamInMemoryDaphne, Tutorial, TutorialUvicorn], load)
    default = bench.measure(StreamInMemory, replace(load, interval_seconds=None, batch_size=None))
    against = "tutorial's CPU per point against metrics_stream's"
    theirs = _by_system(rows)[Tutorial.name]
    goals = [
        _missing(rows[0]),
        _missing(default),
        Goal(f"{against} by default", 50, ratio(per_point(theirs), per_point(default)), " x", at_most=False),
        Goal(f"{against} at 0.1 s", 50, _quotient(rows, Tutorial, StreamInMemory, per_point), " x", at_most=False),
    ]
    rows.append({**default, "system": "the same by default (interval 1 s)"})
    same = _quotient(rows, TutorialUvicorn, StreamInMemory, per_point)
    daphne = _quotient(rows, Tutorial, StreamInMemoryDaphne, per_point)
    notes = [f"{against}, both on uvicorn: {same or 0:.1f} x, both on daphne: {daphne or 0:.1f} x"]
    return Outcome(rows, goals, notes)


@scenario("many-clients", "5,000 clients x 100 metrics/s, interval 1 s, one process, deflate agreed")
def many_clients(bench: Bench) -> Outcome:
    """Measure whether one process serves them."""
    load = bench.load(clients=5_000, rate=100.0, interval_seconds=1.0, batch_size=None)
    row = bench.measure(Stream, load)
    return Outcome(
        [row],
        [
            _missing(row),
            Goal("connections closed", 0, sum(row["closed"].values())),
            Goal("p99 age", 1_250, row["p99_ms"], " ms"),
            Goal("CPU of one core", 25, 100 * row["cpu_seconds"] / row["seconds"], " %"),
        ],
    )


def _own_fields(index: int) -> dict[str, Any]:
    # Each client asks for another subset of the twelve fields, at least one field: the bits of its number.
    chosen = [name for bit, name in enumerate(FIELDS) if (index + 1) >> bit & 1]
    return {"fields": ["sent_at", "number", *chosen]}


@scenario("many-filters", "1,000 clients with 1,000 different filters x 100 metrics/s, interval 1 s")
def many_filters(bench: Bench) -> Outcome:
    """Measure clients that each ask for other fields, then clients that each ask for another agent."""
    rows, goals = [], []
    loads = {
        "other fields each": bench.load(
            clients=1_000, rate=100.0, interval_seconds=1.0, batch_size=None, filters=_own_fields
        ),
        "another agent each": bench.load(
            clients=1_000,
            rate=100.0,
            interval_seconds=1.0,
            batch_size=None,
            kind="agents",
            filters=lambda index: {"agent_ids": [f"agent_{index}"]},
            copies=0.01,
        ),
    }
    for name, load in loads.items():
        row = {**bench.measure(Stream, load), "system": f"metrics_stream, {name}"}
        rows.append(row)
        goals += [
            _missing(row),
            Goal(f"{name}: CPU of one core", 100, 100 * row["cpu_seconds"] / row["seconds"], " %"),
            Goal(f"{name}: p99 age", 1_500, row["p99_ms"], " ms"),
        ]
    return Outcome(rows, goals)


@scenario("one-producer", "5,000 metrics/s by one producer to one hub, 100 clients, interval 1 s")
def one_producer(bench: Bench) -> Outcome:
    """Measure a fast producer, with small metrics and with whole ones."""
    rows, goals = [], []
    for kind, name in (("small", "small metrics"), ("system", "metrics of 12 fields")):
        load = bench.load(clients=100, rate=5_000.0, interval_seconds=1.0, batch_size=None, kind=kind)
        row = {**bench.measure(Stream, load), "system": f"metrics_stream, {name}"}
        rows.append(row)
        goals += [_missing(row), Goal(f"{name}: p99 age", 1_500, row["p99_ms"], " ms")]
    return Outcome(rows, goals)


@scenario("idle-memory", "memory of idle connections beyond the first hundred")
def idle_memory(bench: Bench) -> Outcome:
    """Connect a hundred, then two thousand more; nothing is published."""
    more = bench.clients or 2_000
    notes, goals = [], []
    for subscribed in (False, True):
        load = bench.load(clients=more, rate=1.0, interval_seconds=None, batch_size=None, subscribed=subscribed)
        with (
            bench.running(Stream, load) as system,
            Clients(target=system.target(), count=100),
        ):
            before = _settled(system.pid)
            with Clients(target=system.target(), count=more) as clients:
                after = _settled(system.pid)
                kilobytes = (after - before) / 1000 / more
                what = "subscribed" if subscribed else "nothing subscribed"
                agreed = clients.connected["agreed"]
                notes.append(
                    f"{what}: {before / 1e6:.1f} MB with 100 clients, {after / 1e6:.1f} MB with {more:,} more "
                    f"(deflate agreed with {agreed:,}), connected within {clients.connected['connect_seconds']:.1f} s"
                )
                goals.append(Goal(f"memory per connection, {what}", 60, kilobytes, " kB"))
    return Outcome([], goals, notes)


def _settled(pid: int) -> int:
    """Return the resident memory once it has stopped growing, or after five seconds."""
    last, deadline = 0, time.monotonic() + 5
    while (now := resident_bytes(pid)) > last and time.monotonic() < deadline:
        last = now
        time.sleep(0.5)
    return max(now, last)


@scenario("overhead", "bytes and frames with the default delivery against one uncompressed frame per metric")
def overhead(bench: Bench) -> Outcome:
    """Compare bytes and frames at 20 metrics/s."""
    rows, goals = [], []
    for kind, name in (("system", "12 numbers"), ("demo", "the simulated test")):
        stream = bench.measure(
            Stream, bench.load(clients=20, rate=20.0, interval_seconds=None, batch_size=None, kind=kind)
        )
        plain = bench.measure(TutorialUvicorn, bench.load(clients=20, rate=20.0, deflate=False, kind=kind))
        less_bytes = 1 - stream["wire_bytes"] / stream["points"] / (plain["wire_bytes"] / plain["points"])
        fewer_frames = 1 - stream["frames"] / stream["points"] / (plain["frames"] / plain["points"])
        rows += [{**stream, "system": f"metrics_stream, {name}"}, {**plain, "system": f"frame per metric, {name}"}]
        goals += [
            _missing(rows[-2]),
            Goal(f"{name}: less bytes", 90, 100 * less_bytes, " %", at_most=False),
            Goal(f"{name}: fewer frames", 80, 100 * fewer_frames, " %", at_most=False),
        ]
    return Outcome(rows, goals)


@scenario("stalled", "20 clients that never read, 1 MB/s, beside 500 healthy ones")
def stalled(bench: Bench) -> Outcome:
    """Measure that clients that do not read are closed, and how much that delays the others."""
    load = bench.load(clients=500, rate=100.0, deflate=False, kind="large", seconds=max(bench.seconds, STALLED_SECONDS))
    rounds = [(_loaded(bench, load), _loaded(bench, replace(load, stalled=20))) for _ in range(bench.rounds)]
    alone = {**merged([one.row for one, _ in rounds]), "system": "healthy clients alone"}
    beside = {**merged([other.row for _, other in rounds]), "system": "healthy beside stalled ones"}
    worse = 100 * (beside["p99_ms"] / alone["p99_ms"] - 1) if alone["p99_ms"] else None
    without, last = rounds[-1]
    goals = [
        _missing(beside),
        Goal("closed with 4008 by the server's count", 20, last.closes, at_most=False),
        Goal("all of them closed after", 30, last.all_closed_after, " s"),
        Goal("memory left behind, above that without them", 10, (last.left_bytes - without.left_bytes) / 1e6, " MB"),
        Goal("p99 age of the healthy worse by", 10, worse, " %"),
    ]
    notes = [
        f"memory grew by {last.grown_bytes / 1e6:.1f} MB at most, and by {last.left_bytes / 1e6:.1f} MB in the end; "
        f"without stalled clients by {without.left_bytes / 1e6:.1f} MB",
        f"what stalled clients find when they read at last: {last.seen or 'nothing'} (1006: the connection is gone)",
    ]
    return Outcome([alone, beside], goals, notes)


class _Loaded(NamedTuple):
    """The figures of a load, and how the server's memory changed."""

    row: Row
    grown_bytes: int
    left_bytes: int
    closes: int
    all_closed_after: float | None
    seen: dict[str, int]


def _loaded(bench: Bench, load: Load) -> _Loaded:
    with (
        bench.running(Stream, load) as system,
        Clients(target=system.target(), count=load.clients + load.stalled, stalled=load.stalled) as clients,
    ):
        started_at, connected_bytes = time.monotonic(), resident_bytes(system.pid)

        def look() -> tuple[float, int, int]:
            closes = _slow_closes(system.port)
            return time.monotonic() - started_at, closes, resident_bytes(system.pid)

        with Sampler(look, every_seconds=1.0) as sampler:
            row = publish_and_count(system, load, clients)
        grown = max(size for *_, size in sampler.values) - connected_bytes
        left = _settled(system.pid) - connected_bytes
        clients.drain()
        seen = clients.wait_for("alive", load.clients + load.stalled + 1, patience=1.0)["closed"]
    all_closed_after = next((at for at, count, _ in sampler.values if count >= load.stalled), None)
    return _Loaded(row, grown, left, sampler.values[-1][1], all_closed_after, seen)


def _slow_closes(port: int) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found = re.search(r'^metrics_stream_closes_total\{code="4008"\} (\S+)', text, re.MULTILINE)
    return int(float(found[1])) if found else 0


@scenario("workers", "1,000 clients x 100 metrics/s, spread over one, two and three workers on one Valkey")
def workers(bench: Bench) -> Outcome:
    """Measure that no metric comes twice and none is missing."""
    load = bench.load(clients=1_000, rate=100.0, interval_seconds=1.0, batch_size=None)
    rows = bench.compare([Stream, StreamWorkers2, StreamWorkers3], load)
    goals = []
    for row in rows:
        goals += [_missing(row), Goal(f"{row['system']}: points twice", 0, row["repeated"] + row["gaps"])]
    return Outcome(rows, goals)


@scenario("first-paint", "a dashboard of 12 line panels reloaded in Chromium, 15 minutes of 200 metrics/s before it")
def first_paint(bench: Bench) -> Outcome:
    """Measure how long it takes until its charts show the past."""
    del bench
    # Playwright and an embedded Valkey are not on every machine.
    found = importlib.import_module("benchmarks.first_paint").reload_times()
    painted = sorted(each["painted"] for each in found["reloads"])
    middle = {name: sorted(each[name] for each in found["reloads"])[len(painted) // 2] for name in found["reloads"][0]}
    notes = [
        f"first opened {found['first']['painted']:,.0f} ms after the navigation began, reloaded {len(painted)} times",
        f"of a reload, in the middle: socket after {middle['connecting']:,.0f} ms, past asked for after "
        f"{middle['welcome']:,.0f}, there from {middle['first part']:,.0f} to {middle['all parts']:,.0f}, "
        f"{middle['bytes'] / 1e6:.1f} MB of JSON",
    ]
    p50, p95 = painted[len(painted) // 2], painted[int(0.95 * (len(painted) - 1))]
    return Outcome([], [Goal("filled, p50", 500, p50, " ms"), Goal("filled, p95", 500, p95, " ms")], notes)


@scenario("recording", "2,000 metrics/s of a test run into SQLite, and the series of a run of an hour out of it")
def recording(bench: Bench) -> Outcome:
    """Measure whether the recorder keeps up, how much it writes, and how long a chart takes."""
    fast, hour = fast_run(bench), hour_run(bench)
    times, one = hour["all"]["times_ms"], hour["one"]["times_ms"]
    notes = [
        f"{fast['recorded']:,} metrics recorded; the server took {fast['cpu_percent']:.1f} % of a core, "
        f"and {fast['cpu_percent_without']:.1f} % with the same metrics and no run",
        f"{fast['stored_megabytes']:.1f} MB in the database for them, "
        f"{hour['bytes_per_number']:.1f} bytes for each number of the hour with one in each second",
        f"one series of an hour, p50: {one[len(one) // 2]:.1f} ms; {hour['all']['series']} of them, p50: "
        f"{times[len(times) // 2]:.1f} ms",
    ]
    goals = [
        Goal("metrics not recorded", 0, max(0, fast["metrics"] - fast["recorded"])),
        Goal("recorded whole after the last was published", 5, fast["behind_seconds"], " s"),
        Goal("bytes for each number, all in all", 20, fast["bytes_per_number"]),
        Goal("100 series of an hour, p95", 100, times[int(0.95 * (len(times) - 1))], " ms"),
    ]
    return Outcome([], goals, notes)


@scenario(
    "long-runs", "charts of runs of 72 hours and three weeks, with one number a second for each series, from SQLite"
)
def long_runs(bench: Bench) -> Outcome:
    """Measure how long the charts of a whole run take."""
    goals, notes = [], []
    for row in read_long_runs(bench):
        times, cpu = row["times_ms"], row["cpu_ms"]
        p95 = int(0.95 * (len(times) - 1))
        limit = 150 if row["kind"] == "100 series" else 1_000
        goals.append(Goal(f"{row['run']}, {row['kind']}, p95", limit, times[p95], " ms"))
        notes.append(
            f"{row['run']}, {row['kind']}: {row['series']} of up to {row['points']} points, "
            f"p50 {times[len(times) // 2]:.0f} ms, processor time p95 {cpu[p95]:.0f} ms; "
            f"the summary of its {row['numbers']:,} numbers takes {row['summary_ms']:.0f} ms; "
            f"it was written in {row['write_seconds']:.0f} s"
        )
    return Outcome([], goals, notes)
