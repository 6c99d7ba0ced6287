"""A real Locust, single and with two workers: its own result file and the run that was recorded of it agree.

It needs the program `locust`, on the PATH or named by LOCUST, in an environment that has msgspec and uvloop too.
"""

import asyncio
import csv
import json
import os
import shutil
import subprocess
import threading
from datetime import datetime
from pathlib import Path

import pytest
import websockets

from tests.faults.conftest import fault_stack
from tests.support.server_recording import ServerRecording
from tests.support.stack import ROOT, free_port, wait_until

LOCUST = os.environ.get("LOCUST") or shutil.which("locust")

pytestmark = [
    pytest.mark.faults,
    pytest.mark.valkey,
    pytest.mark.skipif(LOCUST is None, reason="the program locust is not installed"),
]

# Generous: the machine may be busy with other tests.
COMMAND_SECONDS = 300.0
RUN_SECONDS = int(os.environ.get("LOCUST_RUN_SECONDS", "60"))

# Five named addresses, of which one fails at times; response times over two powers of ten.
LOCUSTFILE = """
import sys
sys.path.insert(0, {root!r})
from examples.locustfile import *
from examples import locustfile
import random
import time
from locust import User, constant_pacing

locustfile.Monitor.abstract = locustfile.Visitor.abstract = True

class Shopper(User):
    wait_time = constant_pacing(0.2)

    @task
    def visit(self):
        name = random.choice(["/", "/cart", "/search", "/item/[id]", "/pay"])
        taken = random.lognormvariate(3, 1)
        time.sleep(taken / 1000)
        error = ValueError("declined") if name == "/pay" and random.random() < 0.2 else None
        self.environment.events.request.fire(
            request_type="GET", name=name, response_time=taken, response_length=10, exception=error, context={{}}
        )
"""

READ = """
import json
from metrics_stream.models import TestRun
from metrics_stream.runs import series
from metrics_stream.runs.totals import totals
import msgspec
run = TestRun.objects.get()
lines = [
    [one.field, [[one.starts_at + bucket, last] for bucket, last in zip(one.buckets, one.percentile or one.last)]]
    for one in series.series(run, metric_type="system", source="locust", max_points=10_000)
]
print(json.dumps([msgspec.to_builtins(totals(run)), lines]))
"""


class Viewer:
    """A client that keeps the live metrics of the test, in a thread."""

    def __init__(self, stack):
        self._stack = stack
        self.metrics = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._watch()))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join(30)

    async def _watch(self):
        async with websockets.connect(self._stack.socket_url, max_size=None) as socket:
            for message in (
                {"type": "set_update_interval", "interval_seconds": 0.1},
                {"type": "subscribe", "metric_types": ["system"]},
            ):
                await socket.send(json.dumps(message))
            while not self._ended.is_set():
                try:
                    frame = json.loads(await asyncio.wait_for(socket.recv(), 0.5))
                except TimeoutError:
                    continue
                if frame["type"] in {"metric_update", "metric_batch"}:
                    data = frame["data"]
                    self.metrics += data if isinstance(data, list) else [data]


