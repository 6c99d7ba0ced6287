"""What the edge of the server refuses: each refusal is counted, and a few of each kind are logged with the remedy."""

from __future__ import annotations

import logging
import time
from collections import Counter
from enum import StrEnum

from metrics_stream.telemetry import of_process

logger = logging.getLogger(__name__)

# How often refusals of one kind are logged at most: whoever is refused may come back a thousand times a second.
LOG_SECONDS = 10.0


class Refusal(StrEnum):
    """Why a request or a handshake was refused before the application saw it."""

    MALFORMED = "malformed"  # 400: not HTTP, or not a handshake
    TARGET_TOO_LONG = "target_too_long"  # 414: the address with its query
    HEAD_TOO_LARGE = "head_too_large"  # 431: a line, all lines together, or their number
    BODY_TOO_LARGE = "body_too_large"  # 413
    TOO_SLOW = "too_slow"  # 408: a head or body did not come in time, or nothing of a response was taken
    NO_PLACE = "no_place"  # 503, or 408 for those that held a place and sent nothing: over the limit on connections
    NO_UPGRADE = "no_upgrade"  # 426: a request without an upgrade at the address of the WebSocket
    UNKNOWN_SOCKET = "unknown_socket"  # 403: a handshake at another address
    FOREIGN_ORIGIN = "foreign_origin"  # 403: a page of another site opens a WebSocket
    FOREIGN_HOST = "foreign_host"  # 400: a name that is not in ALLOWED_HOSTS


_due_at: dict[Refusal, float] = {}
_unlogged: Counter[Refusal] = Counter()


def count_refusal(reason: Refusal, message: str, *args: object) -> None:
    """Count a refusal, and log it unless its kind was logged in the last LOG_SECONDS.

    `message` and `args` are those of `logger.warning`; they say what was refused and what would allow it.
    """
    of_process.refused_by_reason[reason] += 1
    now = time.monotonic()
    if now < _due_at.get(reason, 0.0):
        _unlogged[reason] += 1
        return
    _due_at[reason] = now + LOG_SECONDS
    if more := _unlogged.pop(reason, 0):
        message, args = f"{message} (and %d like this before, which were not logged)", (*args, more)
    logger.warning(message, *args)
