"""What the addresses for programs have in common: tokens, bounds of bodies, rejections as JSON.

Only tokens give access. Cookies do not count, so that no other site can use the browser of a user who is signed in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine
from functools import wraps
from hashlib import blake2b
from typing import Any

from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from metrics_stream.api.programs import Program, publishing_programs_of
from metrics_stream.conf import get_settings
from metrics_stream.core.errors import BodyError, RequestRefusedError
from metrics_stream.core.formats.native import inflate
from metrics_stream.core.protocol.codes import RequestErrorCode
from metrics_stream.runtime.runtime import Runtime, get_runtime

PATHS = ("/api/metrics/", "/api/runs/")
"""The paths of the addresses for programs start with one of these."""

ENCODINGS = ("gzip", "identity")

MAX_KEY_LENGTH = 200

# A body of the largest size needs far less time over any network that a producer has.
BODY_SECONDS = 30.0

STATUSES = {
    RequestErrorCode.NOT_A_DOCUMENT: 400,
    RequestErrorCode.INVALID_KEY: 400,
    RequestErrorCode.NOT_AUTHENTICATED: 401,
    RequestErrorCode.FORBIDDEN: 403,
    RequestErrorCode.METHOD_NOT_ALLOWED: 405,
    RequestErrorCode.TOO_SLOW: 408,
    RequestErrorCode.TOO_LARGE: 413,
    RequestErrorCode.UNSUPPORTED: 415,
    RequestErrorCode.TOO_MANY_REQUESTS: 429,
    RequestErrorCode.TOO_MANY_METRICS: 429,
    RequestErrorCode.UNAVAILABLE: 503,
    RequestErrorCode.INVALID_RUN: 422,
    RequestErrorCode.UNKNOWN_RUN: 404,
    RequestErrorCode.RUN_ENDED: 409,
    RequestErrorCode.TOO_MANY_RUNS: 409,
    RequestErrorCode.RUNS_OFF: 501,
}

HEADERS = {
    RequestErrorCode.NOT_AUTHENTICATED: {"WWW-Authenticate": "Bearer"},
    RequestErrorCode.METHOD_NOT_ALLOWED: {"Allow": "POST"},
    RequestErrorCode.UNSUPPORTED: {"Accept-Encoding": ", ".join(ENCODINGS)},
}


View = Callable[..., Coroutine[Any, Any, JsonResponse]]


def for_programs(scope: str) -> Callable[[View], View]:
    """Return a decorator for views of `(request, program, …)` that admits programs whose token has this scope."""

    def decorate(view: View) -> View:
        @csrf_exempt
        @wraps(view)
        async def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> JsonResponse:
            runtime = get_runtime()
            try:
                program = await _admit(request, scope, runtime)
                return await view(request, program, *args, **kwargs)
            except RequestRefusedError as error:
                response = reject(runtime, error.error, str(error), retry_seconds=error.retry_seconds)
            except BodyError as error:
                response = reject(runtime, error.error, str(error))
            if response.status_code == STATUSES[RequestErrorCode.FORBIDDEN]:
                response["WWW-Authenticate"] = f'Bearer error="insufficient_scope", scope="{scope}"'
            return response

        return answer

    return decorate


async def _admit(request: HttpRequest, scope: str, runtime: Runtime) -> Program:
    if request.method != "POST":
        message = f"this address does not accept {request.method}; allowed: POST"
        raise BodyError(RequestErrorCode.METHOD_NOT_ALLOWED, message)
    authorization, address = request.headers.get("Authorization", ""), request.META.get("REMOTE_ADDR") or ""
    return await publishing_programs_of(runtime).admit(scope, authorization, address)


def reject(
    runtime: Runtime, error: RequestErrorCode, message: str, *, retry_seconds: int | None = None, **more: Any
) -> JsonResponse:
    """Build and count a rejection."""
    runtime.telemetry.ingest_requests_refused[error] += 1
    headers = dict(HEADERS.get(error, {}))
    if retry_seconds is not None:
        headers["Retry-After"] = str(retry_seconds)
    return unlogged_response({"error": error, "message": message, **more}, STATUSES[error], headers)


def unlogged_response(content: dict[str, Any], status: int, headers: dict[str, str] | None = None) -> JsonResponse:
    """Return a response that Django does not log: a flood of requests must not fill the log. Telemetry counts it."""
    response = JsonResponse(content, status=status, headers=headers)
    response._has_been_logged = True  # type: ignore[attr-defined]
    return response


# --- reading ---


def read_idempotency_key(request: HttpRequest) -> bytes | None:
    """Return the Idempotency-Key of a request, None without one; raise BodyError for an invalid one."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if not (0 < len(key) <= MAX_KEY_LENGTH and key.isascii() and key.isprintable()):
        raise BodyError(
            RequestErrorCode.INVALID_KEY, f"Idempotency-Key must be 1 to {MAX_KEY_LENGTH} printable ASCII characters"
        )
    return key.encode()


