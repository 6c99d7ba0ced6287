"""Test runs that a program starts over HTTP: at `/api/runs/` of a server, with a token.

Needs nothing but msgspec and the standard library. Each request has a native thread and a connection of its own, since
a block waits in a greenlet where gevent has patched the program (see native_threads.py), and asks every few seconds.
"""

from __future__ import annotations

import logging
import math
import re
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from metrics_stream import native_threads
from metrics_stream.broadcast.http_client import Answer, Connection, Server
from metrics_stream.broadcast.run_block import RETRY_SECONDS, RunOptions
from metrics_stream.core.errors import NativeThreadError, NoAnswerError, RunError, RunOverError, RunUnavailableError

logger = logging.getLogger(__name__)

PATH = "/api/runs/"

# From connecting to the end of the answer; several fit into the time in which the end of a run is tried to be noted.
REQUEST_SECONDS = 5.0
# For how long a server that is away is asked to start a run, before the test has to do without.
START_SECONDS = 10.0

# However often a server wants to hear of a run.
ALIVE_SECONDS = (1.0, 30.0)

# What the server, or a proxy before it, answers while it is away or busy; 501 is for good.
_TRY_AGAIN = {408, 429, 500, 502, 503, 504}

_SLUG = re.compile(r"[-\w]+", re.ASCII)


@dataclass(slots=True)
class RemoteRun:
    """What a server has told of a run."""

    slug: str
    name: str
    sources: list[str]
    status: str
    started_at: datetime | None
    ended_at: datetime | None


class HttpRunStore:
    """Keeps the run of a block at a server."""

    def __init__(self, server: Server, options: RunOptions) -> None:
        """Raise RunError where the program could send nothing; nothing connects yet."""
        try:
            native_threads.prepare()
        except NativeThreadError as error:
            raise RunError(str(error)) from error
        self._server = server
        self._options = options
        # Of all tries: should the answer to one be lost, the next starts nothing more.
        self._key = uuid.uuid4().hex
        self._run = RemoteRun("", options["name"], [], "", None, None)
        self._alive_seconds = 5.0

    @property
    def alive_seconds(self) -> float:
        """What the server has asked for."""
        return self._alive_seconds

    def start(self) -> RemoteRun:
        """Start the run; a server that is away is asked again for a moment."""
        body = _encode(self._options)
        deadline = time.monotonic() + START_SECONDS
        is_first = True
        while True:
            try:
                answer = self._post("", body, {"Idempotency-Key": self._key})
                break
            except RunUnavailableError as error:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise
                if is_first:
                    logger.warning("the test run %s cannot be started yet: %s", self._options["name"], error)
                is_first = False
                time.sleep(min(max(RETRY_SECONDS, error.after_seconds), left))
        if answer.status != 201:
            raise self._refused("", answer)
        content = answer.content
        slug = content.get("slug")
        if not (isinstance(slug, str) and _SLUG.fullmatch(slug)):
            raise RunError(f"{self._server.address.below(PATH)} answered 201 without the slug of a run")
        self._run.slug = slug
        self._run.sources = content.get("sources", [])
        self._learn(content)
        seconds = content.get("alive_seconds")
        if isinstance(seconds, int | float):
            self._alive_seconds = min(max(seconds, ALIVE_SECONDS[0]), ALIVE_SECONDS[1])
        return self._run

    def keep_alive(self) -> None:
        """Say that the program is still there."""
        self._change("alive/", {})

    def stop(self, status: str, note: str) -> None:
        """End the run."""
        self._change("stop/", {"status": status, "note": note})

    def close(self) -> None:
        """Do nothing: a connection ends with its request."""

    def _change(self, what: str, content: Mapping[str, Any]) -> None:
        path = f"{self._run.slug}/{what}"
        answer = self._post(path, _encode(content), {})
        if answer.status == 200 or answer.content.get("error") == "run_ended":
            self._learn(answer.content)
        if answer.status != 200:
            raise self._refused(path, answer)

    def _learn(self, content: Mapping[str, Any]) -> None:
        run = self._run
        run.status = str(content.get("status", run.status))
        run.started_at = _instant(content.get("started_at")) or run.started_at
        run.ended_at = _instant(content.get("ended_at")) or run.ended_at

    def _post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Return an answer that is one; raise RunUnavailableError for none, and for one that asks to come again."""
        address = self._server.address.below(f"{PATH}{path}")

        async def call() -> Answer:
            connection = Connection(self._server, request_seconds=REQUEST_SECONDS)
            try:
                return await connection.post(address, body, {"Content-Type": "application/json", **headers})
            finally:
                await connection.end()

        try:
            answer = native_threads.result_of(call, "metrics-run-request", REQUEST_SECONDS + 2.0)
        except (NoAnswerError, TimeoutError) as error:
            raise RunUnavailableError(str(error)) from error
        except NativeThreadError as error:
            raise RunError(str(error)) from error
        if answer.status in _TRY_AGAIN:
            raise RunUnavailableError(self._said(path, answer), after_seconds=answer.retry_seconds)
        return answer

    def _refused(self, path: str, answer: Answer) -> RunError:
        is_over = answer.content.get("error") in ("run_ended", "unknown_run")
        return (RunOverError if is_over else RunError)(self._said(path, answer))

    def _said(self, path: str, answer: Answer) -> str:
        said = str(answer.content.get("message") or f"it says no more than {answer.status}")
        return f"{self._server.address.below(PATH + path)} answered {answer.status}: {self._server.without_token(said)}"


def _encode(content: Mapping[str, Any]) -> bytes:
    plain = {key: _plain(key, value) for key, value in content.items() if value is not None}
    return msgspec.json.encode(plain)


def _plain(key: str, value: Any) -> Any:
    """Return a value as JSON can have it; what it may be, the server says."""
    if isinstance(value, str):
        # The name of a file, in an exception say, may have bytes that are no text.
        return value.encode(errors="replace").decode()
    if isinstance(value, Iterable):
        return [_plain(key, item) for item in value]
    try:
        number = value if isinstance(value, int) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    # NaN would be null, and with that not said at all.
    if not math.isfinite(number):
        raise RunError(f"the test run cannot be started; {key} is {value!r}; allowed: texts and finite numbers")
    return number


def _instant(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
