"""The programs in examples/: what needs no other package runs for real, the rest is checked as far as it goes."""

import asyncio
import json
import os
import py_compile
import subprocess
import sys
import textwrap

import pytest

from examples.locust_metrics import (
    SYSTEM_WINDOWS,
    AgentMeter,
    RequestMeter,
    SystemMeter,
    error_rows,
    percentile,
    share,
)
from metrics_stream.broadcast import key_part, make_metric
from tests.support.listener import Listener
from tests.support.programs import TOKEN, Answers, answer, in_thread
from tests.support.stack import ROOT

EXAMPLES = ROOT / "examples"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_every_example_compiles(path, tmp_path):
    py_compile.compile(str(path), cfile=str(tmp_path / "compiled"), doraise=True)


NOW = 1_796_000_020.5


class Totals:
    """A test of twenty seconds with 56 requests in each, as Locust 2.47 counts."""

    start_time = NOW - 20.5
    last_request_timestamp = NOW - 0.1
    num_requests = 1094
    num_failures = 13
    num_reqs_per_sec = dict.fromkeys(range(int(NOW) - 20, int(NOW)), 56) | {int(NOW): 30}
    num_fail_per_sec = {int(NOW) - 5: 6, int(NOW) - 1: 7}
    avg_response_time = 16.164357120648145
    min_response_time = 1.25
    max_response_time = 190.1370779996796
    total_content_length = 5470
    total_response_time = 17683.80669
    response_times = {12: 900, 67: 170, 140: 20, 190: 4}

    def __init__(self, **values):
        vars(self).update(values)


def test_locusts_totals_are_system_metrics():
    data = SystemMeter().take(Totals(), users=20, now=NOW)
    sketch = data.pop("sketches")["response_time_ms"]
    assert data == {
        "throughput_tps": 56.0,
        "requests_total": 1094,
        "requests_successful": 1081,
        "requests_failed": 13,
        "avg_response_time_ms": 16.164357120648145,
        "p50_response_time_ms": pytest.approx(12, rel=0.01),
        "p95_response_time_ms": pytest.approx(67, rel=0.01),
        "p99_response_time_ms": pytest.approx(140, rel=0.01),
        "min_response_time_ms": 1.25,
        "max_response_time_ms": 190.1370779996796,
        "response_time_total_ms": 17683.80669,
        "received_bytes_total": 5470,
        "elapsed_seconds": pytest.approx(20.4),
        "error_rate": 6 / 560,
        "users": 20,
    }
    assert (sum(sketch.bins.values()), sketch.max) == (1094, 190)


def test_while_nothing_is_answered_the_throughput_falls_and_other_numbers_of_the_moment_end():
    meter, totals = SystemMeter(), Totals(last_request_timestamp=NOW - 7.0)
    data = meter.take(totals, users=20, now=NOW + 6.0)
    assert (data["throughput_tps"], data["error_rate"]) == ((6 * 56 + 30) / 10, 13 / (6 * 56 + 30))
    data = meter.take(totals, users=20, now=NOW + 12.0)
    assert [data[name] for name in ("throughput_tps", "error_rate")] == [3.0, 0.0]
    for _ in range(9):
        data = meter.take(totals, users=20, now=NOW + 12.0)
    assert data["p50_response_time_ms"] is None  # the sketches of ten seconds are empty
    data = meter.take(totals, users=20, now=NOW + 60.0)
    assert [data[name] for name in ("throughput_tps", "error_rate", "p99_response_time_ms")] == [0.0, None, None]
    assert (data["requests_total"], data["avg_response_time_ms"]) == (1094, 16.164357120648145)


def test_what_workers_have_yet_to_report_is_no_lack_of_answers():
    totals = Totals(last_request_timestamp=NOW - 3.5)
    assert SystemMeter(report_seconds=4.0).take(totals, users=20, now=NOW)["throughput_tps"] == 56.0


def test_before_the_first_answer_nothing_is_said_of_it():
    nothing = {"num_requests": 0, "num_failures": 0, "avg_response_time": 0.0, "max_response_time": 0}
    nothing |= {"total_response_time": 0, "min_response_time": None, "total_content_length": 0}
    totals = Totals(start_time=NOW - 1, last_request_timestamp=None, num_reqs_per_sec={}, response_times={}, **nothing)
    data = SystemMeter().take(totals, users=3, now=NOW)
    assert {name for name, value in data.items() if value is None} == {
        *("throughput_tps", "error_rate", "avg_response_time_ms", "max_response_time_ms", "min_response_time_ms"),
        *("p50_response_time_ms", "p95_response_time_ms", "p99_response_time_ms"),
    }