def make_publication_key(program: Program, key: bytes | None, body: bytes) -> bytes | None:
    """Return what identifies a repeated request: a digest of program, Idempotency-Key and body; None without a key."""
    return None if key is None else blake2b(b"%d %b %b" % (program.pk, key, body), digest_size=16).digest()


def read_body(request: HttpRequest, kinds: Collection[str], *, may_be_empty: bool = False) -> tuple[str, bytes]:
    """Return the content type of a request, which must be in `kinds`, and the body, unpacked; raise BodyError.

    With `may_be_empty`, an empty body needs no content type.
    """
    settings = get_settings()
    kind = request.content_type or ""
    is_empty = may_be_empty and request.META.get("CONTENT_LENGTH") in (None, "", "0")
    if not (kind in kinds or is_empty):
        raise BodyError(RequestErrorCode.UNSUPPORTED, f"Content-Type is {kind!r:.60}; allowed: {', '.join(kinds)}")
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower() or "identity"
    if encoding not in ENCODINGS:
        raise BodyError(
            RequestErrorCode.UNSUPPORTED, f"Content-Encoding is {encoding!r:.60}; allowed: {', '.join(ENCODINGS)}"
        )
    # Not `request.body`, which has another limit.
    body = request.read(settings.ingest_max_body_bytes + 1)
    if len(body) > settings.ingest_max_body_bytes:
        raise BodyError(RequestErrorCode.TOO_LARGE, _describe_limit())
    return kind, inflate(body, max_bytes=settings.ingest_max_unpacked_bytes) if encoding == "gzip" else body


# --- before Django, which reads a body to its end before it calls a view ---

Scope = Any
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


def with_bounded_bodies(http: Application) -> Application:
    """Return `http` with bounds for the bodies of programs: too large or too slow ones are rejected immediately."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if not scope["path"].startswith(PATHS):
            await http(scope, receive, send)
            return
        body = _BoundedBody(receive, get_settings().ingest_max_body_bytes)
        await http(scope, body.receive, send)
        if body.fault is not None:
            message = _describe_limit() if body.fault == RequestErrorCode.TOO_LARGE else f"allowed: {BODY_SECONDS:g} s"
            await _send_rejection(send, body.fault, message)

    return answer


class _BoundedBody:
    """Passes on the body of a request; past its bounds, it looks to Django like a client that disconnected."""

    def __init__(self, receive: Receive, max_bytes: int) -> None:
        self.fault: RequestErrorCode | None = None
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
            return self._end_body(RequestErrorCode.TOO_SLOW)
        if message["type"] == "http.request":
            self._is_complete = not message.get("more_body", False)
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                return self._end_body(RequestErrorCode.TOO_LARGE)
        return message

    def _end_body(self, fault: RequestErrorCode) -> dict[str, str]:
        self.fault = fault
        self._is_complete = True
        return {"type": "http.disconnect"}


async def _send_rejection(send: Send, error: RequestErrorCode, message: str) -> None:
    response = reject(get_runtime(), error, message)
    # The rest of the body is not read, so the connection cannot be used again.
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": response.content})


def _describe_limit() -> str:
    return f"the body has more than {get_settings().ingest_max_body_bytes:,} bytes; send it in several requests"
