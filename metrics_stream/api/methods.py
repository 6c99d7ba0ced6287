"""One address with several methods: each has a view of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.views.decorators.csrf import csrf_exempt

from metrics_stream.access.refusals import refuse
from metrics_stream.api.requests import STATUSES
from metrics_stream.core.protocol.codes import RequestErrorCode


def by_method(**views: Callable[..., Any]) -> Callable[..., Any]:
    """Return the view of an address: the one of each method, and a refusal of all others."""
    if "GET" in views:
        views["HEAD"] = views["GET"]
    allowed = ", ".join(views)

    async def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        view = views.get(request.method or "")
        if view is None:
            message = f"this address does not accept {request.method}; allowed: {allowed}"
            code = RequestErrorCode.METHOD_NOT_ALLOWED
            return refuse(code, message, STATUSES[code], {"Allow": allowed})
        response: HttpResponseBase = await view(request, *args, **kwargs)
        return response

    # Sessions that write are checked by `readers.writes`; tokens need no check.
    found: Any = csrf_exempt(answer)
    found.operations = {method: view.operation for method, view in views.items() if method != "HEAD"}  # type: ignore[attr-defined]
    scopes = [view.token_scope for view in views.values() if hasattr(view, "token_scope")]
    if scopes:
        # A program that waits for `100 Continue` is admitted before its body comes.
        found.token_scope = scopes[0]
    return found  # type: ignore[no-any-return]
