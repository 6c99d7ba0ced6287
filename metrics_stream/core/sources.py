"""The sources that the service itself chooses."""

from __future__ import annotations

from metrics_stream.core.metrics.metric import MAX_TERM_LENGTH

_HOST = "-host"


def host_source(source: str) -> str:
    """Return the source of a machine's own metrics, where programs that name no source publish as `source`."""
    return source[: MAX_TERM_LENGTH - len(_HOST)] + _HOST
