"""Response headers for which neither Django nor django-csp has a setting."""

from collections.abc import Awaitable

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from metrics_stream.access.middleware import Answer, Middleware

# Deny what no page uses; dashboards go full screen, and the console copies to the clipboard.
PERMISSIONS_POLICY = ", ".join(
    [
        *(
            f"{feature}=()"
            for feature in (
                "accelerometer",
                "camera",
                "display-capture",
                "geolocation",
                "gyroscope",
                "hid",
                "magnetometer",
                "microphone",
                "midi",
                "payment",
                "serial",
                "usb",
            )
        ),
        "clipboard-write=(self)",
        "fullscreen=(self)",
    ]
)

HEADERS = {
    "Permissions-Policy": PERMISSIONS_POLICY,
    # No page of another site may embed anything of this one.
    "Cross-Origin-Resource-Policy": "same-origin",
}


class HeadersMiddleware(Middleware):
    """Add HEADERS to every response that does not have them."""

    def __call__(self, request: HttpRequest) -> Answer:
        """Return the response with the headers."""
        answer = self.get_response(request)
        return _later(answer) if isinstance(answer, Awaitable) else _with_headers(answer)


async def _later(answer: Awaitable[HttpResponseBase]) -> HttpResponseBase:
    return _with_headers(await answer)


def _with_headers(response: HttpResponseBase) -> HttpResponseBase:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response
