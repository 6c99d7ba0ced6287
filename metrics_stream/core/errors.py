"""Every error that this package raises on purpose. Each class says who raises it and who handles it.

MetricsStreamError
├── MetricError               a producer's value cannot become a metric
│   └── MetricTooBigError     it has too many bytes as JSON
├── SketchError               a producer's sketch is malformed
├── SpanError                 an address names no span of a run
├── ProtocolError             a client's message cannot be accepted
├── BodyError                 the body of an HTTP request cannot be read
├── ItemError                 one item of a body cannot be published
├── RequestRefusedError       an HTTP request of a program is refused
│   └── InvalidTokenError     it has no valid token
├── ClientRefusedError        a WebSocket client may not stay connected
│   ├── LimitExceededError    a client takes or sends too much
│   └── AccessRefusedError    a credential gives no access
│       ├── NotAuthenticatedError  no credential was shown
│       └── TooManyGuessesError  its address has shown too many that do not exist
├── BusError                  the channel layer or the history failed
│   ├── NotSharedError        the in-memory layer reaches no other process
│   └── WrongNodeError        another Redis may be the right one by now
├── BroadcastError            metrics could not be delivered
│   ├── RetryLaterError       the server accepts nothing now
│   └── RejectedError         the server will never accept anything
├── RunError                  a test run cannot be started or changed
│   ├── NotRecordedError      no history, so no recording
│   ├── RunUnavailableError   the storage of runs cannot be reached
│   │   └── RunStorageError   the database cannot store runs
│   └── RunOverError          the run has ended or was deleted
├── LeaseLostError            another process records now
├── NoAnswerError             a server gave no answer
├── NativeThreadError         a native thread cannot run an event loop
└── CollectorError            a collector cannot do what it was asked
"""

from __future__ import annotations

import math

from msgspec import UNSET

from metrics_stream.core.protocol.codes import CloseCode, ErrorCode, ItemErrorCode, RequestErrorCode
from metrics_stream.core.protocol.messages import Ref


class MetricsStreamError(Exception):
    """Base of every error here; management commands show its message instead of a traceback."""


# --- metrics ---


class MetricError(MetricsStreamError):
    """The encoder raises it to the producer, with the path to the value; HTTP ingest answers `invalid_data`."""

    def __init__(self, message: str, *, path: str = "") -> None:
        super().__init__(message)
        self.path = path


class MetricTooBigError(MetricError):
    """The encoder raises it to the producer; HTTP ingest answers `metric_too_big`."""


class SpanError(MetricsStreamError):
    """An address names a span of a run that cannot be read; the page says so, the file answers 400."""


class SketchError(MetricsStreamError):
    """`decode_sketch` raises it; summaries and columns then leave the sketch out."""


# --- clients and programs ---


class ProtocolError(MetricsStreamError):
    """Parsing, selections and replays raise it; the consumer answers with an `error` message."""

    def __init__(self, code: ErrorCode, message: str, ref: Ref = UNSET) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.ref = ref


class BodyError(MetricsStreamError):
    """The readers in `core/formats` and the API views raise it; the view answers the request with `error`."""

    def __init__(self, error: RequestErrorCode, message: str) -> None:
        super().__init__(message)
        self.error = error


class ItemError(MetricsStreamError):
    """`read_item` and the limits of a token raise it; the view names `code` and `path` in its answer."""

    def __init__(self, code: ItemErrorCode, path: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.path = path


class RequestRefusedError(MetricsStreamError):
    """The API raises it for a whole request; the view answers with `error`, and `retry_seconds` if a retry can help."""

    def __init__(self, error: RequestErrorCode, message: str, *, retry_seconds: float | None = None) -> None:
        super().__init__(message)
        self.error = error
        self.retry_seconds = None if retry_seconds is None else max(1, math.ceil(retry_seconds))


class InvalidTokenError(RequestRefusedError):
    """The look-up of tokens raises it; the view answers 401."""

    def __init__(self, message: str) -> None:
        super().__init__(RequestErrorCode.NOT_AUTHENTICATED, message)


class ClientRefusedError(MetricsStreamError):
    """Limits and access rules raise it; the consumer sends `error` with the message and closes with `code`."""

    def __init__(self, code: CloseCode, error: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.error = error


class LimitExceededError(ClientRefusedError):
    """The limits of a client raise it; the consumer closes the client."""


class AccessRefusedError(ClientRefusedError):
    """The access rules raise it; the consumer closes the socket, and a page asks to sign in or answers 401."""


class NotAuthenticatedError(AccessRefusedError):
    """The access rules raise it if no credential was shown; the consumer asks for a token, a page to sign in."""

    def __init__(self, message: str = "sign in, or send `authenticate` with a token") -> None:
        super().__init__(CloseCode.NOT_AUTHENTICATED, ErrorCode.NOT_AUTHENTICATED, message)


class TooManyGuessesError(AccessRefusedError):
    """The limit on guesses raises it; a page answers 429, the API `too_many_requests`, a socket is closed."""

    def __init__(self, message: str, retry_seconds: float) -> None:
        super().__init__(CloseCode.TOO_MANY_MESSAGES, ErrorCode.TOO_MANY_GUESSES, message)
        self.retry_seconds = max(1, math.ceil(retry_seconds))


# --- channel layer and history ---


class BusError(MetricsStreamError):
    """The bus and the history raise it; callers try again later, or report it to the producer."""


class NotSharedError(BusError):
    """The bus raises it in a process without a server if the layer is in memory; the producer gets the message."""


class WrongNodeError(BusError):
    """Calls to Redis raise it for a replica and the like; history, bus and runtime then open new connections."""


# --- publishing ---


class BroadcastError(MetricsStreamError):
    """Transports raise it; the Broadcaster tries again, or raises it to the producer with advice what to do."""


class RetryLaterError(BroadcastError):
    """The HTTP sender raises it; the Broadcaster waits at least `after_seconds` before it tries again."""

    def __init__(self, message: str, after_seconds: float) -> None:
        super().__init__(message)
        self.after_seconds = after_seconds


class RejectedError(BroadcastError):
    """The HTTP sender raises it; the Broadcaster logs why and publishes nothing any more."""


# --- test runs ---


class RunError(MetricsStreamError):
    """The run stores raise it to the program that asked; API, admin and commands show what is allowed."""


class NotRecordedError(RunError):
    """Starting a run raises it where there is no history to record from; the API answers `runs_off`."""


class RunUnavailableError(RunError):
    """The run stores raise it; a run block makes the same call again after `after_seconds`."""

    def __init__(self, message: str, *, after_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.after_seconds = after_seconds


class RunStorageError(RunUnavailableError):
    """The lifecycle of runs raises it when the database fails; the API answers `unavailable`, the recorder waits."""


class RunOverError(RunError):
    """The run stores raise it for a run that has ended or was deleted; a run block stops its keep-alive."""


class LeaseLostError(MetricsStreamError):
    """The writer raises it because another process records now; the recorder logs it and waits."""


# --- programs ---


class NoAnswerError(MetricsStreamError):
    """The HTTP client raises it; transport and run store turn it into their own errors."""


class NativeThreadError(MetricsStreamError):
    """`native_threads` raises it; the Broadcaster raises its own error with the same message, which says what to do."""


class CollectorError(MetricsStreamError):
    """Collectors raise it for settings out of their limits; the commands show it."""
