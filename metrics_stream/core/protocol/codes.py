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


class RequestErrorCode(StrEnum):
    """Why nothing of a request was taken."""

    NOT_A_DOCUMENT = "not_a_document"  # 400: neither JSON nor NDJSON of items, or not what Content-Encoding says
    INVALID_KEY = "invalid_key"  # 400: an Idempotency-Key that is none
    NOT_AUTHENTICATED = "not_authenticated"  # 401: no token, or one that is unknown, revoked or expired
    FORBIDDEN = "forbidden"  # 403: a token that is not for this
    METHOD_NOT_ALLOWED = "method_not_allowed"  # 405: only POST does anything
    TOO_SLOW = "too_slow"  # 408: the body took too long to come
    TOO_LARGE = "too_large"  # 413: more bytes or metrics than one request may have
    UNSUPPORTED = "unsupported"  # 415: a Content-Type or Content-Encoding that is not read
    TOO_MANY_REQUESTS = "too_many_requests"  # 429: of the token, or without a valid one of the address
    TOO_MANY_METRICS = "too_many_metrics"  # 429: of the token
    UNAVAILABLE = "unavailable"  # 503: the channel layer or the database is away
    # Of test runs only:
    INVALID_RUN = "invalid_run"  # 422: a key that is missing or unknown, or a value that none may have
    UNKNOWN_RUN = "unknown_run"  # 404: no run that this token has started
    RUN_ENDED = "run_ended"  # 409: a run that cannot be kept alive or ended any more
    TOO_MANY_RUNS = "too_many_runs"  # 409: as many runs that have not ended as a token may have
    RUNS_OFF = "runs_off"  # 501: this server records no runs


class ItemErrorCode(StrEnum):
    """Why one metric of a request was not taken."""

    NOT_JSON = "not_json"  # a line of NDJSON that is no JSON
    INVALID_ITEM = "invalid_item"  # no object, a key that is missing, or one that is unknown
    UNKNOWN_METRIC_TYPE = "unknown_metric_type"  # a metric type that does not exist for this token
    UNKNOWN_SOURCE = "unknown_source"  # a source that is not among those of the token
    INVALID_SOURCE = "invalid_source"  # no text of 1 to 200 printable characters
    INVALID_TIMESTAMP = "invalid_timestamp"  # neither ISO 8601 nor seconds since 1970
    INVALID_DATA = "invalid_data"  # not what a metric of this type may hold
    NESTED_TOO_DEEPLY = "nested_too_deeply"  # more objects and lists within each other than allowed
    METRIC_TOO_BIG = "metric_too_big"  # over MAX_METRIC_BYTES
    TOO_MANY_SOURCES = "too_many_sources"  # a new source, and the token has as many as it may
    TOO_MANY_AGENTS = "too_many_agents"  # a new agent, and the token has as many as it may


# RFC 6455: a close reason has at most 123 bytes.
MAX_CLOSE_REASON_BYTES = 123


def close_reason(text: str) -> str:
    """Return as much of a reason as fits a close frame."""
    return text.encode(errors="replace")[:MAX_CLOSE_REASON_BYTES].decode(errors="ignore")
