"""Measure what a busy dashboard costs the browser: 12 line panels at 10 frames/s in a real Chromium; see README.md.

The page's main thread matters most, because every action of a person waits for it. Chromium runs headless and without
a GPU, so it draws canvases in software on that thread; the cost of DevTools is included. Server and producer run on the
same machine, so compare the thread's processor time, too.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from playwright.sync_api import Browser, CDPSession, Page

from benchmarks.native import BenchError
from benchmarks.page import dashboard_page, producing

# Tasks that keep the main thread so long that a person who types or scrolls can notice.
WATCH_LONG_TASKS = """
globalThis.longTasks = [];
const watcher = new PerformanceObserver((list) => {
  longTasks.push(...list.getEntries().map((task) => task.duration));
});
watcher.observe({type: "longtask"});
"""


class Sample(NamedTuple):
    """What the page had used at one moment: durations in seconds, counts, and frames received."""

    at: float
    wall: dict[str, float]
    thread_seconds: float
    chromium_seconds: float
    frames: int


class Memory(NamedTuple):
    """The memory and the objects of the page right after a forced garbage collection."""

    heap_bytes: int
    buffer_bytes: int
    nodes: int
    listeners: int


class Watch:
    """Read the page's meters over the DevTools protocol."""

    def __init__(self, browser: Browser, page: Page) -> None:
        self.frames = 0
        self.frame_bytes = 0
        page.on("websocket", lambda socket: socket.on("framereceived", self._count))
        self._page = page
        self._browser = browser.new_browser_cdp_session()
        self._wall = self._session("timeTicks")
        # The processor time of the same thread: on a busy machine, wall time includes the turns of other processes.
        self._thread = self._session("threadTicks")

    def _session(self, domain: str) -> CDPSession:
        session = self._page.context.new_cdp_session(self._page)
        session.send("Performance.enable", {"timeDomain": domain})
        return session

    def _count(self, payload: str | bytes) -> None:
        self.frames += 1
        self.frame_bytes += len(payload)

    def sample(self) -> Sample:
        """Return the current values of the meters."""
        wall, thread = _metrics(self._wall), _metrics(self._thread)
        processes = self._browser.send("SystemInfo.getProcessInfo")["processInfo"]
        return Sample(
            time.monotonic(), wall, thread["TaskDuration"], sum(each["cpuTime"] for each in processes), self.frames
        )

    def memory(self) -> Memory:
        """Collect garbage, then return the memory and objects that are left."""
        self._wall.send("HeapProfiler.enable")
        self._wall.send("HeapProfiler.collectGarbage")
        self._wall.send("HeapProfiler.disable")
        usage = self._wall.send("Runtime.getHeapUsage")
        counts = _metrics(self._wall)
        return Memory(
            int(usage["usedSize"]),
            int(usage.get("backingStorageSize", 0)),
            int(counts["Nodes"]),
            int(counts["JSEventListeners"]),
        )


def _metrics(session: CDPSession) -> dict[str, float]:
    return {each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]}


def show(samples: Sequence[tuple[Sample, Sample]]) -> dict[str, float]:
    """Return the shares of one core, and the rates, over periods without forced collections."""
    seconds = sum(end.at - start.at for start, end in samples)

    def share(name: str) -> float:
        return sum(end.wall[name] - start.wall[name] for start, end in samples) / seconds

    return {
        "main thread busy": share("TaskDuration"),
        "main thread busy, processor time": sum(end.thread_seconds - start.thread_seconds for start, end in samples)
        / seconds,
        "of it script": share("ScriptDuration"),
        "of it layout": share("LayoutDuration"),
        "of it style": share("RecalcStyleDuration"),
        "all of Chromium": sum(end.chromium_seconds - start.chromium_seconds for start, end in samples) / seconds,
        "layouts per second": share("LayoutCount"),
        "frames per second": sum(end.frames - start.frames for start, end in samples) / seconds,
    }


