"""The clients of a hub, the views they share, and what a hub is given: a clock, a sink for each client, limits.

A client is in one of five states. Only methods of `Client` change it:

             ┌────── mark_behind ──────▶ BEHIND ── begin_recovery ──┐
             │                                                      ▼
    ───▶   LIVE ───────────────── begin_recovery ─────────────▶ RECOVERING
           ▲ ▲ │                                                    │
           │ │ └── begin_replay ──▶ REPLAYING ◀─┐                   │
           │ └────── end_replay ───────┘ └──────┘ begin_replay      │
           └───────────────────── end_recovery ─────────────────────┘

    LIVE         It gets the frames of its view.
    BEHIND       It gets them, too, while a long past of types that it does not have yet is sent. No frame may state
                 a position: it would say that this past has arrived.
    RECOVERING   It has entered the view of its new types. Live metrics wait in its share until the past has been sent.
    REPLAYING    It has left the live views for a view of its own, which its replay feeds. A jump begins another one.
    GONE         The hub has forgotten it. `mark_gone` leads here from every state, and nothing leads out.

Independent of the state, a client is *busy* while a write to its sink is not done (`busy_since`). What is new then
waits in its share, as it does in the state RECOVERING.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from metrics_stream.core.delivery.frames import Frames
from metrics_stream.core.delivery.pending import Delivery, Item, Loss, Pending, Share, Window
from metrics_stream.core.delivery.selection import Projection, Selection
from metrics_stream.core.protocol.codes import CloseCode, ErrorCode, GapReason
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
    """The WebSocket of one client as the hub sees it."""

    def write(self, frames: Sequence[PreparedMessage]) -> bool:
        """Start writing and return True when done; otherwise call `hub.written(client)` later."""

    def backlog(self) -> int | None:
        """Return how many written bytes the client has not read yet, None where this is not known."""

    def close(self, code: CloseCode, error: ErrorCode, reason: str) -> None:
        """Send `reason` in an error frame, close, and call `hub.remove(client)`, at once or later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubLimits:
    """The limits that the hub keeps; see the settings of the same names."""

    max_pending_metrics: int
    max_pending_bytes: int
    slow_client_bytes: int
    slow_client_seconds: float


class ClientState(enum.Enum):
    """What a client gets; the module's docstring shows what leads from one state to another."""

    LIVE = "live"
    BEHIND = "behind"
    RECOVERING = "recovering"
    REPLAYING = "replaying"
    GONE = "gone"


# Names of the module are looked up faster than members of an enum, and each flush compares the states of its clients.
_LIVE, _REPLAYING = ClientState.LIVE, ClientState.REPLAYING


@dataclass(slots=True)
class Counters:
    """What was sent to one client, and how many metrics gaps told it to be missing."""

    messages_sent: int = 0
    metrics_sent: int = 0
    bytes_sent: int = 0
    metrics_dropped: int = 0


