"""What the errors of Redis mean, in words for operators, and which of them say that another Redis is the right one."""

from __future__ import annotations

import re
from typing import NamedTuple

from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterCrossSlotError,
    ClusterError,
    MasterDownError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError


class _Meaning(NamedTuple):
    """The errors with one meaning: classes of redis-py, or words of Redis for which there is no class."""

    kinds: tuple[type[Exception], ...]
    pattern: str
    text: str


_WRONG_NODE = (
    _Meaning((ReadOnlyError,), r"\bREADONLY\b", "this Redis is a replica and takes no writes"),
    _Meaning((BusyLoadingError,), r"\bLOADING\b", "this Redis is loading its data"),
    _Meaning((MasterDownError,), r"\bMASTERDOWN\b", "this Redis is a replica that has lost its master"),
)
_FORBIDDEN = _Meaning(
    (NoPermissionError,),
    "unknown command|ACL failure in script|command is not allowed|can't run this command|No permissions",
    "Redis forbids it",
)
_CLUSTER = _Meaning(
    (ClusterError, ClusterCrossSlotError, MovedError, AskError),
    "SELECT is not allowed in cluster mode",
    "this Redis is a cluster, and the history needs a single one",
)
_MEANINGS = (
    *_WRONG_NODE,
    _FORBIDDEN,
    _CLUSTER,
    _Meaning(
        (OutOfMemoryError,),
        r"\bOOM\b",
        "Redis has no memory left; give it more, or lower HISTORY_SECONDS, HISTORY_METRICS or HISTORY_BYTES",
    ),
    _Meaning((), r"\bMISCONF\b", "Redis cannot save its data to disk, so it takes no writes"),
    _Meaning((), r"\bNOREPLICAS\b", "Redis has fewer replicas than its `min-replicas-to-write`"),
    _Meaning((), "max number of clients", "Redis has as many clients as its `maxclients` allows"),
    _Meaning((AuthenticationError,), "NOAUTH|WRONGPASS", "Redis does not accept the user or password of REDIS_URL"),
)


_SCRIPT_LINE = re.compile(r"\.? script: (\w+, )?on @\S+$")


def _fits(error: Exception, meaning: _Meaning) -> bool:
    return isinstance(error, meaning.kinds) or re.search(meaning.pattern, str(error)) is not None


def explain(error: Exception) -> str:
    """Return what an error of Redis means, with the words of Redis in brackets."""
    # redis-py appends the message of every sentinel to its own, after a colon.
    # Scripts append the line in which they failed.
    words = _SCRIPT_LINE.sub("", str(error).partition(" : ")[0])
    meaning = next((meaning.text for meaning in _MEANINGS if _fits(error, meaning)), None)
    return f"{meaning} ({words})" if meaning and words else meaning or words or type(error).__name__


def is_of_wrong_node(error: Exception) -> bool:
    """Return whether the name of this Redis may belong to another one by now.

    A connection does not notice that, since the Redis that was replaced still answers.
    """
    return any(_fits(error, meaning) for meaning in _WRONG_NODE)


def is_unreachable(error: BaseException | None) -> bool:
    """Return whether Redis did not answer: the connection failed, or it took too long."""
    if isinstance(error, AuthenticationError | BusyLoadingError):
        return False
    return isinstance(error, RedisConnectionError | TimeoutError | OSError)


def is_refusal(error: BaseException | None) -> bool:
    """Return whether Redis answered that it does not take what is written."""
    return isinstance(error, ResponseError | BusyLoadingError)


def is_forbidden(error: Exception) -> bool:
    """Return whether Redis forbids a command, a key or a channel, to this user or to everybody."""
    return _fits(error, _FORBIDDEN)


def is_of_cluster(error: Exception) -> bool:
    """Return whether only a Redis in cluster mode answers so."""
    return _fits(error, _CLUSTER)
