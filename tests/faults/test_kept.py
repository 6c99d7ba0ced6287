"""Redis is restarted empty during a recorded run: what was accepted is recorded or counted as lost."""

import asyncio
import contextlib
import itertools
import json
import threading
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import fault_stack
from tests.support.control import SOURCE, Control, Producer
from tests.support.redis_process import RedisProcess
from tests.support.server_recording import ServerRecording
from tests.support.stack import Stack, eventually

pytestmark = pytest.mark.valkey

HTTP_SOURCE = "over-http"
PER_REQUEST = 10

# Long enough that the recorder, producers and clients find Redis away.
AWAY_SECONDS = 1.5


@pytest.fixture
def redis_process(tmp_path: Path) -> Iterator[RedisProcess]:
    with RedisProcess(tmp_path) as running:
        yield running


@pytest.fixture
def stack(redis_process: RedisProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    own = fault_stack(tmp_path_factory.mktemp("kept"), redis_process.url, workers=2)
    own.manage("migrate", "-v", "0")
    own.start()
    yield own
    own.stop()


class HttpProducer:
    """A thread that publishes over HTTP, ten requests a second, each until it is answered 202."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._token = stack.manage("create_token", "kept", "--scope", "publish", "--metric-type", "system").strip()
        self.accepted: list[int] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "HttpProducer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(30)

    def _run(self) -> None:
        for first in itertools.count(0, PER_REQUEST):
            numbers = list(range(first, first + PER_REQUEST))
            items = [{"metric_type": "system", "source": HTTP_SOURCE, "data": {"n": n}} for n in numbers]
            body, key = json.dumps(items).encode(), uuid.uuid4().hex
            while not self._is_accepted(body, key):
                self._ended.wait(0.1)
            self.accepted += numbers
            if self._ended.wait(0.1):
                return

    def _is_accepted(self, body: bytes, key: str) -> bool:
        headers = {
            "Authorization": f"Bearer {self._token}",
            "Content-Type": "application/json",
            "Idempotency-Key": key,
        }
        request = urllib.request.Request(f"{self._stack.url}/api/metrics/", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return bool(answer.status == 202)
        except urllib.error.HTTPError as error:
            assert error.code in (429, 503), error.read()
            return False


async def restart_empty(redis_process: RedisProcess, recording: ServerRecording) -> None:
    """Kill Redis, start it empty, and wait until the recording goes on."""
    before = recording.count
    await eventually(lambda: recording.count > before, 30)
    await asyncio.to_thread(redis_process.kill)
    await asyncio.sleep(AWAY_SECONDS)
    await asyncio.to_thread(redis_process.start)
    before = recording.count
    await eventually(lambda: recording.count > before, 30)


def counts(lost: list[dict[str, Any]]) -> list[Any]:
    return [entry["count"] for entry in lost]


async def assert_kept(recording: ServerRecording, find_accepted: Callable[[], int]) -> None:
    """Check that the run has what was accepted, or says how much of it is lost and why."""

    def balance() -> tuple[int, int, list[Any]]:
        return find_accepted(), recording.count, counts(recording.lost)

    await asyncio.to_thread(recording.end)
    with contextlib.suppress(AssertionError):
        # The last producer may report after the end of the run.
        await eventually(lambda: None not in counts(recording.lost), 5)
    accepted, recorded, lost = balance()
    assert None not in lost, recording.lost
    assert accepted == recorded + sum(lost), recording.lost
    assert {entry["reason"] for entry in recording.lost} <= {"epoch"}


@pytest.mark.parametrize("restarts", [1, pytest.param(10, marks=pytest.mark.faults)])
async def test_redis_restarted_empty_during_a_run_loses_only_what_is_counted(stack, redis_process, restarts):
    recording = ServerRecording(stack)
    await asyncio.to_thread(recording.start, SOURCE, HTTP_SOURCE)
    with Producer(stack, per_second=100) as producer, HttpProducer(stack) as over_http:
        async with Control(stack) as control:
            await control.catches_up()
            for _ in range(restarts):
                await restart_empty(redis_process, recording)
                await control.assert_losses_announced(30)
            await control.catches_up()
        made = await asyncio.to_thread(producer.stop)
    accepted = made + len(over_http.accepted)
    await assert_kept(recording, lambda: accepted)
    assert accepted > 200 * restarts


async def test_a_run_that_goes_on_while_redis_is_away_for_long_misses_nothing_accepted_later(stack, redis_process):
    recording = ServerRecording(stack)
    await asyncio.to_thread(recording.start)
    await asyncio.to_thread(redis_process.kill)
    # The recorder has failed several times in a row.
    await asyncio.sleep(4)
    await asyncio.to_thread(redis_process.start)
    code = "for n in range(200): stream.broadcast_system_metrics({'n': n})"
    await asyncio.to_thread(stack.publish, code, source=SOURCE)
    await asyncio.to_thread(recording.end)
    assert await asyncio.to_thread(recording.numbers) == list(range(200))
