"""The codes of the wire protocol: what went wrong, why a socket is closed, why something is missing. Room: core."""

from __future__ import annotations

from enum import IntEnum, StrEnum


class ErrorCode(StrEnum):
    """What went wrong, for programs; `message` says it for people."""

    NOT_JSON = "not_json"  # the text is not a JSON document
    BINARY = "binary"  # a binary frame; the protocol is text
    INVALID_MESSAGE = "invalid_message"  # JSON, but not a message: wrong shape, wrong type, unknown or missing key
    UNKNOWN_MESSAGE_TYPE = "unknown_message_type"  # `type` names no message
    UNKNOWN_METRIC_TYPE = "unknown_metric_type"  # a metric type that does not exist for this client
    UNKNOWN_PRESET = "unknown_preset"  # `?preset=` names no preset
    UNKNOWN_RUN = "unknown_run"  # `replay` names a test run that does not exist for this client
    NOT_REPLAYING = "not_replaying"  # `seek`, `pause` or `resume` without a replay
    TOO_MANY_TERMS = "too_many_terms"  # a filter names more ids, sources or fields than allowed
    MESSAGE_TOO_BIG = "message_too_big"  # followed by close 4509
    TOO_MANY_MESSAGES = "too_many_messages"  # followed by close 4029
    TOO_MANY_ERRORS = "too_many_errors"  # followed by close 4501
    SLOW_CONSUMER = "slow_consumer"  # followed by close 4008
    OVER_CAPACITY = "over_capacity"  # followed by close 4013
    TOO_MANY_CONNECTIONS = "too_many_connections"  # followed by close 4013; of one user, token or address
    NOT_AUTHENTICATED = "not_authenticated"  # followed by close 4502 when no token comes in time
    FORBIDDEN = "forbidden"  # followed by close 4503; what was shown opens nothing
    EXPIRED = "expired"  # followed by close 4005; its time is over
    GOING_AWAY = "going_away"  # followed by close 4001
    INTERNAL = "internal"  # a fault of the server; the log has the traceback


class CloseCode(IntEnum):
    """Why the server closes a socket: 4000-4499 come back after a jittered wait, 4500-4999 stay away."""

    GOING_AWAY = 4001  # the server stops or restarts
    AUTHENTICATION_EXPIRED = 4005  # the token, the session or the link has expired, or what it opens has changed
    SLOW_CONSUMER = 4008  # the client took nothing of a frame for too long
    OVER_CAPACITY = 4013  # the process, the user or the address has as many clients as it may
    TOO_MANY_MESSAGES = 4029  # the client sent more messages than allowed
    BAD_PROTOCOL = 4501  # too many errors within a minute
    NOT_AUTHENTICATED = 4502  # nobody signed in within the time there was for it
    FORBIDDEN = 4503  # what was shown opens nothing, or does not any more
    MESSAGE_TOO_BIG = 4509  # a message over the size limit


NO_PONG = 1011
"""The standard close code for a client that answers no ping."""


class GapReason(StrEnum):
    """Why a client did not get something it should have had."""

    PENDING_OVERFLOW = "pending_overflow"  # more arrived between two frames than one view keeps
    SLOW_CONSUMER = "slow_consumer"  # the client was busy for so long that only the newest was kept
    BUS = "bus"  # the channel layer failed; what was published meanwhile is unknown
    HISTORY = "history"  # what was published before is not kept any more
    INTERNAL = "internal"  # a fault of the server, which has gone on; the log has the traceback


# RFC 6455: a close reason has at most 123 bytes.
MAX_CLOSE_REASON_BYTES = 123


def close_reason(text: str) -> str:
    """Return as much of a reason as fits a close frame."""
    return text.encode(errors="replace")[:MAX_CLOSE_REASON_BYTES].decode(errors="ignore")
