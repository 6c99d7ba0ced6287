"""The programs in examples/: what needs no other package runs for real, the rest is checked as far as it goes."""

import asyncio
import json
import os
import py_compile
import subprocess
import sys
import textwrap

import pytest

from tests.support.listener import Listener
from tests.support.programs import TOKEN, Answers, answer, in_thread
from tests.support.stack import ROOT

EXAMPLES = ROOT / "examples"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_every_example_compiles(path, tmp_path):
    py_compile.compile(str(path), cfile=str(tmp_path / "compiled"), doraise=True)


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