class Client:
    """One client of the hub; made by `Hub.add`, whose methods take it as the handle.

    Other modules read its attributes; its methods and `View.divide` write them.
    """

    __slots__ = (
        "_idle_callbacks",
        "_missed_status",
        "_timer",
        "address",
        "backlog",
        "busy_since",
        "connected_at",
        "counters",
        "delivery",
        "id",
        "last_frame_at",
        "mark",
        "progress_at",
        "reached_position",
        "replay",
        "selection",
        "share",
        "share_position",
        "sink",
        "state",
        "view",
        "who",
    )

    def __init__(
        self, client_id: str, sink: Sink, share: Share, *, connected_at: float, who: str = "", address: str = ""
    ) -> None:
        self.id = client_id
        self.sink = sink
        self.connected_at = connected_at
        self.who = who  # for people
        self.address = address
        self.counters = Counters()
        self.state = ClientState.LIVE
        self.replay: object = None  # identifies the view of its replay; None unless it is replaying

        # What it gets.
        self.selection = Selection()
        self.delivery = Delivery()
        self.view: View | None = None  # None while it has no metric types
        self.mark = 0  # the first item of its view that is this client's
        self.share = share
        self.share_position: str | None = None  # what is reached once the share has been sent
        self.reached_position: str | None = None  # the last one that it was told
        self._timer: Timer | None = None  # for the share

        # How it takes it.
        self.last_frame_at = float("-inf")
        self.busy_since: float | None = None
        self.progress_at = 0.0  # when it was last seen to take something of what it is busy with
        self.backlog: int | None = None  # what it had not taken then, in bytes
        self._missed_status: PreparedMessage | None = None
        self._idle_callbacks: list[Callable[[], object]] = []

    def rename(self, who: str) -> None:
        """Show another name for the client to people."""
        self.who = who

    # --- states ---

    def mark_behind(self) -> None:
        """Let no frame state a position: older metrics of types to come are being sent."""
        self._enter_state(ClientState.BEHIND)

    def begin_recovery(self) -> None:
        """Let live metrics wait in the share: older metrics must arrive first."""
        self._enter_state(ClientState.RECOVERING)

    def end_recovery(self, loss: Loss) -> None:
        """Let live metrics leave; `loss` tells which older metrics are missing."""
        self._enter_state(ClientState.LIVE)
        self.share.loss.merge(loss)

    def begin_replay(self) -> None:
        """Get a new replay instead of live metrics or of another replay; for a client that is in no view."""
        self._enter_state(ClientState.REPLAYING)
        self.replay, self.share_position = object(), None

    def end_replay(self) -> None:
        """Get live metrics instead of a replay; for a client that is in no view."""
        self._enter_state(ClientState.LIVE)
        self.replay = self.share_position = None

    def mark_gone(self) -> None:
        """Note that the hub has forgotten the client."""
        self.state = ClientState.GONE

    def _enter_state(self, state: ClientState) -> None:
        # Tasks that are cancelled because the client is gone still end what they began.
        if self.state is not ClientState.GONE:
            self.state = state

    # --- what it subscribes to ---

    def choose(self, selection: Selection, delivery: Delivery) -> None:
        """Set the selection and delivery of a client that is in no view."""
        self.selection, self.delivery = selection, delivery

    def enter_view(self, view: View) -> None:
        """Get what `view` gets from now on."""
        view.clients.add(self)
        self.view, self.mark = view, view.pending.mark()

    def leave_view(self) -> tuple[list[Item], Loss]:
        """Leave the view, if there is one; return what the client has not got yet, the oldest first."""
        undelivered = self.take_undelivered()
        self.cancel_timer()
        if self.view is not None:
            self.view.clients.discard(self)
            self.view = None
        return undelivered

    # --- writing ---

    def write(self, frames: Frames, now: float, is_data: bool) -> bool:
        """Hand frames to the sink; return whether it took all of them at once, otherwise the client is busy.

        Frames that are not data ignore the interval and do not restart it.
        """
        if is_data:
            self.last_frame_at = now
        counters, texts = self.counters, frames.texts
        counters.messages_sent += len(texts)
        counters.metrics_sent += frames.metrics
        counters.bytes_sent += frames.size
        self.busy_since = self.progress_at = now
        if self.sink.write(texts):
            self.busy_since = self.backlog = None
            return True
        self.backlog = self.sink.backlog()
        return False

    def end_write(self) -> None:
        """Note that the sink has taken all that was written."""
        self.busy_since = None

    def check_progress(self, now: float) -> float:
        """Return for how many seconds the client took nothing of what it is busy with."""
        backlog = self.sink.backlog()
        if backlog is not None and self.backlog is not None and backlog < self.backlog:
            self.progress_at = now
        self.backlog = backlog
        return now - self.progress_at

    def count_message(self) -> None:
        """Count a message that the hub did not write."""
        self.counters.messages_sent += 1

    def count_dropped(self, metrics: int) -> None:
        """Count metrics of which a gap tells the client that they are missing."""
        self.counters.metrics_dropped += metrics

    def note_position(self, position: str | None) -> None:
        """Keep a position that the client is told; None says nothing."""
        self.reached_position = position or self.reached_position

    def keep_status(self, text: PreparedMessage) -> None:
        """Keep a status until the client is not busy; it replaces an earlier one."""
        self._missed_status = text

    def take_missed_status(self) -> PreparedMessage | None:
        """Return the status that came while the client was busy, once."""
        text, self._missed_status = self._missed_status, None
        return text

    def call_when_idle(self, callback: Callable[[], object]) -> None:
        """Call `callback` once, when the write that is on its way is done."""
        self._idle_callbacks.append(callback)

    def wake_waiting(self) -> None:
        """Make the calls of `call_when_idle`."""
        callbacks, self._idle_callbacks = self._idle_callbacks, []
        for callback in callbacks:
            callback()

    # --- the share ---

    @property
    def floor_at(self) -> float:
        """The instant before which no data frame may go to this client."""
        return self.last_frame_at + self.delivery.interval_seconds

    @property
    def takes_frames(self) -> bool:
        """Whether a frame of its own may be written to it once its interval has passed."""
        return self.busy_since is None and self.state not in (ClientState.RECOVERING, ClientState.GONE)

    @property
    def has_timer(self) -> bool:
        """Whether a timer of the share runs."""
        return self._timer is not None

    def set_timer(self, timer: Timer) -> None:
        """Keep the timer of the share."""
        self._timer = timer

    def cancel_timer(self) -> None:
        """Stop the timer of the share."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def forget_timer(self) -> None:
        """Note that the timer of the share has fired."""
        self._timer = None

    def add_loss(self, reason: GapReason, dropped: int | None, metric_types: Iterable[str]) -> None:
        """Announce, before the next metrics, that `dropped` of them are missing; None where unknown."""
        self.share.loss.add(reason, dropped, metric_types)

    def add_to_share(self, items: list[Item], loss: Loss, position: str | None) -> None:
        """Keep items for this client alone, newer than all in the share; `position` is reached with them."""
        self.share.add(items, loss, self.delivery.mode)
        self.share_position = position

    def take_share(self) -> tuple[list[Item], Loss, str | None]:
        """Return the share and the position that its frame may state, and begin an empty share."""
        self.cancel_timer()
        return *self.share.take(), None if self.state is ClientState.BEHIND else self.share_position

    def take_undelivered(self) -> tuple[list[Item], Loss]:
        """Return what the client has not got yet, the oldest first, and begin an empty share."""
        items, loss = self.share.take()
        if self.view is not None:
            pending_items, pending_loss = self.view.pending.peek().since(self.mark)
            items = [*items, *pending_items]
            loss.merge(pending_loss)
        return items, loss

    def drop_undelivered(self, metric_types: frozenset[str]) -> None:
        """Drop what the client has not got yet of these types."""
        items, loss = self.take_undelivered()
        if self.view is not None:
            self.mark = self.view.pending.mark()
        kept = [item for item in items if item.metric.metric_type not in metric_types]
        self.share.add(kept, loss, self.delivery.mode)

    def note_failure(self, now: float) -> None:
        """Announce a gap of all types of the client in its next frame."""
        # Not at once: what fails again must not fail without end.
        self.last_frame_at = now
        self.add_loss(GapReason.INTERNAL, None, self.selection.metric_types)


# A client whose part of a window is its own, and the mark at which it begins.
Part = tuple[Client, int]


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
    """The compression context after the last frame that its clients have got."""
    replay: object = None
    """Identifies the replay that feeds it, None for a live view."""

    def divide(self, window: Window, now: float, position: str | None) -> tuple[list[Client], list[Part]]:
        """Return the clients that get the frame of a window, which reaches `position`, and the parts of the others."""
        in_step: list[Client] = []
        others: list[Part] = []
        interval, start, end = self.delivery.interval_seconds, window.start, window.end
        for client in self.clients:
            mark, client.mark = client.mark, end
            # The others are busy or recovering, were served too short a time ago, came in the middle, must not be told
            # the position, or have a share.
            if (
                client.busy_since is None
                and client.last_frame_at + interval <= now
                and mark <= start
                and ((state := client.state) is _LIVE or state is _REPLAYING)
                and client.share.is_empty
            ):
                if position is not None:
                    client.reached_position = position
                in_step.append(client)
            else:
                others.append((client, mark))
        return in_step, others

    def cancel_timer(self) -> None:
        """Let no frame leave."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