def measure(page: Page, watch: Watch, options: argparse.Namespace) -> dict[str, Any]:
    """Watch a page that is being fed, in as many stretches as there are tenths of the time; return the figures."""
    page.wait_for_timeout(options.warm_up * 1000)
    visible = page.locator(".panel[data-filled] canvas").count()
    memories = [watch.memory()]
    page.evaluate("longTasks.length = 0")
    stretches: list[tuple[Sample, Sample]] = []
    for _ in range(10):
        start = watch.sample()
        page.wait_for_timeout(options.seconds * 100)
        stretches.append((start, watch.sample()))
        memories.append(watch.memory())
        busy = show(stretches[-1:])
        sys.stderr.write(
            f"  {len(stretches)}0 %: {busy['main thread busy']:.1%} busy, {memories[-1].heap_bytes:,} bytes\n"
        )
    long_tasks: list[float] = page.evaluate("longTasks")
    return {
        "panels drawn": visible,
        "whole": show(stretches),
        "first tenth": show(stretches[:1]),
        "last tenth": show(stretches[-1:]),
        "memory": {
            name: memory._asdict()
            for name, memory in (("start", memories[0]), ("middle", memories[5]), ("end", memories[-1]))
        },
        "bytes per frame": watch.frame_bytes / max(1, watch.frames),
        "tasks of 50 ms or more": len(long_tasks),
        "longest task ms": max(long_tasks, default=0.0),
    }


def rows(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Return the figures as words."""
    for name, value in found["whole"].items():
        if name.endswith("per second"):
            yield name, f"{value:.1f}"
        else:
            first, last = found["first tenth"][name], found["last tenth"][name]
            yield name, f"{value:.1%} of a core (first tenth {first:.1%}, last tenth {last:.1%})"
    for key, name in (
        ("heap_bytes", "JavaScript heap, MB"),
        ("buffer_bytes", "array buffers, MB"),
        ("nodes", "DOM nodes"),
        ("listeners", "listeners"),
    ):
        values = [found["memory"][moment][key] for moment in ("start", "middle", "end")]
        yield (
            name,
            "start {}, middle {}, end {}".format(*(f"{v / 1e6:.2f}" if "MB" in name else str(v) for v in values)),
        )
    yield "target", "main thread at most 25% busy, heap flat"
    for name in ("panels drawn", "bytes per frame", "tasks of 50 ms or more", "longest task ms"):
        yield name, f"{found[name]:.0f}"


def main(argv: Sequence[str] | None = None) -> int:
    """Start the stack and the browser, measure and print; return 1 when the page did not draw all panels."""
    parser = argparse.ArgumentParser(prog="dev.py bench dashboard", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="how long to measure (%(default)s)")
    parser.add_argument("--warm-up", type=float, default=20.0, help="seconds before that (%(default)s)")
    parser.add_argument("--rate", type=float, default=10.0, help="samples per second of each source (%(default)s)")
    parser.add_argument("--window", type=int, default=300, help="seconds that each panel shows (%(default)s)")
    parser.add_argument(
        "--aged", action="store_true", help="fill the windows first, as on a page that is open for long"
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    parser.add_argument("--screenshot", type=Path, help="write a picture of the page at the end")
    parser.add_argument("--profile", type=Path, help="write a processor profile of the last seconds, for DevTools")
    options = parser.parse_args(argv)
    with contextlib.ExitStack() as exits:
        try:
            stack, browser, page = exits.enter_context(dashboard_page(options.window, WATCH_LONG_TASKS))
        except BenchError as error:
            parser.error(str(error))
        watch = Watch(browser, page)
        page.goto("/dashboards/bench/")
        page.get_by_text("Live", exact=True).wait_for()
        exits.enter_context(producing(stack, options.rate, options.window if options.aged else 0.0))
        found = measure(page, watch, options)
        if options.profile:
            profile(page, options.profile)
        if options.screenshot:
            page.screenshot(path=options.screenshot)
    found["options"] = {
        "seconds": options.seconds,
        "rate": options.rate,
        "window": options.window,
        "aged": options.aged,
    }
    found["load of the machine"] = os.getloadavg()
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    for name, text in rows(found):
        sys.stdout.write(f"{name:>34}  {text}\n")
    return 0 if found["panels drawn"] == 12 and found["whole"]["frames per second"] > 1 else 1


def profile(page: Page, path: Path) -> None:
    """Write a processor profile of ten seconds."""
    session = page.context.new_cdp_session(page)
    session.send("Profiler.enable")
    session.send("Profiler.start")
    page.wait_for_timeout(10_000)
    path.write_text(json.dumps(session.send("Profiler.stop")["profile"]))


if __name__ == "__main__":
    sys.exit(main())
