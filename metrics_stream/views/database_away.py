"""The answer while the database is locked or cannot be reached: 503 with words, instead of 500 with a traceback.

`DatabaseAwayMiddleware` answers for all views. The middleware for sessions saves the session after the view, and Django
offers no hook for its errors, so `SessionMiddleware` replaces it.
"""

from __future__ import annotations

from django.contrib.sessions.middleware import SessionMiddleware as DjangoSessionMiddleware
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string

from metrics_stream.access.middleware import Middleware
from metrics_stream.core.protocol.codes import RequestErrorCode
from metrics_stream.observation.faults import FaultKind
from metrics_stream.observation.faults import of_process as faults

# How long the client should wait: as long as most locks last.
RETRY_SECONDS = 5

MESSAGE = f"the database is busy or cannot be reached; nothing was changed. Try again in {RETRY_SECONDS} s"

# What Django raises when the database is locked, full, restarting or gone, and not when a query is wrong.
AwayError = (OperationalError, InterfaceError)


class DatabaseAwayMiddleware(Middleware):
    """Answer requests of which the database was away with 503: a page for browsers, JSON for programs."""

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Return the answer if the view failed because of the database."""
        return answer_away(request, exception) if isinstance(exception, AwayError) else None


class SessionMiddleware(DjangoSessionMiddleware):
    """Django's, but a session that cannot be saved is answered with 503."""

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        """Save the session, if the view has changed it."""
        try:
            return super().process_response(request, response)
        except AwayError as error:
            return answer_away(request, error)


def answer_away(request: HttpRequest, error: Exception) -> HttpResponse:
    """Return the answer to a request during which the database was away, and note the fault."""
    reason = str(error).strip().partition("\n")[0]
    faults.begin(FaultKind.DATABASE, f"the database does not answer: {reason}")
    faults.count(FaultKind.DATABASE, "requests refused")
    answer: HttpResponse
    if _is_of_program(request):
        answer = JsonResponse({"error": RequestErrorCode.UNAVAILABLE, "message": MESSAGE}, status=503)
    else:
        # Without the request: the header of other pages queries the database.
        answer = HttpResponse(render_to_string("metrics_stream/database_away.html"), status=503)
    answer["Retry-After"] = str(RETRY_SECONDS)
    answer["Cache-Control"] = "no-store"
    # The log has the fault; Django would add an error for each request.
    answer._has_been_logged = True  # type: ignore[attr-defined]
    return answer


def _is_of_program(request: HttpRequest) -> bool:
    return (
        "/api/" in request.path
        or "Authorization" in request.headers
        or request.get_preferred_type(["text/html", "application/json"]) == "application/json"
    )
