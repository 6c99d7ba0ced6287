"""The recent past of published metrics, numbered and in order: in memory, or in Redis for several processes.

The channel layer decides which of the two is used, so that metrics and their history always go the same way.
"""

from __future__ import annotations

from typing import NamedTuple
from weakref import WeakKeyDictionary

from channels.layers import BaseChannelLayer, InMemoryChannelLayer, get_channel_layer
from django.conf import settings as django_settings

from metrics_stream.conf import StreamSettings
from metrics_stream.history.interface import ActiveRun, Bounds, History, Page, Placed
from metrics_stream.history.memory import MemoryHistory

__all__ = ["ActiveRun", "Bounds", "History", "Page", "Placed", "open_history"]


class _Kind(NamedTuple):
    """The settings in which two histories on the same channel layer may differ."""

    bounds: Bounds
    prefix: str
    timeout_seconds: float


# Shared by all threads and event loops of a process, for as long as its channel layer lives.
_histories: WeakKeyDictionary[object, dict[_Kind, History]] = WeakKeyDictionary()


def open_history(settings: StreamSettings) -> History | None:
    """Return the history of this installation; None if it is turned off or the channel layer is not supported.

    It does not connect yet. Several calls return the same object.
    """
    layer = get_channel_layer()
    if layer is None or not settings.history_seconds:
        return None
    kind = _Kind(Bounds.of(settings), settings.group_prefix, settings.bus_timeout_seconds)
    histories = _histories.setdefault(layer, {})
    history = histories.get(kind)
    if history is None:
        if (opened := _open(layer, kind)) is None:
            return None
        history = histories.setdefault(kind, opened)
    return history


def _open(layer: BaseChannelLayer, kind: _Kind) -> History | None:
    if isinstance(layer, InMemoryChannelLayer):
        return MemoryHistory(kind.bounds)
    if not any(base.__module__.startswith("channels_redis.") for base in type(layer).__mro__):
        return None
    from channels_redis.utils import decode_hosts

    from metrics_stream.history.redis import RedisHistory

    # With several hosts the channel layer spreads its groups over them; the history needs one order over all metrics.
    host = decode_hosts(django_settings.CHANNEL_LAYERS["default"].get("CONFIG", {}).get("hosts"))[0]
    return RedisHistory(host, bounds=kind.bounds, prefix=kind.prefix, timeout_seconds=kind.timeout_seconds)
