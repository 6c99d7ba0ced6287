"""Https for the addresses of programs, with one exception: programs on the server's own machine may use http."""

from django.conf import settings
from django.http import HttpRequest, HttpResponsePermanentRedirect
from django.http.response import HttpResponseBase

from metrics_stream.access.middleware import Answer, Middleware
from metrics_stream.access.monitor import is_local

# A proxy sets one of these; it stands for a client somewhere else.
PROXY_HEADERS = ("X-Forwarded-For", "X-Forwarded-Proto", "Forwarded")


class ProgramsMiddleware(Middleware):
    """Redirect requests for `/api/` from http to https, except those of programs on this machine.

    Django does so for all other addresses, and can except addresses only, not clients (SECURE_REDIRECT_EXEMPT). No
    network sees the token of a program that connects to its own machine.
    """

    def __call__(self, request: HttpRequest) -> Answer:
        """Return the response, or the redirect."""
        if not needs_https(request):
            return self.get_response(request)
        redirect = HttpResponsePermanentRedirect(f"https://{request.get_host()}{request.get_full_path()}")
        return _as_awaitable(redirect) if self.is_async else redirect


def needs_https(request: HttpRequest) -> bool:
    """Return whether a request for `/api/` came over http although it must not."""
    is_program = request.path_info.startswith("/api/")
    return settings.SECURE_SSL_REDIRECT and is_program and not (request.is_secure() or is_from_this_machine(request))


def is_from_this_machine(request: HttpRequest) -> bool:
    """Return whether a program on this machine has connected, without a proxy between."""
    address = request.META.get("REMOTE_ADDR", "")
    return bool(address) and is_local(address) and not any(name in request.headers for name in PROXY_HEADERS)


async def _as_awaitable(response: HttpResponseBase) -> HttpResponseBase:
    return response
