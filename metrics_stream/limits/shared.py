"""Buckets in the Redis of the channel layer, which all server processes take from, in one round trip."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from channels.layers import get_channel_layer
from django.conf import settings as django_settings
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError, RedisError, ResponseError
from redis.retry import Retry
from redis.sentinel import Sentinel

from metrics_stream.conf import StreamSettings
from metrics_stream.history.redis_errors import explain

logger = logging.getLogger(__name__)

_SCRIPT = Path(__file__).with_name("buckets.lua").read_text()

# A limit is worth no longer wait: without an answer, the limits of the process hold.
TIMEOUT_SECONDS = 0.5
# After a failure Redis is not asked for so long, so that requests do not all wait for it.
PAUSE_SECONDS = 2.0
# The same where scripts are forbidden, which only an operator changes.
FORBIDDEN_SECONDS = 60.0


class Claim(NamedTuple):
    """An amount to take from a bucket that holds `size` and refills at `per_second`."""

    bucket: str
    amount: float
    per_second: float
    size: float


class _Asking:
    """Whether Redis is asked for limits now, in this process: not for a while after it has not answered."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.forget()

    def forget(self) -> None:
        """Ask again at once."""
        self._failed_at: float | None = None
        self._ask_again_at = 0.0

    @property
    def is_paused(self) -> bool:
        """Whether the limits of this process alone hold now."""
        return time.monotonic() < self._ask_again_at

    def note_failure(self, error: Exception) -> None:
        """Note that Redis did not answer, or refused."""
        is_forbidden = isinstance(error, NoPermissionError | ResponseError)
        now = time.monotonic()
        with self._lock:
            self._ask_again_at = now + (FORBIDDEN_SECONDS if is_forbidden else PAUSE_SECONDS)
            if self._failed_at is not None:
                return
            self._failed_at = now
        logger.warning(
            "limits hold for each server process alone, because Redis does not count them: %s", explain(error)
        )

    def note_success(self) -> None:
        """Note that Redis answered."""
        with self._lock:
            failed_at, self._failed_at = self._failed_at, None
        if failed_at is not None:
            logger.warning("limits hold for all server processes again after %.1f s", time.monotonic() - failed_at)


asking = _Asking()
"""One for all limits of the process, so that a fault is said once."""


class SharedBuckets:
    """Takes from the buckets of the installation. Its calls block, so call them outside the event loop."""

    def __init__(self, settings: StreamSettings) -> None:
        """Connect at the first call. Without a shared channel layer there are no shared buckets."""
        self._prefix = f"{settings.group_prefix}.limits"
        host = find_host()
        self._client: Any = None if host is None else _connect(host)

    @property
    def is_shared(self) -> bool:
        """Whether there may be other processes that take from the same buckets."""
        return self._client is not None

    def take(self, claims: Sequence[Claim], *, unless_known: str | None = None) -> list[float] | None:
        """Take all claims, or none of them; return the seconds to wait for each bucket, 0 where there is enough.

        None means that the limits of this process alone hold now. With `unless_known`, nothing is taken and nobody
        waits if that name was noted.
        """
        keys = [f"{self._prefix}.{claim.bucket}" for claim in claims]
        if unless_known is not None:
            keys.append(self._known(unless_known))
        arguments = [value for claim in claims for value in claim[1:]]
        waits = self._call("eval", _SCRIPT, len(keys), *keys, *arguments)
        return None if waits is None else [float(wait) for wait in waits]

    def note_known(self, name: str, seconds: int) -> None:
        """Note a name for so many seconds."""
        self._call("set", self._known(name), 1, ex=seconds)

    def is_known(self, name: str) -> bool:
        """Return whether a name is noted; False if Redis does not answer."""
        return bool(self._call("exists", self._known(name)))

    def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        if self._client is None:
            return
        pool = self._client.connection_pool
        for client in [self._client, *getattr(getattr(pool, "sentinel_manager", None), "sentinels", ())]:
            client.connection_pool.disconnect()

    def _known(self, name: str) -> str:
        return f"{self._prefix}.known.{name}"

    def _call(self, command: str, *arguments: Any, **options: Any) -> Any:
        if self._client is None or asking.is_paused:
            return None
        try:
            answer = getattr(self._client, command)(*arguments, **options)
        except RedisError as error:
            asking.note_failure(error)
            return None
        asking.note_success()
        return answer


def find_host() -> dict[str, Any] | None:
    """Return the first host of the channel layer; None if it has none, as the in-memory layer."""
    layer = get_channel_layer()
    if layer is None or not any(base.__module__.startswith("channels_redis.") for base in type(layer).__mro__):
        return None
    from channels_redis.utils import decode_hosts

    hosts = decode_hosts(django_settings.CHANNEL_LAYERS["default"].get("CONFIG", {}).get("hosts"))
    host: dict[str, Any] = hosts[0]
    return host


def _connect(host: dict[str, Any]) -> Any:
    """Return a synchronous client of a host of the channel layer, whose own clients are asynchronous."""
    limits: dict[str, Any] = {"socket_timeout": TIMEOUT_SECONDS, "socket_connect_timeout": TIMEOUT_SECONDS}
    # Once again: a connection may have broken since the last call.
    options = {**host, **limits, "retry": Retry(NoBackoff(), 1)}
    if "master_name" in options:
        # The objects among the options of an asynchronous client, such as its `retry`, do not work here.
        of_sentinels = {**(options.pop("sentinel_kwargs", None) or {}), **limits, "retry": Retry(NoBackoff(), 0)}
        sentinel: Any = Sentinel
        found = sentinel(options.pop("sentinels"), sentinel_kwargs=of_sentinels)
        return found.master_for(options.pop("master_name"), **options)
    address = options.pop("address", None)
    return Redis.from_url(address, **options) if address else Redis(**options)
