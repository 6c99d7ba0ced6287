"""What the scenarios of many rows have in common: a seeded dashboard in Chromium, fed by a program, and its figures."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

from benchmarks.dashboard import WATCH_LONG_TASKS, Watch, measure, profile, rows
from benchmarks.native import BenchError
from benchmarks.page import browser_page, running
from tests.support.stack import Stack


def rows_parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options of every such scenario."""
    parser = argparse.ArgumentParser(prog=f"dev.py bench {name}", description=description)
    parser.add_argument("--seconds", type=float, default=120.0, help="how long to measure (%(default)s)")
    parser.add_argument("--warm-up", type=float, default=20.0, help="seconds before that (%(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    parser.add_argument("--screenshot", type=Path, help="write a picture of the page at the end")
    parser.add_argument("--profile", type=Path, help="write a processor profile of the last seconds, for DevTools")
    return parser


def watch_rows(
    parser: argparse.ArgumentParser,
    options: argparse.Namespace,
    path: str,
    program: str,
    *arguments: float,
    counted: Callable[[Page], str],
    **environment: str,
) -> dict[str, Any]:
    """Start the stack, the browser and the program; return the figures, and what the page has counted at the end.

    `environment` has variables of the server.
    """

    def set_up(stack: Stack) -> None:
        stack.manage("seed_defaults", "--verbosity", "0")

    with contextlib.ExitStack() as exits:
        try:
            stack, browser, page = exits.enter_context(browser_page(set_up, WATCH_LONG_TASKS, **environment))
        except BenchError as error:
            parser.error(str(error))
        watch = Watch(browser, page)
        page.goto(path)
        page.get_by_text("Live", exact=True).wait_for()
        exits.enter_context(running(stack, program, *arguments))
        found: dict[str, Any] = measure(page, watch, options)
        found["counted"] = counted(page)
        if options.profile:
            profile(page, options.profile)
        if options.screenshot:
            page.screenshot(path=options.screenshot)
    return found


def show_rows(found: dict[str, Any], options: argparse.Namespace) -> None:
    """Print the figures, and write them to the file that the options name."""
    found["options"] = {name: value for name, value in vars(options).items() if isinstance(value, int | float)}
    found["load of the machine"] = os.getloadavg()
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    for name, text in [*rows(found), ("counted on the page", found["counted"])]:
        sys.stdout.write(f"{name:>34}  {text}\n")
