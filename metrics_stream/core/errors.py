"""Every error that this package raises on purpose; each class says who raises it and who handles it.

MetricsStreamError
├── MetricError               a producer's value is no metric
│   └── MetricTooBigError
├── SketchError               a sketch of a producer is malformed
├── ProtocolError             a client's message cannot be accepted
├── BodyError                 the body of an HTTP request cannot be read
├── ItemError                 one item of a body cannot be published
├── RequestRefusedError       an HTTP request of a program is refused
│   └── InvalidTokenError
├── ClientRefusedError        a client is closed, with a code and a reason
│   ├── AccessRefusedError    a credential gives no access
│   │   └── NotAuthenticatedError
│   └── LimitExceededError    a client takes or sends too much
├── BusError                  the channel layer or the history failed
│   └── NotSharedError
├── BroadcastError            metrics could not be handed over
│   ├── RetryLaterError
│   └── RejectedError
├── RunError                  a test run cannot be started or changed
│   ├── NotRecordedError
│   ├── RunUnavailableError
│   │   └── RunStorageError
│   └── RunOverError
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
    """Base of every error that this package raises on purpose."""


# --- metrics ---


class MetricError(MetricsStreamError):
    """A producer's value cannot become a metric; the helper raises it to its caller and names the path to the value."""

    def __init__(self, message: str, *, path: str = "") -> None:
        super().__init__(message)
        self.path = path


class MetricTooBigError(MetricError):
    """A metric has more bytes as JSON than allowed; raised by the encoder."""


class SketchError(MetricsStreamError):
    """A producer's sketch is malformed; `decode_sketch` raises it to the code that merges sketches."""


# --- clients and programs ---


class ProtocolError(MetricsStreamError):
    """A client's message cannot be accepted; raised by `parse` and by selections, answered by the consumer."""

    def __init__(self, code: ErrorCode, message: str, ref: Ref = UNSET) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.ref = ref


class BodyError(MetricsStreamError):
    """The body of a request is no document or is too large; the view answers with `error`."""

    def __init__(self, error: RequestErrorCode, message: str) -> None:
        super().__init__(message)
        self.error = error


class ItemError(MetricsStreamError):
    """An item is no metric, or none that this token may publish; the answer names `path` and `code`."""

    def __init__(self, code: ItemErrorCode, path: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.path = path


class RequestRefusedError(MetricsStreamError):
    """Nothing of a request is accepted; the view answers with `error`, and `retry_seconds` where a retry can help."""

    def __init__(self, error: RequestErrorCode, message: str, *, retry_seconds: float | None = None) -> None:
        super().__init__(message)
        self.error = error
        self.retry_seconds = None if retry_seconds is None else max(1, math.ceil(retry_seconds))


class InvalidTokenError(RequestRefusedError):
    """A request has no valid token; raised by the look-up of tokens, answered by the view."""

    def __init__(self, message: str) -> None:
        super().__init__(RequestErrorCode.NOT_AUTHENTICATED, message)


class ClientRefusedError(MetricsStreamError):
    """A client may not stay connected; the consumer sends `error` and the message, and closes with `code`."""

    def __init__(self, code: CloseCode, error: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.error = error


class LimitExceededError(ClientRefusedError):
    """A client takes or sends more than allowed; raised by its Limits, and the consumer closes it."""


class AccessRefusedError(ClientRefusedError):
    """A credential gives no access; the consumer closes the socket, a page asks to sign in or answers 401."""


class NotAuthenticatedError(AccessRefusedError):
    """No credential was shown yet; the consumer asks for a token, a page asks to sign in."""

    def __init__(self, message: str = "sign in, or send `authenticate` with a token") -> None:
        super().__init__(CloseCode.NOT_AUTHENTICATED, ErrorCode.NOT_AUTHENTICATED, message)


# --- channel layer and history ---


class BusError(MetricsStreamError):
    """The channel layer or the history did not do what it was asked; callers retry or report it to the producer."""


class NotSharedError(BusError):
    """The in-memory layer was used in a process without a server, so that no client could receive anything."""


# --- publishing ---


class BroadcastError(MetricsStreamError):
    """The metrics could not be handed to the channel layer or the server; the message says why and what to do."""


class RetryLaterError(BroadcastError):
    """The server accepts nothing now; the sender waits at least `after_seconds`."""

    def __init__(self, message: str, after_seconds: float) -> None:
        super().__init__(message)
        self.after_seconds = after_seconds


class RejectedError(BroadcastError):
    """The server will never accept anything of this sender; the sender stops."""


# --- test runs ---


class RunError(MetricsStreamError):
    """A test run cannot be started or changed as asked; the message says why and what is allowed."""


class NotRecordedError(RunError):
    """There is no history, so that a test run could not be recorded; raised when one is started."""


class RunUnavailableError(RunError):
    """The storage of test runs cannot be reached now; the same call may work after `after_seconds`."""

    def __init__(self, message: str, *, after_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.after_seconds = after_seconds


class RunStorageError(RunUnavailableError):
    """The database does not store test runs now, or never will; the message says what to do."""


class RunOverError(RunError):
    """The test run has ended or no longer exists: nothing can be changed."""


class LeaseLostError(MetricsStreamError):
    """Another process records now; the Writer raises it to its recorder, which stops."""


# --- programs ---


class NoAnswerError(MetricsStreamError):
    """A server could not be reached or gave no answer; the message says which one and why."""


class NativeThreadError(MetricsStreamError):
    """A native thread could not run an event loop in this program; the message says what to do."""


class CollectorError(MetricsStreamError):
    """A collector was asked for something that it cannot do; its constructor raises it, the commands show it."""
