"""Https for everything, with one exception: programs on the server's own machine that publish or start test runs."""

from django.http import HttpRequest
from django.http.response import HttpResponsePermanentRedirect
from django.middleware.security import SecurityMiddleware

from metrics_stream.access.monitor import is_local

# A proxy sets one of these; it stands for a client somewhere else.
PROXY_HEADERS = ("X-Forwarded-For", "X-Forwarded-Proto", "Forwarded")


class HttpsMiddleware(SecurityMiddleware):
    """Redirect http to https, except requests of programs on this machine: no network sees their token."""

    def process_request(self, request: HttpRequest) -> HttpResponsePermanentRedirect | None:
        """Return the redirect, or None where the request is answered."""
        if request.path_info.startswith("/api/") and is_from_this_machine(request):
            return None
        return super().process_request(request)


def is_from_this_machine(request: HttpRequest) -> bool:
    """Return whether a program on this machine has connected, without a proxy between."""
    address = request.META.get("REMOTE_ADDR", "")
    return bool(address) and is_local(address) and not any(name in request.headers for name in PROXY_HEADERS)
