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
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from metrics_stream import native_threads
from metrics_stream.broadcast import bodies
from metrics_stream.broadcast.http_client import Answer, Connection, Server
from metrics_stream.broadcast.run_block import RUN_RETRY_SECONDS, RunOptions
from metrics_stream.core.errors import NativeThreadError, NoAnswerError, RunError, RunOverError, RunUnavailableError
from metrics_stream.core.formatting import format_timestamp
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.run_values import describe_phases, read_instant, read_parameters, read_phases

logger = logging.getLogger(__name__)

RUNS_PATH = "/api/runs/"

# From the start of the connection to the end of the answer; several requests fit into run_block.RUN_STOP_SECONDS.
RUN_REQUEST_SECONDS = 5.0
# For how long a server that cannot be reached is asked to start a run.
START_SECONDS = 10.0
# For how long it is asked to record metrics, which nothing else keeps.
RECORD_SECONDS = 30.0

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
        body = _encode(_read_options(self._options))
        answer = _repeat(
            lambda: self._post("", body, {"Idempotency-Key": self._key}),
            START_SECONDS,
            f"the test run {self._options['name']} cannot be started yet",
        )
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
        self._change_run("alive/", b"{}")

    def stop(self, status: str, note: str) -> None:
        """End the run."""
        self._change_run("stop/", _encode({"status": status, "note": note}))

    def mark_phase(self, name: str | None, seconds_ago: float) -> None:
        """Begin a phase, or end the one before."""
        self._change_run("phases/", msgspec.json.encode({"name": name, "seconds_ago": seconds_ago}))

    def record(self, metrics: Sequence[Metric]) -> None:
        """Record metrics of a run that was over when it was started; ask again for RECORD_SECONDS."""
        path = f"{self._run.slug}/metrics/"
        for items in bodies.split(metrics):
            body, headers = bodies.pack(items), {**bodies.HEADERS, "Idempotency-Key": uuid.uuid4().hex}
            answer = _repeat(
                lambda body=body, headers=headers: self._post(path, body, headers),  # type: ignore[misc]
                RECORD_SECONDS,
                f"metrics of the test run {self._run.slug} cannot be recorded yet",
            )
            if answer.status != 202:
                raise self._describe_refused(path, answer)

    def _describe_refused(self, path: str, answer: Answer) -> RunError:
        errors = answer.content.get("errors")
        if isinstance(errors, list) and errors and isinstance(errors[0], dict):
            first = self._server.without_token(f"{errors[0].get('path')}: {errors[0].get('message')}")
            return RunError(
                f"{len(errors)} metrics of the test run {self._run.slug!r} were not recorded, the first: {first}"
            )
        return self._refusal(path, answer)

    def close(self) -> None:
        """Do nothing: a connection ends with its request."""

    def _change_run(self, action: str, body: bytes) -> None:
        path = f"{self._run.slug}/{action}"
        answer = self._post(path, body, {})
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


def _repeat(call: Callable[[], Answer], seconds: float, problem: str) -> Answer:
    """Return the answer to a call, which is made again for so many seconds while the server cannot be reached."""
    deadline = time.monotonic() + seconds
    is_first = True
    while True:
        try:
            return call()
        except RunUnavailableError as error:
            left = deadline - time.monotonic()
            if left <= 0:
                raise
            if is_first:
                logger.warning("%s: %s", problem, error)
            is_first = False
            time.sleep(min(max(RUN_RETRY_SECONDS, error.after_seconds), left))


def _read_options(options: RunOptions) -> dict[str, Any]:
    """Return the options with which the server starts a run, as data that JSON can hold; raise RunError."""
    content: dict[str, Any] = {**options}
    if options["parameters"] is not None:
        content["parameters"] = read_parameters(options["parameters"])
    for key in ("started_at", "ended_at"):
        if content[key] is not None:
            content[key] = format_timestamp(read_instant(key, content[key]).timestamp())
    content["phases"] = describe_phases(read_phases(options["phases"])) or None
    return content


def _encode(content: Mapping[str, Any]) -> bytes:
    plain = {key: _to_json(key, value) for key, value in content.items() if value is not None}
    return msgspec.json.encode(plain)


def _to_json(key: str, value: Any) -> Any:
    """Return a value that JSON can represent; the server decides whether it is allowed."""
    if isinstance(value, bool | None):
        return value
    if isinstance(value, str):
        # A file name, for example in an exception, may have bytes that are not text.
        return value.encode(errors="replace").decode()
    if isinstance(value, Mapping):
        return {name: _to_json(name, item) for name, item in value.items()}
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
