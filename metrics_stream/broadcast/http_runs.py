"""Test runs that a program starts over HTTP: at `/api/runs/` of a server, with a token.

Needs only msgspec and the standard library. Each request has its own native thread and connection: in a program that
gevent has patched, a block waits in a greenlet (see native_threads.py). There is one request every few seconds.
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
from metrics_stream.broadcast.run_block import RUN_RETRY_SECONDS, RunOptions
from metrics_stream.core.errors import NativeThreadError, NoAnswerError, RunError, RunOverError, RunUnavailableError

logger = logging.getLogger(__name__)

RUNS_PATH = "/api/runs/"

# From the start of the connection to the end of the answer; several requests fit into run_block.RUN_STOP_SECONDS.
RUN_REQUEST_SECONDS = 5.0
# For how long a server that cannot be reached is asked to start a run.
START_SECONDS = 10.0

# The least and the longest interval that is accepted from a server.
ALIVE_BOUNDS = (1.0, 30.0)

# What the server, or a proxy in front of it, answers while it is down or busy; 501 is permanent.
_RETRY_STATUSES = {408, 429, 500, 502, 503, 504}

_SLUG = re.compile(r"[-\w]+", re.ASCII)


@dataclass(slots=True)
class RemoteRun:
    """What a server has answered about a run."""

    slug: str
    name: str
    sources: list[str]
    status: str
    started_at: datetime | None
    ended_at: datetime | None


class HttpRunStore:
    """Stores the run of a block at a server."""

    def __init__(self, server: Server, options: RunOptions) -> None:
        """Raise RunError when the program could send nothing; nothing connects yet."""
        try:
            native_threads.prepare()
        except NativeThreadError as error:
            raise RunError(str(error)) from error
        self._server = server
        self._options = options
        # The same for all attempts: when an answer is lost, the next attempt starts no second run.
        self._key = uuid.uuid4().hex
        self._run = RemoteRun("", options["name"], [], "", None, None)
        self._alive_seconds = 5.0

    @property
    def alive_seconds(self) -> float:
        """Return the interval that the server has asked for."""
        return self._alive_seconds

    def start(self) -> RemoteRun:
        """Start the run; ask again for START_SECONDS when the server cannot be reached."""
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
                time.sleep(min(max(RUN_RETRY_SECONDS, error.after_seconds), left))
        if answer.status != 201:
            raise self._refusal("", answer)
        content = answer.content
        slug = content.get("slug")
        if not (isinstance(slug, str) and _SLUG.fullmatch(slug)):
            raise RunError(f"{self._server.address.below(RUNS_PATH)} answered 201 without the slug of a run")
        self._run.slug = slug
        self._run.sources = content.get("sources", [])
        self._update_run(content)
        seconds = content.get("alive_seconds")
        if isinstance(seconds, int | float):
            self._alive_seconds = min(max(seconds, ALIVE_BOUNDS[0]), ALIVE_BOUNDS[1])
        return self._run

    def keep_alive(self) -> None:
        """Report that the program still runs."""
        self._change_run("alive/", {})

    def stop(self, status: str, note: str) -> None:
        """End the run."""
        self._change_run("stop/", {"status": status, "note": note})

    def close(self) -> None:
        """Do nothing: a connection ends with its request."""

    def _change_run(self, action: str, content: Mapping[str, Any]) -> None:
        path = f"{self._run.slug}/{action}"
        answer = self._post(path, _encode(content), {})
        if answer.status == 200 or answer.content.get("error") == "run_ended":
            self._update_run(answer.content)
        if answer.status != 200:
            raise self._refusal(path, answer)

    def _update_run(self, content: Mapping[str, Any]) -> None:
        run = self._run
        run.status = str(content.get("status", run.status))
        run.started_at = _read_instant(content.get("started_at")) or run.started_at
        run.ended_at = _read_instant(content.get("ended_at")) or run.ended_at

    def _post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Return a final answer; raise RunUnavailableError for none, and for one that asks for another attempt."""
        address = self._server.address.below(f"{RUNS_PATH}{path}")

        async def call() -> Answer:
            connection = Connection(self._server, request_seconds=RUN_REQUEST_SECONDS)
            try:
                return await connection.post(address, body, {"Content-Type": "application/json", **headers})
            finally:
                await connection.end()

        try:
            answer = native_threads.result_of(call, "metrics-run-request", RUN_REQUEST_SECONDS + 2.0)
        except (NoAnswerError, TimeoutError) as error:
            raise RunUnavailableError(str(error)) from error
        except NativeThreadError as error:
            raise RunError(str(error)) from error
        if answer.status in _RETRY_STATUSES:
            message = self._server.describe_answer(address, answer)
            raise RunUnavailableError(message, after_seconds=answer.retry_seconds)
        return answer

    def _refusal(self, path: str, answer: Answer) -> RunError:
        is_over = answer.content.get("error") in ("run_ended", "unknown_run")
        message = self._server.describe_answer(self._server.address.below(f"{RUNS_PATH}{path}"), answer)
        return (RunOverError if is_over else RunError)(message)


def _encode(content: Mapping[str, Any]) -> bytes:
    plain = {key: _to_json(key, value) for key, value in content.items() if value is not None}
    return msgspec.json.encode(plain)


def _to_json(key: str, value: Any) -> Any:
    """Return a value that JSON can represent; the server decides whether it is allowed."""
    if isinstance(value, str):
        # A file name, for example in an exception, may have bytes that are not text.
        return value.encode(errors="replace").decode()
    if isinstance(value, Iterable):
        return [_to_json(key, item) for item in value]
    try:
        number = value if isinstance(value, int) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    # JSON would have null for NaN, which the server reads as no value.
    if not math.isfinite(number):
        raise RunError(f"the test run cannot be started; {key} is {value!r}; allowed: texts and finite numbers")
    return number


def _read_instant(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
