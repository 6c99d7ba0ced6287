"""A real Locust, single and with two workers: its own result file and the run that was recorded of it agree.

It needs the program `locust`, on the PATH or named by LOCUST, in an environment that has msgspec and uvloop too.
"""

import asyncio
import csv
import io
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

TYPES = ("system", "request", "error")
PERCENTILES = {"p50": "50%", "p90": "90%", "p95": "95%", "p99": "99%", "p999": "99.9%"}

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
        error = None
        if name == "/pay" and random.random() < 0.2:
            error = random.choice([ValueError("declined"), TimeoutError("no answer, after 2 s")])
        self.environment.events.request.fire(
            request_type="GET", name=name, response_time=taken, response_length=10, exception=error, context={{}}
        )
"""

READ = """
import json
from metrics_stream.models import TestRun
from metrics_stream.runs import series
from metrics_stream.runs.row_tables import row_tables
from metrics_stream.runs.totals import totals
from metrics_stream.views.exports import wide_file
from metrics_stream.core.metrics.permission import EVERYTHING
import msgspec
run = TestRun.objects.get()
files = {slug: b"".join(wide_file(run, EVERYTHING, slug)).decode() for slug in ("request", "error")}
lines = [
    [one.field, [[one.starts_at + bucket, last] for bucket, last in zip(one.buckets, one.percentile or one.last)]]
    for one in series.series(run, metric_type="system", source="locust", max_points=10_000)
]
print(json.dumps([msgspec.to_builtins(totals(run)), lines, msgspec.to_builtins(row_tables(run)), files]))
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
                {"type": "subscribe", "metric_types": ["system", "request", "error"]},
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
    found, lines, tables, files = json.loads(stack.manage("shell", "-v", "0", code=READ, timeout=COMMAND_SECONDS))
    *named, aggregated = _read_csv(tmp_path / "result_stats.csv")
    live = {slug: [metric for metric in viewer.metrics if metric["metric_type"] == slug] for slug in TYPES}
    _compare_rows(tables["requests"], named)
    _compare_newest(live["request"][-1]["data"], named)
    _compare_newest(_last_rows(files["request"], "requests_total"), named)
    failures = {
        (row["Method"], row["Name"], row["Error"]): int(row["Occurrences"])
        for row in _read_csv(tmp_path / "result_failures.csv")
    }
    assert sum(failures.values()) == int(aggregated["Failure Count"])
    assert {(*one["key"].values(),): one["occurrences"] for one in tables["errors"]} == {
        (name, method, error): count for (method, name, error), count in failures.items()
    }
    for rows in (live["error"][-1]["data"], _last_rows(files["error"], "occurrences_total")):
        assert {(row["method"], row["name"], row["message"]): int(row["occurrences_total"]) for row in rows} == failures
    _print_figures(workers, found, aggregated)
    assert found["requests"] == int(aggregated["Request Count"]) > 10 * RUN_SECONDS
    assert found["failures"] == int(aggregated["Failure Count"]) > 0
    assert found["rate"] == pytest.approx(float(aggregated["Requests/s"]), rel=1e-6)
    assert found["mean_ms"] == pytest.approx(float(aggregated["Average Response Time"]), rel=1e-6)
    assert found["max_ms"] == pytest.approx(float(aggregated["Max Response Time"]), rel=1e-9)
    for name, column in PERCENTILES.items():
        assert found["percentiles"][name] == pytest.approx(float(aggregated[column]), rel=0.01, abs=0.5), name
    assert found["peak_users"] == 20
    _compare_lines(live["system"], dict(lines))


def _read_csv(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _compare_rows(rows, named):
    """Compare the table of requests of the run with Locust's."""
    assert [one["key"] for one in rows] == [{"name": row["Name"], "method": row["Type"]} for row in _by_name(named)]
    for one, row in zip(rows, _by_name(named), strict=True):
        figures, label = one["totals"], one["label"]
        assert figures["requests"] == int(row["Request Count"]) > RUN_SECONDS, label
        assert figures["failures"] == int(row["Failure Count"]), label
        assert figures["rate"] == pytest.approx(float(row["Requests/s"]), rel=1e-6), label
        for name, column in (("mean_ms", "Average"), ("min_ms", "Min"), ("max_ms", "Max")):
            assert figures[name] == pytest.approx(float(row[f"{column} Response Time"]), rel=1e-6), label
        assert figures["received_bytes"] == pytest.approx(
            int(row["Request Count"]) * float(row["Average Content Size"])
        )
        for name, column in PERCENTILES.items():
            assert figures["percentiles"][name] == pytest.approx(float(row[column]), rel=0.01, abs=0.5), (label, name)


def _compare_newest(rows, named):
    """Compare the counts of the last metric of requests with Locust's."""
    counted = {(row["name"], row["method"]): (int(row["requests_total"]), int(row["requests_failed"])) for row in rows}
    assert counted == {
        (row["Name"], row["Type"]): (int(row["Request Count"]), int(row["Failure Count"])) for row in named
    }


def _by_name(named):
    return sorted(named, key=lambda row: f"name={row['Name']}\x1fmethod={row['Type']}")


def _last_rows(file, counter):
    """Return the rows of the last metric in a wide file."""
    rows = list(csv.DictReader(io.StringIO(file, newline="")))
    assert all(row[counter] for row in rows)
    return [row for row in rows if row["timestamp"] == rows[-1]["timestamp"]]


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