@pytest.fixture
def stack(valkey_url, tmp_path_factory):
    own = fault_stack(tmp_path_factory.mktemp("locust"), valkey_url)
    own.make_database()
    own.start()
    yield own
    own.stop()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_says_what_locust_says(stack, tmp_path, workers):
    locustfile = tmp_path / "locustfile.py"
    locustfile.write_text(LOCUSTFILE.format(root=str(ROOT)))
    token = stack.manage(
        *("create_token", "locust", "--scope", "publish", "--scope", "runs", "--metric-type", "all"),
        timeout=COMMAND_SECONDS,
    )
    environment = {**os.environ, "METRICS_URL": stack.url, "METRICS_TOKEN": token.strip().splitlines()[-1]}
    with Viewer(stack) as viewer:
        _run_locust(tmp_path, environment, workers)
        recording = ServerRecording(stack)
        wait_until(lambda: recording.has_ended, 30)
    found, lines = json.loads(stack.manage("shell", "-v", "0", code=READ, timeout=COMMAND_SECONDS))
    with (tmp_path / "result_stats.csv").open(newline="") as file:
        (aggregated,) = [row for row in csv.DictReader(file) if row["Name"] == "Aggregated"]
    _print_figures(workers, found, aggregated)
    assert found["requests"] == int(aggregated["Request Count"]) > 10 * RUN_SECONDS
    assert found["failures"] == int(aggregated["Failure Count"]) > 0
    assert found["rate"] == pytest.approx(float(aggregated["Requests/s"]), rel=1e-6)
    assert found["mean_ms"] == pytest.approx(float(aggregated["Average Response Time"]), rel=1e-6)
    assert found["max_ms"] == pytest.approx(float(aggregated["Max Response Time"]), rel=1e-9)
    for name, column in (("p50", "50%"), ("p90", "90%"), ("p95", "95%"), ("p99", "99%"), ("p999", "99.9%")):
        assert found["percentiles"][name] == pytest.approx(float(aggregated[column]), rel=0.01, abs=0.5), name
    assert found["peak_users"] == 20
    _compare_lines(viewer.metrics, dict(lines))


def _run_locust(folder: Path, environment, workers):
    port = free_port()
    common = [LOCUST, "-f", "locustfile.py", "--headless", "--loglevel", "WARNING"]
    test = ["--users", "20", "--spawn-rate", "10", "--run-time", f"{RUN_SECONDS}s", "--csv", "result"]
    test += ["--only-summary", "--record", "shop"]
    roles = [[*common, *test]]
    if workers:
        roles = [[*common, *test, "--master", "--master-bind-port", str(port), "--expect-workers", str(workers)]]
        roles += [[*common, "--worker", "--master-port", str(port)]] * workers
    with (folder / "locust.log").open("w") as log:
        running = [
            subprocess.Popen(role, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT) for role in roles
        ]
        try:
            running[0].wait(RUN_SECONDS + 60)
        finally:
            for process in running:
                process.terminate()
                process.wait(20)


def _compare_lines(live, lines):
    """Compare the live metrics with the recorded series, second by second."""
    seconds = {}
    for metric in live:
        if metric["source"] == "locust":
            seconds.setdefault(int(_seconds(metric["timestamp"])), []).append(metric)
    alone = {second: metrics[0] for second, metrics in seconds.items() if len(metrics) == 1}
    assert len(alone) > 0.8 * RUN_SECONDS
    for field in (
        "throughput_tps",
        "error_rate",
        "p50_response_time_ms",
        "p95_response_time_ms",
        "p99_response_time_ms",
    ):
        recorded = {int(at): value for at, value in lines[field]}
        shown = {second: metric["data"][field] for second, metric in alone.items() if metric["data"][field] is not None}
        assert {second: recorded[second] for second in shown} == shown, field
        assert {metric["windows"][field] for metric in alone.values()} == {10}


def _seconds(timestamp):
    return datetime.fromisoformat(timestamp).timestamp()


def _print_figures(workers, found, aggregated):
    print(f"\nLocust, {workers or 'no'} workers, {RUN_SECONDS} s: run page | Locust's CSV")
    pairs = [
        ("requests", found["requests"], "Request Count"),
        ("failures", found["failures"], "Failure Count"),
        ("rate", found["rate"], "Requests/s"),
        ("average", found["mean_ms"], "Average Response Time"),
        ("maximum", found["max_ms"], "Max Response Time"),
        *(
            (name, found["percentiles"][name], column)
            for name, column in (("p50", "50%"), ("p95", "95%"), ("p99", "99%"), ("p999", "99.9%"))
        ),
    ]
    for name, value, column in pairs:
        print(f"  {name}: {value} | {aggregated[column]}")
