"""`POST /api/metrics/`: programs publish from outside, with a token, and hear what became of each metric.

202 is answered only when all of it is in the history and on the channel layer. What cannot be read is the fault of a
request (4xx) or of one metric (207, and 422 when it is all of them).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from metrics_stream.conf import get_settings
from metrics_stream.core.metrics import Metric
from metrics_stream.core.submission import BadBody, BadItem, Format, RequestError, inflate, items_in, read_item
from metrics_stream.deadline import BusError
from metrics_stream.publishers import Program, Publishers, PublishingRefused, publishers_of
from metrics_stream.runtime import Runtime, get_runtime

PATH = "/api/metrics/"

FORMATS: dict[str, Format] = {"application/json": "json", "application/x-ndjson": "ndjson"}
ENCODINGS = ("gzip", "identity")

MAX_KEY_LENGTH = 200

# A body of the largest size comes in far less over any line that a producer has.
BODY_SECONDS = 30.0

# How many metrics are read before others get their turn: a few milliseconds of work.
SLICE = 50

STATUSES = {
    RequestError.NOT_A_DOCUMENT: 400,
    RequestError.INVALID_KEY: 400,
    RequestError.NOT_AUTHENTICATED: 401,
    RequestError.FORBIDDEN: 403,
    RequestError.METHOD_NOT_ALLOWED: 405,
    RequestError.TOO_SLOW: 408,
    RequestError.TOO_LARGE: 413,
    RequestError.UNSUPPORTED: 415,
    RequestError.TOO_MANY_REQUESTS: 429,
    RequestError.TOO_MANY_METRICS: 429,
    RequestError.UNAVAILABLE: 503,
}

HEADERS = {
    RequestError.NOT_AUTHENTICATED: {"WWW-Authenticate": "Bearer"},
    RequestError.FORBIDDEN: {"WWW-Authenticate": 'Bearer error="insufficient_scope", scope="publish"'},
    RequestError.METHOD_NOT_ALLOWED: {"Allow": "POST"},
    RequestError.UNSUPPORTED: {"Accept-Encoding": ", ".join(ENCODINGS)},
}


@dataclass(slots=True)
class Submission:
    """What one request brings: its metrics by their place in it, and what is wrong with the others."""

    metrics: dict[int, Metric] = field(default_factory=dict)
    errors: dict[int, BadItem] = field(default_factory=dict)

    def describe_errors(self) -> list[dict[str, Any]]:
        """Return the errors as they are answered."""
        return [
            {"index": index, "path": bad.path, "code": bad.code, "message": str(bad)}
            for index, bad in sorted(self.errors.items())
        ]


@csrf_exempt
async def publish(request: HttpRequest) -> JsonResponse:
    """Publish what a program sends. Only a token counts: a cookie opens nothing here."""
    runtime = get_runtime()
    try:
        return await _publish(request, runtime, publishers_of(runtime))
    except PublishingRefused as refused:
        return _refuse(runtime, refused.error, str(refused), refused.retry_seconds)
    except BadBody as bad:
        return _refuse(runtime, bad.error, str(bad))


async def _publish(request: HttpRequest, runtime: Runtime, publishers: Publishers) -> JsonResponse:
    if request.method != "POST":
        raise BadBody(RequestError.METHOD_NOT_ALLOWED, f"{request.method} is not for this address; allowed: POST")
    program = await publishers.admit(request.headers.get("Authorization", ""), request.META.get("REMOTE_ADDR") or "")
    key = _key_of(request)
    body, form = _body_of(request)
    submission = await _read(body, form, program)
    publishers.take_metrics(program, len(submission.metrics) + len(submission.errors))
    submission.errors |= await publishers.admit_names(program, submission.metrics)
    for bad in submission.errors.values():
        runtime.telemetry.ingest_metrics_refused[bad.code] += 1
    metrics = {index: metric for index, metric in submission.metrics.items() if index not in submission.errors}
    once = None if key is None else blake2b(b"%d %b %b" % (program.pk, key, body), digest_size=16).digest()
    repeated = once is not None and publishers.is_done(program, once)
    if not repeated:
        if (unavailable := await _send(runtime, metrics, once)) is not None:
            return unavailable
        if once is not None:
            publishers.note_done(program, once)
    return _answer(submission, len(metrics), repeated=repeated)


def _answer(submission: Submission, accepted: int, *, repeated: bool) -> JsonResponse:
    content: dict[str, Any] = {"accepted": accepted}
    if repeated:
        content["repeated"] = True
    if not submission.errors:
        return JsonResponse(content, status=202)
    content["errors"] = submission.describe_errors()
    return _quiet(content, 207 if accepted else 422)


def _refuse(
    runtime: Runtime, error: RequestError, message: str, retry_seconds: int | None = None, **more: Any
) -> JsonResponse:
    runtime.telemetry.ingest_requests_refused[error] += 1
    headers = dict(HEADERS.get(error, {}))
    if retry_seconds is not None:
        headers["Retry-After"] = str(retry_seconds)
    return _quiet({"error": error, "message": message, **more}, STATUSES[error], headers)


def _quiet(content: dict[str, Any], status: int, headers: dict[str, str] | None = None) -> JsonResponse:
    """Return a response that Django does not log: whoever floods the server must not flood the log, and it counts."""
    response = JsonResponse(content, status=status, headers=headers)
    response._has_been_logged = True  # type: ignore[attr-defined]
    return response


# --- reading ---


def _key_of(request: HttpRequest) -> bytes | None:
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if not (0 < len(key) <= MAX_KEY_LENGTH and key.isascii() and key.isprintable()):
        raise BadBody(
            RequestError.INVALID_KEY, f"Idempotency-Key must be 1 to {MAX_KEY_LENGTH} printable ASCII characters"
        )
    return key.encode()


def _body_of(request: HttpRequest) -> tuple[bytes, Format]:
    settings = get_settings()
    form = FORMATS.get(request.content_type or "")
    if form is None:
        raise BadBody(
            RequestError.UNSUPPORTED,
            f"Content-Type is {request.content_type!r:.60}; allowed: {', '.join(FORMATS)}",
        )
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower() or "identity"
    if encoding not in ENCODINGS:
        raise BadBody(
            RequestError.UNSUPPORTED, f"Content-Encoding is {encoding!r:.60}; allowed: {', '.join(ENCODINGS)}"
        )
    # Not `request.body`, which has a limit of its own.
    body = request.read(settings.ingest_max_body_bytes + 1)
    if len(body) > settings.ingest_max_body_bytes:
        raise BadBody(RequestError.TOO_LARGE, _too_large())
    if encoding == "gzip":
        body = inflate(body, max_bytes=settings.ingest_max_unpacked_bytes)
    return body, form


async def _read(body: bytes, form: Format, program: Program) -> Submission:
    submission = Submission()
    now = time.time()
    for index, item in enumerate(items_in(body, form, max_items=get_settings().ingest_max_metrics)):
        if index % SLICE == SLICE - 1:
            await asyncio.sleep(0)
        try:
            submission.metrics[index] = read_item(item, program.terms, now)
        except BadItem as bad:
            submission.errors[index] = bad
    return submission


# --- publishing ---


async def _send(runtime: Runtime, metrics: dict[int, Metric], once: bytes | None) -> JsonResponse | None:
    """Publish metrics; return the answer when that does not work, which says what has been published all the same."""
    sent: set[int] = set()

    def note(batch: Sequence[Metric]) -> None:
        sent.update(map(id, batch))
        runtime.telemetry.metrics_ingested += len(batch)

    try:
        name = None if once is None else f"http.{once.hex()}"
        await runtime.bus.publish(list(metrics.values()), once=name, on_sent=note)
    except BusError as error:
        runtime.telemetry.bus_failures += 1
        unpublished = [index for index, metric in metrics.items() if id(metric) not in sent]
        left = {"accepted": len(sent), "unpublished": unpublished} if sent else {"accepted": 0}
        return _refuse(runtime, RequestError.UNAVAILABLE, str(error), 2, **left)
    return None


# --- below Django, which reads a body to its end before anybody is asked ---

Scope = Any
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


def with_bounded_bodies(http: Application) -> Application:
    """Return `http` without bodies that are too large or too slow at this address: they are answered at once."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != PATH:
            await http(scope, receive, send)
            return
        body = _BoundedBody(receive, get_settings().ingest_max_body_bytes)
        await http(scope, body.receive, send)
        if body.fault is not None:
            message = _too_large() if body.fault == RequestError.TOO_LARGE else f"allowed: {BODY_SECONDS:g} s"
            await _send_refusal(send, body.fault, message)

    return answer


class _BoundedBody:
    """Hands on the body of a request; for Django, one that is too much looks like a client that went away."""

    def __init__(self, receive: Receive, max_bytes: int) -> None:
        self.fault: RequestError | None = None
        self._receive = receive
        self._left = max_bytes
        self._deadline = asyncio.get_running_loop().time() + BODY_SECONDS
        self._is_complete = False

    async def receive(self) -> Any:
        if self._is_complete:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            return self._give_up(RequestError.TOO_SLOW)
        if message["type"] == "http.request":
            self._is_complete = not message.get("more_body", False)
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                return self._give_up(RequestError.TOO_LARGE)
        return message

    def _give_up(self, fault: RequestError) -> dict[str, str]:
        self.fault = fault
        self._is_complete = True
        return {"type": "http.disconnect"}


async def _send_refusal(send: Send, error: RequestError, message: str) -> None:
    response = _refuse(get_runtime(), error, message)
    # The rest of the body is not read.
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": response.content})


def _too_large() -> str:
    return f"the body has more than {get_settings().ingest_max_body_bytes:,} bytes; send it in several requests"
