"""What a real server accepts during a recorded run, and the check that all of it is recorded or counted as lost."""

import asyncio
import contextlib
import itertools
import json
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from tests.support.control import SOURCE, Control, Producer
from tests.support.server_recording import ServerRecording
from tests.support.stack import Stack, eventually

HTTP_SOURCE = "over-http"
PER_REQUEST = 10
REQUESTS_PER_SECOND = 10


class HttpProducer:
    """A thread that publishes 100 metrics a second over HTTP, each request until it is answered 202."""

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
        began = time.monotonic()
        for first in itertools.count(0, PER_REQUEST):
            numbers = list(range(first, first + PER_REQUEST))
            items = [{"metric_type": "system", "source": HTTP_SOURCE, "data": {"n": n}} for n in numbers]
            body, key = json.dumps(items).encode(), uuid.uuid4().hex
            while not self._is_accepted(body, key):
                self._ended.wait(0.1)
            self.accepted += numbers
            # After an interruption it catches up, as a program with a queue does.
            due = began + (first / PER_REQUEST + 1) / REQUESTS_PER_SECOND
            if self._ended.wait(max(0.0, due - time.monotonic())):
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


class Balance(NamedTuple):
    """What became of the metrics of a run."""

    accepted: int
    recorded: int
    lost: int


async def assert_kept(recording: ServerRecording, accepted: int) -> Balance:
    """Check that the run has what was accepted, or says how much of it is lost and why."""

    def counts() -> list[Any]:
        return [entry["count"] for entry in recording.lost]

    await asyncio.to_thread(recording.end)
    with contextlib.suppress(AssertionError):
        # The last producer may report after the end of the run.
        await eventually(lambda: None not in counts(), 5)
    assert None not in counts(), recording.lost
    balance = Balance(accepted, recording.count, sum(counts()))
    assert balance.accepted == balance.recorded + balance.lost, (balance, recording.lost)
    assert {entry["reason"] for entry in recording.lost} <= {"epoch"}
    return balance


class Load:
    """A recorded run under 200 metrics a second, half of them over HTTP, with a client that counts what it misses."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.recording = ServerRecording(stack)
        self.control = Control(stack)
        self._made = 0
        self._rate = 0.0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Load"]:
        """Start the run, and yield when the client gets its metrics; end the load afterwards."""
        await asyncio.to_thread(self.recording.start, SOURCE, HTTP_SOURCE)
        # The producers begin when they are made: what they publish belongs to the run that has started.
        with Producer(self._stack, per_second=100) as producer, HttpProducer(self._stack) as over_http:
            async with self.control:
                await self.control.catches_up()
                began, before = time.monotonic(), self.recording.count
                yield self
            made = await asyncio.to_thread(producer.stop)
            self._rate = (made + len(over_http.accepted) - before) / (time.monotonic() - began)
        self._made = made + len(over_http.accepted)

    async def assert_kept(self, what: str) -> Balance:
        """Assert that all that was accepted is recorded or counted as lost; print and return the balance."""
        balance = await assert_kept(self.recording, self._made)
        print(f"{what}, {self._rate:.0f} metrics/s: {balance}, missing for a client: {self.control.missing}")
        assert self._rate > 190
        return balance
