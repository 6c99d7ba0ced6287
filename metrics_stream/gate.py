"""Lets to a page only who may see something: others are asked to sign in, programs are answered 401."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, JsonResponse
from django.http.response import HttpResponseBase

from metrics_stream.access import AccessRefused, access_of

View = Callable[..., Any]


def for_viewers(view: View) -> View:
    """Return the view for those who may see something; it asks `access_of` what."""
    if inspect.iscoroutinefunction(view):

        @wraps(view)
        async def answer_async(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            refusal = await sync_to_async(_refusal)(request)
            return refusal if refusal is not None else await view(request, *args, **kwargs)

        return answer_async

    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        refusal = _refusal(request)
        return refusal if refusal is not None else view(request, *args, **kwargs)

    return answer


def _refusal(request: HttpRequest) -> HttpResponseBase | None:
    try:
        access_of(request)
    except AccessRefused as refused:
        if "Authorization" in request.headers:
            answer = {"error": refused.error, "message": str(refused)}
            return JsonResponse(answer, status=401, headers={"WWW-Authenticate": "Bearer"})
        return redirect_to_login(request.get_full_path())
    return None
