"""Run scenarios by name, or all of them: `python3 dev.py bench [NAME …]`."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import resource
import sys
from pathlib import Path

import psutil

from benchmarks.measure import Bench
from benchmarks.native import BenchError
from benchmarks.report import machine, text
from benchmarks.scenarios import SCENARIOS

# What runs only by name, with options of its own: the module and a title.
BY_NAME = {
    "dashboard": ("benchmarks.dashboard", "a dashboard of 12 line panels in Chromium"),
    "many-agents": ("benchmarks.many_agents", "1,000 agents at 1/s on the dashboard Agents in Chromium"),
    "many-requests": ("benchmarks.many_requests", "1,000 request names of 20 sources at 1/s in Chromium"),
    "recorded-requests": ("benchmarks.recorded_requests", "1,000 names of requests x 20 sources at 1/s recorded"),
    "neighbour": ("benchmarks.neighbour.measure", "a healthy client alone and beside one that uses all its limits"),
    "soak": ("benchmarks.soak.measure", "an hour of clients that come and go: whether memory grows"),
}


def parse(argv: list[str]) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(
        prog="dev.py bench",
        description="Measure speed against peers; see benchmarks/README.md.",
        epilog="To compare this tree with a commit see: dev.py bench --against COMMIT --help",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="scenarios to run, by default all; see --list")
    parser.add_argument("--list", action="store_true", help="list the scenarios and exit")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each system is measured (%(default)g)")
    parser.add_argument(
        "--rounds", type=int, default=1, help="how often systems that are compared take turns (%(default)s)"
    )
    parser.add_argument(
        "--clients", type=int, help="another number of clients, for a quick look; the targets do not apply then"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures to a file")
    options = parser.parse_args(argv)
    unknown = [name for name in options.names if name not in SCENARIOS]
    if unknown:
        parser.error(f"unknown scenario {unknown[0]!r}; allowed: {', '.join([*SCENARIOS, *BY_NAME])}")
    if options.seconds < 1 or options.rounds < 1 or (options.clients is not None and options.clients < 1):
        parser.error("--seconds, --rounds and --clients must be at least 1")
    return options


def main(argv: list[str]) -> int:
    """Run the scenarios; return 0 unless one could not run or a system delivered nothing."""
    if argv and argv[0] in BY_NAME:
        return int(importlib.import_module(BY_NAME[argv[0]][0]).main(argv[1:]) or 0)
    options = parse(argv)
    if options.list:
        for entry in SCENARIOS.values():
            print(f"{entry.name:<14} {entry.title}")
        for name, (_, title) in BY_NAME.items():
            print(f"{name:<14} {title} (its own options: {name} --help)")
        return 0
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    results, failed = {}, False
    bench = Bench(seconds=options.seconds, clients=options.clients, rounds=options.rounds)
    try:
        for name in options.names or SCENARIOS:
            entry = SCENARIOS[name]
            print(f"\n{name}: {entry.title}", flush=True)
            try:
                outcome = entry.run(bench)
            except (BenchError, AssertionError, OSError, psutil.Error) as error:
                failed = True
                print(f"  could not run: {error}", flush=True)
                results[name] = {"failed": str(error)}
                continue
            print(text(outcome), flush=True)
            failed = failed or any(row.get("delivered") == 0 for row in outcome.rows)
            results[name] = outcome.as_json()
    finally:
        bench.close()
    if options.json:
        document = {"machine": machine(), "options": {"seconds": options.seconds, "rounds": options.rounds}}
        options.json.write_text(json.dumps({**document, "scenarios": results}, separators=(",", ":")) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
