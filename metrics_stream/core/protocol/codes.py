"""The codes of the protocols: errors, reasons of closing, reasons of gaps, and errors of HTTP requests."""

from __future__ import annotations

from enum import IntEnum, StrEnum


class ErrorCode(StrEnum):
    """What went wrong, for programs; `message` is for people."""

    NOT_JSON = "not_json"  # the text is not a JSON document
    BINARY = "binary"  # a binary frame; the protocol is text
    INVALID_MESSAGE = "invalid_message"  # JSON, but not a message: wrong shape, wrong type, unknown or missing key
    UNKNOWN_MESSAGE_TYPE = "unknown_message_type"  # `type` names a message that does not exist
    UNKNOWN_METRIC_TYPE = "unknown_metric_type"  # a metric type that does not exist for this client
    UNKNOWN_PRESET = "unknown_preset"  # `?preset=` names a preset that does not exist
    UNKNOWN_RUN = "unknown_run"  # `replay` names a test run that does not exist for this client
    NOT_REPLAYING = "not_replaying"  # `seek`, `pause` or `resume` without a replay
    TOO_MANY_TERMS = "too_many_terms"  # a filter names more ids, sources or fields than allowed
    MESSAGE_TOO_BIG = "message_too_big"  # followed by close 4509
    TOO_MANY_MESSAGES = "too_many_messages"  # followed by close 4029
    TOO_MANY_GUESSES = "too_many_guesses"  # followed by close 4029; the address has shown too many invalid tokens
    TOO_MANY_ERRORS = "too_many_errors"  # followed by close 4501
    SLOW_CONSUMER = "slow_consumer"  # followed by close 4008
    OVER_CAPACITY = "over_capacity"  # followed by close 4013
    TOO_MANY_CONNECTIONS = "too_many_connections"  # followed by close 4013; of one user, token or address
    NOT_AUTHENTICATED = "not_authenticated"  # followed by close 4502 when no token comes in time
    FORBIDDEN = "forbidden"  # followed by close 4503; the credential gives no access
    EXPIRED = "expired"  # followed by close 4005; the credential has expired
    GOING_AWAY = "going_away"  # followed by close 4001
    INTERNAL = "internal"  # an error in the server; the log has the traceback


class CloseCode(IntEnum):
    """Why the server closes a socket. After 4000-4499 clients reconnect with jitter, after 4500-4999 they do not."""

    GOING_AWAY = 4001  # the server stops or restarts
    AUTHENTICATION_EXPIRED = 4005  # the token, session or link has expired, or its access has changed
    SLOW_CONSUMER = 4008  # the client accepted no part of a frame for too long
    OVER_CAPACITY = 4013  # the process, user or address has reached its limit of clients
    TOO_MANY_MESSAGES = 4029  # the client sent more messages, or its address more invalid tokens, than allowed
    BAD_PROTOCOL = 4501  # too many errors within a minute
    NOT_AUTHENTICATED = 4502  # no token came within the time allowed
    FORBIDDEN = 4503  # the credential gives no access, or no longer
    MESSAGE_TOO_BIG = 4509  # a message over the size limit


NO_PONG = 1011
"""The standard close code for a client that answers no ping."""


class GapReason(StrEnum):
    """Why a client did not get metrics that it should have got."""

    PENDING_OVERFLOW = "pending_overflow"  # more metrics arrived between two frames than a view keeps
    SLOW_CONSUMER = "slow_consumer"  # the client was busy for so long that only the newest metrics were kept
    BUS = "bus"  # the channel layer failed; how many metrics were published meanwhile is unknown
    HISTORY = "history"  # the history no longer keeps the metrics
    INTERNAL = "internal"  # an error in the server, which continues; the log has the traceback


class RequestErrorCode(StrEnum):
    """Why a request was refused as a whole."""

    NOT_A_DOCUMENT = "not_a_document"  # 400: neither JSON nor NDJSON of items, or not what Content-Encoding says
    INVALID_KEY = "invalid_key"  # 400: a malformed Idempotency-Key
    NOT_AUTHENTICATED = "not_authenticated"  # 401: no token, or one that is unknown, revoked or expired
    FORBIDDEN = "forbidden"  # 403: the token is not for this
    METHOD_NOT_ALLOWED = "method_not_allowed"  # 405: only POST is allowed
    TOO_SLOW = "too_slow"  # 408: the body took too long to arrive
    TOO_LARGE = "too_large"  # 413: more bytes or metrics than allowed in one request
    UNSUPPORTED = "unsupported"  # 415: a Content-Type or Content-Encoding that is not supported
    TOO_MANY_REQUESTS = "too_many_requests"  # 429: for the token, or for the address if there is no valid token
    TOO_MANY_METRICS = "too_many_metrics"  # 429: for the token
    UNAVAILABLE = "unavailable"  # 503: the channel layer or the database is unavailable
    # For test runs only:
    INVALID_RUN = "invalid_run"  # 422: a missing or unknown key, or a value that is not allowed
    UNKNOWN_RUN = "unknown_run"  # 404: the token has not started such a run
    RUN_ENDED = "run_ended"  # 409: the run has ended
    TOO_MANY_RUNS = "too_many_runs"  # 409: the token has reached its limit of running test runs
    RUNS_OFF = "runs_off"  # 501: this server records no runs
    # For reading, and for dashboards, only:
    INVALID_PARAMETER = "invalid_parameter"  # 400: an unknown parameter of the address, or a value that is not allowed
    CSRF = "csrf"  # 403: a browser's session without the token of the form
    NOT_FOUND = "not_found"  # 404: there is no such address or object for this reader
    CONFLICT = "conflict"  # 409: there is a dashboard with this slug, or a run that goes on
    INVALID_DASHBOARD = "invalid_dashboard"  # 422: a document that the admin would not accept
    NO_STREAM = "no_stream"  # 501: this server process has no events to send


class ItemErrorCode(StrEnum):
    """Why one metric of a request was rejected."""

    NOT_JSON = "not_json"  # a line of NDJSON that is not JSON
    INVALID_ITEM = "invalid_item"  # not an object, or a missing or unknown key
    UNKNOWN_METRIC_TYPE = "unknown_metric_type"  # a metric type that does not exist for this token
    UNKNOWN_SOURCE = "unknown_source"  # the token may not publish from this source
    INVALID_SOURCE = "invalid_source"  # not a text of 1 to 200 printable characters
    INVALID_TIMESTAMP = "invalid_timestamp"  # no ISO 8601 and no seconds since 1970, before 2000, or over 24 h ahead
    INVALID_DATA = "invalid_data"  # not allowed in a metric of this type
    NESTED_TOO_DEEPLY = "nested_too_deeply"  # objects and lists are nested deeper than allowed
    METRIC_TOO_BIG = "metric_too_big"  # over MAX_METRIC_BYTES
    TOO_MANY_FIELDS = "too_many_fields"  # more numbers in the data, or in that of an agent, than allowed
    TOO_MANY_SOURCES = "too_many_sources"  # a new source, but the token has reached its limit
    TOO_MANY_AGENTS = "too_many_agents"  # a new agent, but the token has reached its limit


# RFC 6455: a close reason has at most 123 bytes.
MAX_CLOSE_REASON_BYTES = 123


def close_reason(text: str) -> str:
    """Return the reason, cut to what fits a close frame."""
    return text.encode(errors="replace")[:MAX_CLOSE_REASON_BYTES].decode(errors="ignore")