def test_each_response_time_is_in_one_sketch():
    meter = SystemMeter()

    def new(response_times):
        data = meter.take(Totals(response_times=response_times), users=1, now=NOW)
        return sum(data["sketches"]["response_time_ms"].bins.values())

    assert [new({50: 3}), new({50: 4, 60: 2}), new({50: 4, 60: 2})] == [3, 3, 0]
    assert new({50: 2}) == 2  # --reset-stats


def test_each_of_locusts_entries_is_a_row_of_requests():
    entries = {("/", "GET"): Totals(), ("/pay/" + 300 * "x", "POST"): Totals(num_requests=6, response_times={40: 6})}
    meter, seconds = RequestMeter(), range(int(NOW) - 12, int(NOW) - 2)
    first, second = meter.take(entries, seconds)
    assert (first["name"], first["method"], first["requests_total"]) == ("/", "GET", 1094)
    assert (first["throughput_tps"], first["error_rate"]) == (56.0, 6 / 560)
    assert first["p99_response_time_ms"] == pytest.approx(140, rel=0.01)
    assert (second["name"], second["method"]) == (key_part("/pay/" + 300 * "x"), "POST")
    assert sum(second["sketches"]["response_time_ms"].bins.values()) == 6
    again, _ = meter.take(entries, seconds)
    assert again["sketches"]["response_time_ms"].bins == {}
    rows = [row | {"sketches": {}} for row in (first, second)]
    metric = make_metric("request", [first, second], source="locust", windows=SYSTEM_WINDOWS)
    assert [row | {"sketches": {}} for row in json.loads(metric.body)["data"]] == rows


def test_each_of_locusts_errors_is_a_row():
    errors = [
        {"method": "POST", "name": "/pay", "error": "ValueError('declined\n')", "occurrences": 7, "last_seen": NOW},
        {"method": "", "name": "/old", "error": "timeout", "occurrences": 1},
    ]
    rows = error_rows(errors)
    assert rows == [
        {
            **{"name": "/pay", "method": "POST", "message": "ValueError('declined ')", "occurrences_total": 7},
            "last_at": "2026-11-30T00:53:40.500000+00:00",
        },
        {"name": "/old", "method": "(none)", "message": "timeout", "occurrences_total": 1, "last_at": None},
    ]
    assert json.loads(make_metric("error", rows, source="locust").body)["data"] == rows


def test_an_agent_has_its_totals_and_what_is_new():
    meter = AgentMeter("Visitor")
    for response_time_ms in range(1, 100):
        meter.count(float(response_time_ms), None)
    meter.count(5000.0, TimeoutError("too late"))
    first = meter.take(users=10)
    sketch = first.pop("sketches")["response_time_ms"]
    assert first == {
        "agent_id": "Visitor",
        "agent_name": "Visitor",
        "requests_processed": 100,
        "avg_response_time_ms": 99.5,
        "p95_response_time_ms": 96.0,
        "p99_response_time_ms": 5000.0,
        "success_rate": 0.99,
        "error_count": 1,
        "timeout_count": 1,
        "status": "degraded",
        "users": 10,
    }
    assert (sum(sketch.bins.values()), sketch.max) == (100, 5000.0)
    meter.count(8.0, None)
    after = meter.take(users=10)
    assert (after["requests_processed"], after["error_count"], after["timeout_count"]) == (101, 1, 1)
    assert (after["avg_response_time_ms"], after["success_rate"]) == (8.0, 1 - 1 / 101)


def test_an_agent_that_asks_seldom_is_judged_by_its_last_ten_intervals():
    meter = AgentMeter("Buyer")
    assert (meter.take(users=1)["status"], meter.take(users=1)["success_rate"]) == ("healthy", None)
    meter.count(8.0, ValueError("no page"))
    taken = [meter.take(users=1) for _ in range(11)]
    assert [entry["success_rate"] for entry in taken] == [0.0] * 10 + [None]
    assert {entry["status"] for entry in taken} == {"unhealthy"}  # until it has an answer
    meter.count(8.0, None)
    assert meter.take(users=1)["status"] == "healthy"


