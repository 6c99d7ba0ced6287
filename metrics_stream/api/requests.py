"""What the addresses for programs have in common: tokens, bounds of bodies, rejections as JSON.

Only tokens give access. Cookies do not count, so that no other site can use the browser of a user who is signed in.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from functools import wraps
from hashlib import blake2b
from http import HTTPStatus
from typing import Any

from django.http import HttpRequest, JsonResponse
from django.urls import Resolver404, resolve
from django.views.decorators.csrf import csrf_exempt

from metrics_stream.access.refusals import unlogged_response
from metrics_stream.api.programs import Program, publishing_programs_of
from metrics_stream.conf import get_settings
from metrics_stream.core.errors import BodyError, RequestRefusedError
from metrics_stream.core.formats.native import inflate
from metrics_stream.core.formatting import quote
from metrics_stream.core.protocol.codes import RequestErrorCode
from metrics_stream.runtime.runtime import Runtime, get_runtime
from metrics_stream.server.answers import answer_with
from metrics_stream.server.refusals import Refusal, count_refusal
from metrics_stream.server.request_head import RefusedRequestError

PATHS = ("/api/metrics/", "/api/runs/", "/api/v1/")
"""The paths of the addresses for programs start with one of these."""

# Only such slugs are looked up: some databases fail on other texts.
SLUG = re.compile(r"[-\w]{1,150}", re.ASCII)

ENCODINGS = ("gzip", "identity")

MAX_KEY_LENGTH = 200

# A body of the largest size needs far less time over any network that a producer has.
BODY_SECONDS = 30.0
# Bodies that may be larger get more time.
BODY_BYTES = 4_000_000

# The key of a request's scope with the program that was admitted before the body came.
ADMITTED = "metrics_stream.program"

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
    RequestErrorCode.INVALID_PARAMETER: 400,
    RequestErrorCode.CSRF: 403,
    RequestErrorCode.NOT_FOUND: 404,
    RequestErrorCode.CONFLICT: 409,
    RequestErrorCode.INVALID_DASHBOARD: 422,
    RequestErrorCode.NO_STREAM: 501,
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
                program = _admitted(request)
                if program is None:
                    authorization = request.headers.get("Authorization", "")
                    address = request.META.get("REMOTE_ADDR") or ""
                    program = await _admit(request.method or "", authorization, address, scope, runtime)
                return await view(request, program, *args, **kwargs)
            except (RequestRefusedError, BodyError) as error:
                return _reject(runtime, error, scope)

        answer.token_scope = scope  # type: ignore[attr-defined]
        return answer

    return decorate


async def _admit(method: str, authorization: str, address: str, scope: str, runtime: Runtime) -> Program:
    if method != "POST":
        message = f"this address does not accept {method}; allowed: POST"
        raise BodyError(RequestErrorCode.METHOD_NOT_ALLOWED, message)
    return await publishing_programs_of(runtime).admit(scope, authorization, address)


def _admitted(request: HttpRequest) -> Program | None:
    """Return the program of a request that was admitted before its body came."""
    program: Program | None = getattr(request, "scope", {}).get(ADMITTED)
    return program


def _reject(runtime: Runtime, error: RequestRefusedError | BodyError, scope: str) -> JsonResponse:
    seconds = error.retry_seconds if isinstance(error, RequestRefusedError) else None
    response = reject(runtime, error.error, str(error), retry_seconds=seconds)
    if response.status_code == STATUSES[RequestErrorCode.FORBIDDEN]:
        response["WWW-Authenticate"] = f'Bearer error="insufficient_scope", scope="{scope}"'
    return response


def reject(
    runtime: Runtime, error: RequestErrorCode, message: str, *, retry_seconds: int | None = None, **more: Any
) -> JsonResponse:
    """Build and count a rejection."""
    runtime.telemetry.ingest_requests_refused[error] += 1
    headers = dict(HEADERS.get(error, {}))
    if retry_seconds is not None:
        headers["Retry-After"] = str(retry_seconds)
    return unlogged_response({"error": error, "message": message, **more}, STATUSES[error], headers)


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


def with_bounded_bodies(http: Application, mounted: str = "") -> Application:
    """Return `http` with bounds for bodies: too large or too slow ones are rejected immediately.

    `mounted` is the path at which the project includes the URLs.

    Those of programs that wait for `100 Continue` are rejected before they are sent, also without a valid token.
    """

    paths = tuple(f"{mounted}{path}" for path in PATHS)

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        is_program = scope["path"].removeprefix(scope.get("root_path", "")).startswith(paths)
        settings = get_settings()
        max_bytes = settings.ingest_max_body_bytes if is_program else settings.page_max_body_bytes
        reject_body = _reject_program if is_program else _reject_page
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > max_bytes:
            await reject_body(scope, send, RequestErrorCode.TOO_LARGE, max_bytes)
            return
        if is_program and headers.get(b"expect", b"").lower() == b"100-continue":
            admitted = await _admit_early(scope, headers)
            if isinstance(admitted, JsonResponse):
                await _send_response(send, admitted)
                return
            scope = {**scope, ADMITTED: admitted}
        body = _BoundedBody(receive, max_bytes)
        await http(scope, body.receive, send)
        if body.fault is not None:
            await reject_body(scope, send, body.fault, max_bytes)

    return answer


async def _admit_early(scope: Scope, headers: Mapping[bytes, bytes]) -> Program | JsonResponse | None:
    """Return the program that sends a request, or the rejection; None if the address is of no view for programs."""
    try:
        view = resolve(scope["path"].removeprefix(scope.get("root_path", ""))).func
    except Resolver404:
        return None
    needed = getattr(view, "token_scope", None)
    # What is read at the same address has another scope.
    if needed is None or scope["method"] != "POST":
        return None
    runtime, address = get_runtime(), str((scope.get("client") or [""])[0])
    authorization = headers.get(b"authorization", b"").decode("latin-1")
    try:
        return await _admit(scope["method"], authorization, address, needed, runtime)
    except (RequestRefusedError, BodyError) as error:
        return _reject(runtime, error, needed)


class _BoundedBody:
    """Passes on the body of a request; past its bounds, it looks to Django like a client that disconnected."""

    def __init__(self, receive: Receive, max_bytes: int) -> None:
        self.fault: RequestErrorCode | None = None
        self._receive = receive
        self._left = max_bytes
        seconds = BODY_SECONDS * max(1.0, max_bytes / BODY_BYTES)
        self._deadline = asyncio.get_running_loop().time() + seconds
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


async def _reject_program(scope: Scope, send: Send, error: RequestErrorCode, max_bytes: int) -> None:
    del scope, max_bytes
    message = _describe_limit() if error == RequestErrorCode.TOO_LARGE else f"allowed: {BODY_SECONDS:g} s"
    await _send_response(send, reject(get_runtime(), error, message))


async def _reject_page(scope: Scope, send: Send, error: RequestErrorCode, max_bytes: int) -> None:
    if error == RequestErrorCode.TOO_LARGE:
        reason, status = Refusal.BODY_TOO_LARGE, HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        told = f"the body has more than {max_bytes:,} bytes (PAGE_MAX_BODY_BYTES)"
    else:
        reason, status = Refusal.TOO_SLOW, HTTPStatus.REQUEST_TIMEOUT
        told = "the body took too long to arrive"
    client = (scope.get("client") or ["this machine"])[0]
    count_refusal(reason, "a request from %s to %s is answered %d: %s", client, quote(scope["path"]), status, told)
    await answer_with(RefusedRequestError(status, reason, told))(scope, None, send)


async def _send_response(send: Send, response: JsonResponse) -> None:
    # The rest of the body is not read, so the connection cannot be used again.
    headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in response.items()]
    headers += [(b"content-length", str(len(response.content)).encode()), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": response.content})


def _describe_limit() -> str:
    return f"the body has more than {get_settings().ingest_max_body_bytes:,} bytes; send it in several requests"
