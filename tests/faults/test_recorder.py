"""The recorder in real processes, some of which are killed: a run records exactly what its producer published."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import websockets

from tests.support.control import Producer
from tests.support.server_recording import ServerRecording
from tests.support.stack import ROOT, Stack, wait_until

pytestmark = pytest.mark.valkey

WATCHED = """
import sys, time
import django
django.setup()
from metrics_stream.broadcast import stress_test_run
with stress_test_run("soak") as run:
    print(run.slug, flush=True)
    sys.stdin.read()
"""

WATCHED_OVER_HTTP = """
import os, sys
from metrics_stream.broadcast import stress_test_run
with stress_test_run("soak", url=os.environ["METRICS_URL"], token=os.environ["METRICS_TOKEN"]) as run:
    print(run.slug, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def make_stack(tmp_path, valkey_url):
    """Return a function that starts a server, which the test may break, with its own history on the Redis."""
    made = []

    def make(**options):
        stack = Stack(
            tmp_path,
            valkey_url,
            DJANGO_SETTINGS_MODULE="tests.faults.settings",
            FAULTS_METRICS_STREAM=json.dumps({"GROUP_PREFIX": tmp_path.name}),
            PYTHONPATH=str(ROOT),
            **options,
        )
        made.append(stack)
        stack.make_database()
        stack.start()
        return stack

    yield make
    for stack in made:
        stack.stop()


@pytest.mark.parametrize("seconds", [6, pytest.param(600, marks=pytest.mark.faults)])
def test_a_run_is_recorded_completely_while_the_server_is_killed_twice(make_stack, seconds):
    per_second = 200
    stack = make_stack()
    recording = ServerRecording(stack)
    recording.start()
    with Producer(stack, per_second=per_second) as producer:
        for part in (1, 2):
            wait_until(lambda part=part: recording.count > part * seconds * per_second / 3, 2 * seconds + 30)
            stack.stop(signal.SIGKILL)
            stack.start()
        wait_until(lambda: recording.count > seconds * per_second, 2 * seconds + 30)
        made = producer.stop()
    recording.end()
    assert recording.numbers() == list(range(made))
    assert (recording.count, recording.lost) == (made, [])
    assert stack.get("/readyz")["recorder_lag_seconds"] is None
    assert asyncio.run(replayed(stack, recording.slug)) == list(range(made))


async def replayed(stack, slug):
    """Return the numbers that a client receives when it replays the run at 60 times its speed."""
    numbers = []
    async with websockets.connect(stack.socket_url, max_size=None) as socket:
        await socket.send(json.dumps({"type": "set_update_interval", "interval_seconds": 0.1}))
        await socket.send(json.dumps({"type": "subscribe", "metric_types": ["system"]}))
        await socket.send(json.dumps({"type": "replay", "run": slug, "speed": 60, "ref": "replay"}))
        is_replay = False
        async for text in socket:
            frame = json.loads(text)
            assert frame["type"] not in ("gap", "error"), frame
            if frame.get("ref") == "replay":
                is_replay = True
            elif is_replay and frame["type"].startswith("metric_"):
                assert frame["replayed"] is True
                data = frame["data"] if frame["type"] == "metric_batch" else [frame["data"]]
                assert all(metric["run"] == slug for metric in data)
                numbers += [metric["data"]["n"] for metric in data]
            elif frame["type"] == "replay_state" and frame["state"] == "ended":
                await socket.send(json.dumps({"type": "ping"}))
            elif frame["type"] == "pong":
                break
    return numbers


def test_another_worker_records_when_the_recording_one_is_killed(make_stack):
    stack = make_stack(workers=2)
    recording = ServerRecording(stack)
    recording.start()
    with Producer(stack) as producer:
        wait_until(lambda: recording.count, 20)
        victim = recording.holder_pid
        assert victim in stack.worker_pids()
        os.kill(victim, signal.SIGKILL)
        killed_at = time.monotonic()
        wait_until(lambda: recording.holder_pid != victim, 20)
        assert time.monotonic() - killed_at < 10
        before = recording.count
        wait_until(lambda: recording.count > before, 20)
        made = producer.stop()
    recording.end()
    assert recording.numbers() == list(range(made))
    assert recording.lost == []


def test_a_server_that_stops_has_recorded_what_was_published(make_stack):
    stack = make_stack()
    recording = ServerRecording(stack)
    recording.start()
    wait_until(lambda: recording.holder_pid, 10)
    stack.publish("for n in range(2_000): stream.broadcast_system_metrics({'n': n}, source='counter')")
    stack.stop()
    assert recording.numbers() == list(range(2_000))
    assert recording.holder_pid == 0


def test_a_run_that_took_place_while_no_server_ran_is_recorded_later(make_stack):
    stack = make_stack()
    recording = ServerRecording(stack)
    stack.stop()
    recording.start()
    stack.publish("for n in range(100): stream.broadcast_system_metrics({'n': n}, source='counter')")
    stack.manage("stop_run")
    stack.start()
    wait_until(lambda: recording.has_ended, 10)
    assert recording.numbers() == list(range(100))
    assert recording.lost == []


@pytest.mark.faults
@pytest.mark.parametrize("code", [WATCHED, WATCHED_OVER_HTTP], ids=["beside the server", "over HTTP"])
def test_the_run_of_a_program_that_is_killed_has_failed(make_stack, code):
    stack = make_stack()
    recording = ServerRecording(stack)
    token = stack.manage("create_token", "soak", "--scope", "runs").strip()
    program = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**stack.environment, "METRICS_URL": stack.url, "METRICS_TOKEN": token},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
    )
    with program:
        assert program.stdout.readline()
        assert recording.status == "running"
        program.kill()
    wait_until(lambda: recording.status == "failed", 80)
    wait_until(lambda: recording.has_ended, 5)
