"""What the addresses that read have in common: access, cost, parameters, formats, ETags, and errors in one shape.

A token with the scope `subscribe` gives access, or the session of a browser; without either, only a server that shows
everything to everybody answers. A session that writes needs the token of a form (CSRF), as everywhere in Django.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Collection
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from functools import wraps
from typing import Any, Generic, TypeVar

import msgspec
from asgiref.sync import sync_to_async
from django.db import DatabaseError
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.middleware.csrf import CsrfViewMiddleware

from metrics_stream.access.grants import Access, access_of
from metrics_stream.access.monitor import access_monitor_of, is_local
from metrics_stream.access.refusals import refuse
from metrics_stream.api.requests import STATUSES
from metrics_stream.api.responses import respond
from metrics_stream.audit.trail import Action, Result, address_of, note
from metrics_stream.core.errors import (
    AccessRefusedError,
    BodyError,
    BusError,
    ProtocolError,
    RequestRefusedError,
    SpanError,
    TooManyGuessesError,
)
from metrics_stream.core.formats.operations import Operation
from metrics_stream.core.formats.queries import read_query
from metrics_stream.core.protocol.codes import RequestErrorCode
from metrics_stream.limits.guesses import network_of
from metrics_stream.observation.faults import of_process as faults
from metrics_stream.runtime.runtime import get_runtime

Query = TypeVar("Query", bound=msgspec.Struct)
Handler = Callable[..., Any]
View = Callable[..., Any]

SUBSCRIBE = "subscribe"

# What is read and summed up for one reader alone takes the server many times as long as a list of names.
USUAL_COST = 1.0
HIGH_COST = 10.0


class NoQuery(msgspec.Struct, frozen=True):
    """The parameters of an address that takes none."""


@dataclass(frozen=True, slots=True)
class Call(Generic[Query]):
    """One request to the API, and what its reader may see."""

    request: HttpRequest
    access: Access
    query: Query

    def note(self, action: Action, what: str) -> None:
        """Note in the audit log what the reader reads or changes."""
        note(action, self.access.who, what, address=address_of(self.request))


def reads(*, cost: float = USUAL_COST, **declared: Any) -> Callable[[Handler], View]:
    """Return a decorator that makes a view of a function of `(call, …)`, which returns the content of the answer.

    `declared` is what Operation takes. What costs much is done one at a time for each reader.
    """
    operation = Operation(**{"query": NoQuery, "scope": SUBSCRIBE, **declared})
    return _decorate(operation, cost, _no_check)


def writes(*permissions: str, **declared: Any) -> Callable[[Handler], View]:
    """Return a decorator as `reads` does, for people who are signed in and have these permissions in the admin."""
    operation = Operation(**{"query": NoQuery, **declared})

    def check(request: HttpRequest) -> None:
        _check_person(request, permissions)

    return _decorate(operation, USUAL_COST, check)


def _no_check(_: HttpRequest) -> None:
    """Accept the request: whoever has access may read."""


def _decorate(operation: Operation, cost: float, check: Callable[[HttpRequest], None]) -> Callable[[Handler], View]:
    def decorate(handler: Handler) -> View:
        is_async = inspect.iscoroutinefunction(handler)

        def answer_in_thread(call: Call[Any], parts: dict[str, Any]) -> HttpResponseBase:
            return respond(call.request, handler(call, **parts), operation)

        @wraps(handler)
        async def view(request: HttpRequest, **parts: Any) -> HttpResponseBase:
            try:
                access = await sync_to_async(_admit)(request, check)
                given = {name: request.GET.getlist(name) for name in request.GET}
                call = Call(request, access, read_query(given, operation.query))
                async with _take_turn(request, access, cost):
                    if is_async:
                        content = await handler(call, **parts)
                        return await sync_to_async(respond)(request, content, operation)
                    return await sync_to_async(answer_in_thread)(call, parts)
            except EXPECTED as error:
                return refusal_of(error)

        view.operation = operation  # type: ignore[attr-defined]
        return view

    return decorate


def _admit(request: HttpRequest, check: Callable[[HttpRequest], None]) -> Access:
    """Return the access of a request that passes the check; raise one of EXPECTED."""
    has_token = "Authorization" in request.headers
    page = "API" if request.resolver_match is None else f"API {request.resolver_match.url_name}"
    try:
        access = access_of(request)
    except AccessRefusedError:
        if has_token:
            note(Action.TOKEN, "", page, address=address_of(request), result=Result.REFUSED)
        raise
    if has_token:
        note(Action.TOKEN, access.who, page, address=address_of(request))
    if access.is_shared:
        raise RequestRefusedError(RequestErrorCode.FORBIDDEN, "a share link shows its dashboard only; sign in")
    check(request)
    return access


class _CsrfCheck(CsrfViewMiddleware):
    def _reject(self, request: HttpRequest, reason: str) -> Any:
        return reason


def is_editor(request: HttpRequest, permission: str) -> bool:
    """Return whether the reader is signed in, and may change in the admin what the permission names."""
    user = request.user
    is_person = user.is_authenticated and "Authorization" not in request.headers
    return is_person and bool(getattr(user, "is_staff", False)) and user.has_perm(permission)


def _check_person(request: HttpRequest, permissions: Collection[str]) -> None:
    user = request.user
    if "Authorization" in request.headers or not user.is_authenticated:
        message = "people change this, not tokens; allowed: the session of somebody who is signed in"
        raise RequestRefusedError(RequestErrorCode.FORBIDDEN, message)
    check = _CsrfCheck(lambda _: HttpResponse())
    check.process_request(request)
    if reason := check.process_view(request, HttpResponse, (), {}):
        message = f"{reason} Send the CSRF token of a page of this site as the header X-CSRFToken."
        raise RequestRefusedError(RequestErrorCode.CSRF, message)
    lacking = [name for name in permissions if not user.has_perm(name)]
    if not getattr(user, "is_staff", False) or lacking:
        needed = ", ".join(name.rpartition(".")[2] for name in lacking or permissions)
        message = f"your account may not do this; allowed: staff with the permission {needed}"
        raise RequestRefusedError(RequestErrorCode.FORBIDDEN, message)


def _take_turn(request: HttpRequest, access: Access, cost: float) -> AbstractAsyncContextManager[Any]:
    """Take what a request costs from the rate of its reader; return the context of its turn. Raise RequestRefusedError.

    A reader is a user, a token, or the address of somebody without either; programs and proxies of this machine have
    no limit unless they show a token.
    """
    address = address_of(request)
    if access.user_id is not None or "Authorization" in request.headers:
        owner = f"reads of {access.who}"
    elif is_local(address):
        return nullcontext()
    else:
        owner = f"reads of {network_of(address)}"
    monitor = access_monitor_of(get_runtime())
    if (wait := monitor.take_cost(owner, cost, time.monotonic())) > 0.0:
        per_second = get_runtime().settings.message_cost_per_second
        message = (
            f"you read more than {per_second:g} a second; a list counts as 1, and what is summed up as {HIGH_COST:g}"
        )
        raise RequestRefusedError(RequestErrorCode.TOO_MANY_REQUESTS, message, retry_seconds=wait)
    return monitor.turn_of(owner) if cost > USUAL_COST else nullcontext()


# --- refusals ---

EXPECTED = (
    RequestRefusedError,
    BodyError,
    AccessRefusedError,
    ProtocolError,
    SpanError,
    Http404,
    DatabaseError,
    BusError,
)
"""What a handler may raise: each becomes a refusal."""


def refusal_of(error: Exception) -> HttpResponseBase:
    """Return the refusal for one of EXPECTED."""
    headers: dict[str, str] = {}
    match error:
        case RequestRefusedError():
            code = error.error
            if error.retry_seconds is not None:
                headers["Retry-After"] = str(error.retry_seconds)
        case BodyError():
            code = error.error
        case TooManyGuessesError():
            code = RequestErrorCode.TOO_MANY_REQUESTS
            headers["Retry-After"] = str(error.retry_seconds)
        case AccessRefusedError():
            code = RequestErrorCode.NOT_AUTHENTICATED
            headers["WWW-Authenticate"] = "Bearer"
        case ProtocolError() | SpanError():
            code = RequestErrorCode.INVALID_PARAMETER
        case Http404():
            code = RequestErrorCode.NOT_FOUND
        case _:
            if isinstance(error, DatabaseError):
                faults.note_database("a request to the API cannot be answered", error)
            headers["Retry-After"] = "5"
            code = RequestErrorCode.UNAVAILABLE
            return refuse(code, "this cannot be read at the moment; try again later", STATUSES[code], headers)
    return refuse(code, str(error), STATUSES[code], headers)