@pytest.mark.parametrize(
    ("values", "part", "expected"),
    [
        ([], 0.95, None),
        ([7.0], 0.95, 7.0),
        ([1.0, 2.0], 0.49, 1.0),
        ([1.0, 2.0], 0.5, 2.0),
        ([1.0, 2.0, 3.0, 4.0], 1.0, 4.0),
        ([1.0, 2.0], 0.0, 1.0),
    ],
)
def test_percentiles(values, part, expected):
    assert percentile(values, part) == expected


def test_a_share_is_a_ratio():
    assert [share(1, 4), share(0, 0), share(0.7, 0.6)] == [0.25, None, 1.0]


# As much of Locust as the locustfile uses, for a program of its own: Locust is no requirement of the tests.
LOCUST = {
    "__init__.py": """
        from gevent import monkey
        monkey.patch_all()
        import logging
        logging.basicConfig(format="%(message)s")

        class Hook(list):
            def add_listener(self, listener):
                self.append(listener)
                return listener
            def fire(self, **values):
                for listener in self:
                    listener(**values)

        class events:
            init_command_line_parser, test_start, request = Hook(), Hook(), Hook()
            spawning_complete, test_stop, quit = Hook(), Hook(), Hook()

        class HttpUser: pass
        def between(*seconds): pass
        def task(argument):
            return argument if callable(argument) else lambda function: function
    """,
    "argument_parser.py": "class LocustArgumentParser: pass",
    "env.py": "class Environment: host, parsed_options = None, None",
    "stats.py": "CSV_STATS_INTERVAL_SEC = 1",
    "runners.py": """
        WORKER_REPORT_INTERVAL = 3.0
        class Runner:
            user_count, user_classes_count, current_cpu_usage = 0, {}, 42
        class WorkerNode:
            cpu_usage = 93
        class MasterRunner(Runner):
            worker_index_max = 2
            clients = {"worker": WorkerNode()}
        class WorkerRunner(Runner): pass
    """,
}


