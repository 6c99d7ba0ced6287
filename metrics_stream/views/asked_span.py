"""The span of a run that an address asks for: `?from=…&to=…`, each an instant as `core/instants.py` reads it."""

from __future__ import annotations

from dataclasses import dataclass

from django.http import HttpRequest

from metrics_stream.core.errors import SpanError
from metrics_stream.core.formatting import quote
from metrics_stream.core.instants import read_instant


@dataclass(frozen=True, slots=True)
class AskedSpan:
    """The span in the address, in seconds since 1970; None at an end means that of the run."""

    since: float | None = None
    until: float | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the address names no span."""
        return self.since is None and self.until is None


def read_span(request: HttpRequest) -> AskedSpan:
    """Return the span that an address names; raise SpanError."""
    since, until = _read_instant(request, "from"), _read_instant(request, "to")
    if since is not None and until is not None and since >= until:
        raise SpanError("`from` is not before `to`")
    return AskedSpan(since, until)


def _read_instant(request: HttpRequest, key: str) -> float | None:
    given = request.GET.get(key, "").strip()
    if not given:
        return None
    if "T" in given:
        given = given.replace(" ", "+")  # the sign of a time zone, not escaped in the address
    try:
        return read_instant(given)
    except ValueError as error:
        raise SpanError(
            f"`{key}` is {quote(given)}; allowed: ISO 8601 such as 2026-01-31T12:00:00Z, or seconds or milliseconds "
            "since 1970"
        ) from error
