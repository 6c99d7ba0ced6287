"""Decorators of views that need an access: without one a browser is sent to the sign-in, a program gets 401."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, JsonResponse
from django.http.response import HttpResponseBase

from metrics_stream.access.grants import access_of
from metrics_stream.audit.trail import Action, Result, address_of, note
from metrics_stream.core.errors import AccessRefusedError, TooManyGuessesError

View = Callable[..., Any]


def for_viewers(view: View) -> View:
    """Return the view for requests with an access, which it finds with `access_of`; share links get 404."""
    return _guarded(view, is_shared=False)


def for_shares(view: View) -> View:
    """Return the view for share links too; their answers ask search engines not to list them."""
    return _guarded(view, is_shared=True)


def _guarded(view: View, *, is_shared: bool) -> View:
    if inspect.iscoroutinefunction(view):

        @wraps(view)
        async def answer_async(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            refusal = await sync_to_async(_refusal)(request, is_shared=is_shared)
            return refusal if refusal is not None else await view(request, *args, **kwargs)

        return answer_async

    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        refusal = _refusal(request, is_shared=is_shared)
        if refusal is not None:
            return refusal
        response: HttpResponseBase = view(request, *args, **kwargs)
        if access_of(request).is_shared:
            response.headers["X-Robots-Tag"] = "noindex"
        return response

    return answer


def _refusal(request: HttpRequest, *, is_shared: bool) -> HttpResponseBase | None:
    has_token = "Authorization" in request.headers
    try:
        access = access_of(request)
    except TooManyGuessesError as refused:
        answer = {"error": refused.error, "message": str(refused)}
        return JsonResponse(answer, status=429, headers={"Retry-After": str(refused.retry_seconds)})
    except AccessRefusedError as refused:
        if has_token:
            note(Action.TOKEN, "", _page(request), address=address_of(request), result=Result.REFUSED)
            answer = {"error": refused.error, "message": str(refused)}
            return JsonResponse(answer, status=401, headers={"WWW-Authenticate": "Bearer"})
        return redirect_to_login(request.get_full_path())
    request.is_share_session = access.is_shared  # type: ignore[attr-defined]  # read when the header of the page is drawn
    if has_token:
        note(Action.TOKEN, access.who, _page(request), address=address_of(request))
    if access.is_shared and not is_shared:
        raise Http404("A share link shows its dashboard only.")
    return None


def _page(request: HttpRequest) -> str:
    """Return the name of the page; addresses are without number, and each would be an entry of the audit log."""
    return "" if request.resolver_match is None else f"page {request.resolver_match.url_name}"