@pytest.fixture
def locustfile(tmp_path):
    """Return what runs a program beside the locustfile, which it has as a module."""
    for name, text in LOCUST.items():
        path = tmp_path / "locust" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text))

    def run(code, **environment):
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{tmp_path}:{EXAMPLES}", **environment}
        return subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (
            {"METRICS_URL": "http://127.0.0.1:8000"},
            "METRICS_URL and METRICS_TOKEN: url and token belong together: the address of the server, and a token "
            "made there",
        ),
        (
            {"METRICS_URL": "127.0.0.1:8000", "METRICS_TOKEN": "mst_1"},
            "METRICS_URL and METRICS_TOKEN: url is '127.0.0.1:8000'; allowed: one like https://metrics.example.com",
        ),
        (
            {"DJANGO_SETTINGS_MODULE": "project.settings", "DEBUG": "1"},
            "the in-memory channel layer serves one process, and the server is another one, so nothing would reach it",
        ),
    ],
)
def test_a_locust_whose_test_nobody_could_watch_does_not_start(locustfile, environment, message):
    done = locustfile("import locustfile", **environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(message)
    assert len(done.stderr.splitlines()) == 1


RECORD = """
    import argparse, logging
    from types import SimpleNamespace

    import locust, locustfile
    from locust.env import Environment

    logging.getLogger().setLevel(logging.INFO)
    parser = argparse.ArgumentParser("locust")
    locust.events.init_command_line_parser.fire(parser=parser)
    environment = Environment()
    environment.parsed_options = parser.parse_args(["--record", "soak"])
    environment.parsed_options.num_users, environment.parsed_options.spawn_rate = 20, None
    environment.host = "https://shop.example.com"
    environment.runner = locustfile.{runner}()
    environment.runner.worker_index = 0
    locust.events.test_start.fire(environment=environment)
    locust.events.spawning_complete.fire(user_count=20)
    environment.runner = None
    locust.events.test_stop.fire(environment=environment)
    locust.events.quit.fire(exit_code=0)
"""


@pytest.mark.parametrize(
    ("runner", "paths"),
    [("MasterRunner", ["", "soak-1/phases/", "soak-1/phases/", "soak-1/stop/"]), ("WorkerRunner", [])],
)
async def test_a_test_is_recorded_over_http_by_the_master_alone(locustfile, runner, paths):
    started, ended = answer(201, {"slug": "soak-1"}), answer(200, {"slug": "soak-1", "status": "completed"})
    marked = answer(200, {"slug": "soak-1"})
    async with Answers(started, marked, marked, ended) as server:
        environment = {"METRICS_URL": server.url, "METRICS_TOKEN": TOKEN}
        done = await in_thread(locustfile, RECORD.format(runner=runner), **environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert server.paths == [f"/api/runs/{path}" for path in paths]
    if paths:
        wish, *marks, end = (json.loads(body) for _, body in server.requests)
        assert wish == {
            **{"name": "soak", "sources": ["locust", "locust-0", "locust-1"], "tags": ["locust"], "notes": ""},
            "parameters": {"host": "https://shop.example.com", "users": 20},
        }
        assert [mark["name"] for mark in marks] == ["ramp-up", "steady"]
        assert end["status"] == "completed"


async def test_a_test_that_cannot_be_recorded_goes_on(locustfile):
    refused = answer(403, {"error": "forbidden", "message": "the token is not for this"})
    async with Answers(refused) as server:
        environment = {"METRICS_URL": server.url, "METRICS_TOKEN": TOKEN}
        done = await in_thread(locustfile, RECORD.format(runner="MasterRunner"), **environment)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"the test is not recorded: {server.url}/api/runs/ answered 403: the token is not for this\n"


@pytest.mark.valkey
async def test_the_last_metric_of_a_master_has_what_its_workers_tell_after_the_test(locustfile, valkey_layer):
    code = """
        import time
        from types import SimpleNamespace

        import gevent
        import locust, locustfile
        from locust.env import Environment
        from locust.runners import MasterRunner

        total = SimpleNamespace(
            start_time=time.time(), last_request_timestamp=None, num_requests=0, num_failures=0, num_reqs_per_sec={},
            num_fail_per_sec={}, avg_response_time=0.0, max_response_time=0, response_times={}, total_response_time=0,
            min_response_time=None, total_content_length=0,
        )
        environment = Environment()
        environment.parsed_options = None
        environment.runner = MasterRunner()
        environment.runner.stats = SimpleNamespace(total=total, entries={}, errors={})
        locust.events.test_start.fire(environment=environment)
        locust.events.test_stop.fire(environment=environment)
        gevent.sleep(0.1)
        total.num_requests = 7
        locust.events.quit.fire(exit_code=0)
    """
    environment = {"SECRET_KEY": "only-for-tests", "REDIS_URL": valkey_layer, "DEBUG": "1"}
    async with Listener() as listener:
        running = asyncio.get_running_loop().run_in_executor(None, lambda: locustfile(code, **environment))
        (body,) = await listener.bodies(1)
        done = await running
    assert (done.returncode, done.stderr) == (0, "")
    assert (body["source"], body["data"]["requests_total"], body["data"]["phase"]) == ("locust", 7, "ramp-up")
    assert body["data"]["generator_cpu_utilization"] == 0.93


@pytest.mark.valkey
async def test_the_lines_of_another_program_are_published(valkey_layer):
    lines = [
        json.dumps(
            {
                "metric_type": "system",
                "data": {"throughput_tps": 950.0},
                "source": "other",
                "timestamp": 1_700_000_001.5,
            }
        ),
        "no JSON",
        json.dumps({"metric_type": "nope", "data": {}}),
        json.dumps(["a list"]),
        json.dumps({"metric_type": "hero", "data": {"uptime_percentage": 99.95}, "source": "other"}),
    ]
    environment = {**os.environ, "SECRET_KEY": "only-for-tests", "REDIS_URL": valkey_layer}
    environment["DJANGO_SETTINGS_MODULE"] = "project.settings"

    def publish():
        return subprocess.run(
            [sys.executable, EXAMPLES / "publish_lines.py"],
            input="\n".join(lines),
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )

    async with Listener() as listener:
        running = asyncio.get_running_loop().run_in_executor(None, publish)
        bodies = {body["metric_type"]: body for body in await listener.bodies(2)}
        done = await running
    assert bodies["system"]["timestamp"] == "2023-11-14T22:13:21.500000Z"
    assert bodies["system"]["data"] == {"throughput_tps": 950.0}
    assert {body["source"] for body in bodies.values()} == {"other"}
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["line 2", "line 3", "line 4"]
    assert "unknown metric type 'nope'" in done.stderr
