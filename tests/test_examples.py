"""The programs in examples/: what needs no other package runs for real, the rest is checked as far as it goes."""

import asyncio
import json
import os
import py_compile
import subprocess
import sys

import pytest

from examples.locust_metrics import AgentMeter, percentile, share, system_metrics
from tests.listener import Listener
from tests.stack import ROOT

EXAMPLES = ROOT / "examples"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_every_example_compiles(path, tmp_path):
    py_compile.compile(str(path), cfile=str(tmp_path / "compiled"), doraise=True)


class Totals:
    """The numbers of a real test of twenty seconds, as Locust 2.47 had them."""

    num_requests = 1094
    num_failures = 13
    avg_response_time = 16.164357120648145
    max_response_time = 190.1370779996796
    current_rps = 56.3
    current_fail_per_sec = 0.6

    def get_current_response_time_percentile(self, percent):
        return {0.5: 12, 0.95: 67, 0.99: 140}[percent]


def test_locusts_totals_are_system_metrics():
    data = system_metrics(Totals(), users=20)
    assert data == {
        "throughput_tps": 56.3,
        "requests_total": 1094,
        "requests_successful": 1081,
        "requests_failed": 13,
        "avg_response_time_ms": 16.164357120648145,
        "p50_response_time_ms": 12,
        "p95_response_time_ms": 67,
        "p99_response_time_ms": 140,
        "max_response_time_ms": 190.1370779996796,
        "error_rate": pytest.approx(0.01066, abs=1e-5),
        "users": 20,
    }


def test_an_agent_has_its_totals_and_what_is_new():
    meter = AgentMeter("Visitor")
    for response_time_ms in range(1, 100):
        meter.count(float(response_time_ms), None)
    meter.count(5000.0, TimeoutError("too late"))
    assert meter.take(users=10) == {
        "agent_id": "Visitor",
        "agent_name": "Visitor",
        "requests_processed": 100,
        "avg_response_time_ms": 99.5,
        "p95_response_time_ms": 95.0,
        "p99_response_time_ms": 99.0,
        "success_rate": 0.99,
        "error_count": 1,
        "timeout_count": 1,
        "status": "degraded",
        "users": 10,
    }
    meter.count(8.0, None)
    after = meter.take(users=10)
    assert (after["requests_processed"], after["error_count"], after["timeout_count"]) == (101, 1, 1)
    assert (after["avg_response_time_ms"], after["success_rate"], after["status"]) == (8.0, 1.0, "healthy")
    meter.count(8.0, ValueError("no page"))
    assert (meter.take(users=10)["status"], meter.take(users=10)["p95_response_time_ms"]) == ("unhealthy", None)


@pytest.mark.parametrize(
    ("values", "part", "expected"),
    [
        ([], 0.95, None),
        ([7.0], 0.95, 7.0),
        ([1.0, 2.0], 0.5, 1.0),
        ([1.0, 2.0], 0.51, 2.0),
        ([1.0, 2.0, 3.0, 4.0], 1.0, 4.0),
        ([1.0, 2.0], 0.0, 1.0),
    ],
)
def test_percentiles(values, part, expected):
    assert percentile(values, part) == expected


def test_a_share_is_a_ratio():
    assert [share(1, 4), share(0, 0), share(0.7, 0.6)] == [0.25, 0.0, 1.0]


@pytest.mark.valkey
async def test_the_lines_of_another_program_are_published(valkey_layer):
    lines = [
        json.dumps({"metric_type": "system", "data": {"throughput_tps": 950.0}, "source": "other", "timestamp": 1.5}),
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
            timeout=30,
            check=True,
        )

    async with Listener() as listener:
        running = asyncio.get_running_loop().run_in_executor(None, publish)
        bodies = {body["metric_type"]: body for body in await listener.bodies(2)}
        done = await running
    assert bodies["system"]["timestamp"] == "1970-01-01T00:00:01.500000Z"
    assert bodies["system"]["data"] == {"throughput_tps": 950.0}
    assert {body["source"] for body in bodies.values()} == {"other"}
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["line 2", "line 3", "line 4"]
    assert "unknown metric type 'nope'" in done.stderr
