"""Whom the hub serves, its clients and views, and what it is given for it: a clock, an outlet for each socket, bounds.

Beside the hub, and like it without Django, Channels and an event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from weakref import WeakValueDictionary

from metrics_stream.core.delivery.pending import Delivery, Pending, Share
from metrics_stream.core.delivery.selection import Projection, Selection, compile_projection
from metrics_stream.core.metrics.permission import Permit
from metrics_stream.core.protocol.codes import CloseCode, ErrorCode
from metrics_stream.core.protocol.messages import Filters
from metrics_stream.core.protocol.prepared_message import CompressionContext, PreparedMessage


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


class Sink(Protocol):
    """One socket as the hub sees it."""

    def write(self, frames: Sequence[PreparedMessage]) -> bool:
        """Start writing and return True when done; otherwise call `hub.written(client)` later."""

    def backlog(self) -> int | None:
        """Return how many bytes were written that the client has not taken yet, None where nobody knows."""

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

    def __init__(self, client_id: str, sink: Sink, share: Share, connected_at: float) -> None:
        self.id = client_id
        self.sink = sink
        self.share = share
        self.connected_at = connected_at
        self.who = ""  # for people
        self.address = ""
        self.selection = Selection()
        self.delivery = Delivery()
        self.view: View | None = None
        self.since = 0  # the first item of its view that is this client's
        self.last_frame_at = float("-inf")
        self.busy_since: float | None = None
        self.progress_at = 0.0  # when the client was last seen to take something of what it is busy with
        self.backlog: int | None = None  # what it had not taken then, in bytes
        self.missed_status: PreparedMessage | None = None
        self.is_gone = False  # the hub has forgotten it
        self.is_recovering = False  # what came before is on its way, and has to arrive first
        self.is_behind = False  # older metrics of a type to come are on their way: no frame may say what is reached
        self.position: str | None = None  # what is reached with the share
        self.reached: str | None = None  # the last position that it was told
        self.replay: object = None  # what it gets instead of what is live: a view of its own, fed by whoever this is
        self.on_idle: list[Callable[[], object]] = []  # each called once, when the write that is on its way is done
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
    context: CompressionContext | None = None
    """Where the row of the frames stands that its clients have got."""
    replay: object = None
    """What feeds it instead of what is published, None for a live view."""


class Views:
    """All views of a hub: made when the first client wants one, found by what they hold and by metric type."""

    def __init__(self, *, max_metrics: int, max_bytes: int) -> None:
        """Take the bounds of what a view keeps between two frames."""
        # Views with equal filters and permits take the same part of a metric, whatever else they differ in.
        self.by_type: dict[str, dict[Projection, list[View]]] = {}
        self._views: dict[tuple[Selection, Delivery, object], View] = {}
        self._max_metrics = max_metrics
        self._max_bytes = max_bytes
        self._projections: WeakValueDictionary[tuple[Filters, Permit], Projection] = WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._views)

    def __iter__(self) -> Iterator[View]:
        return iter(self._views.values())

    def take(self, selection: Selection, delivery: Delivery, last_frame_at: float, replay: object = None) -> View:
        """Return the view of this selection and delivery; a new one counts its interval from `last_frame_at`."""
        view = self._views.get((selection, delivery, replay))
        if view is None:
            pending = Pending(
                delivery,
                max_metrics=self._max_metrics,
                max_bytes=self._max_bytes,
                last_frame_at=last_frame_at,
                keeps_sketches="sketches" in selection.filters.fields,
            )
            narrowing = selection.filters, selection.permit
            project = self._projections.get(narrowing)
            if project is None:
                project = self._projections[narrowing] = compile_projection(*narrowing)
            view = self._views[selection, delivery, replay] = View(selection, delivery, pending, project, replay=replay)
            if replay is not None:
                return view
            for metric_type in selection.metric_types:
                self.by_type.setdefault(metric_type, {}).setdefault(project, []).append(view)
        return view

    def drop(self, view: View) -> None:
        """Forget a view that has no clients any more."""
        del self._views[view.selection, view.delivery, view.replay]
        if view.replay is not None:
            return
        for metric_type in view.selection.metric_types:
            by_projection = self.by_type[metric_type]
            views = by_projection[view.project]
            views.remove(view)
            if not views:
                del by_projection[view.project]
            if not by_projection:
                del self.by_type[metric_type]
