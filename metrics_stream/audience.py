"""Whom the hub serves, its clients and views, and what it is given for it: a clock, an outlet for each socket, bounds.

Beside the hub, and like it without Django, Channels and an event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from metrics_stream.core.codes import CloseCode, ErrorCode
from metrics_stream.core.delivery import Delivery, Pending, Share
from metrics_stream.core.selection import Projection, Selection
from metrics_stream.core.shared_text import SharedText


class Timer(Protocol):
    """What a clock returns for a call it will make."""

    def cancel(self) -> None:
        """Do not make the call."""


class Clock(Protocol):
    """The time and the alarm clock of the hub; an asyncio event loop is one."""

    def time(self) -> float:
        """Return seconds of a monotonic clock."""

    def call_at(self, when: float, callback: Callable[..., object], *args: Any) -> Timer:
        """Call `callback(*args)` at `when`."""


class Outlet(Protocol):
    """One socket as the hub sees it."""

    def write(self, frames: Sequence[SharedText]) -> bool:
        """Start writing and return True when done; otherwise call `hub.written(client)` later."""

    def close(self, code: CloseCode, error: ErrorCode, reason: str) -> None:
        """Say `reason` in an error frame, close, and call `hub.remove(client)`, at once or later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubLimits:
    """The bounds the hub keeps; see the settings of the same names."""

    max_pending_metrics: int
    max_pending_bytes: int
    slow_client_bytes: int
    slow_client_seconds: float


class Client:
    """What the hub knows of one socket; made by `Hub.add`, whose methods take it as the handle."""

    def __init__(self, client_id: str, outlet: Outlet, share: Share, connected_at: float) -> None:
        self.id = client_id
        self.outlet = outlet
        self.share = share
        self.connected_at = connected_at
        self.selection = Selection()
        self.delivery = Delivery()
        self.view: View | None = None
        self.since = 0  # the first item of its view that is this client's
        self.last_frame_at = float("-inf")
        self.busy_since: float | None = None
        self.timer: Timer | None = None
        self.messages_sent = 0
        self.metrics_sent = 0
        self.bytes_sent = 0
        self.metrics_dropped = 0

    @property
    def floor_at(self) -> float:
        """The instant before which no data frame may go to this client."""
        return self.last_frame_at + self.delivery.interval_seconds


@dataclass(slots=True, eq=False)
class View:
    """All clients with the same selection and delivery; filtered once, encoded once."""

    selection: Selection
    delivery: Delivery
    pending: Pending
    project: Projection
    clients: set[Client] = field(default_factory=set)
    timer: Timer | None = None
    timer_at: float = 0.0
