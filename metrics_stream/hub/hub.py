"""The hub: turns metrics into frames, once per view, and never waits for a client.

There is one per process. Clock and sinks are passed in, and all its methods return at once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence

from metrics_stream.core.canary import BusState
from metrics_stream.core.delivery.frames import Frames, build_frames
from metrics_stream.core.delivery.pending import Delivery, Item, Loss, Share, Window
from metrics_stream.core.delivery.selection import Selection
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.protocol.codes import CloseCode, ErrorCode, GapReason
from metrics_stream.core.protocol.messages import Status
from metrics_stream.core.protocol.parsing import encode
from metrics_stream.core.protocol.positions import Position, position_text
from metrics_stream.core.protocol.prepared_message import PreparedMessage
from metrics_stream.hub.clients import Client, ClientState, Clock, HubLimits, Sink, Timer, View
from metrics_stream.hub.past import PastPage
from metrics_stream.hub.sending import FrameSender
from metrics_stream.hub.turns import OwnerTurns
from metrics_stream.hub.views import Views, filter_again, project_metric
from metrics_stream.telemetry import Telemetry

logger = logging.getLogger(__name__)

# From this many clients of a view on, compressing its frames well costs less per client than it saves.
MANY_CLIENTS = 8

# How often busy clients are looked at; a slow client is closed at most this much late.
WATCH_SECONDS = 1.0


class Hub:
    """Views, flush clock, fan-out and the policy for slow clients."""

    def __init__(
        self,
        *,
        clock: Clock,
        limits: HubLimits,
        telemetry: Telemetry,
        on_interest: Callable[[frozenset[str]], None] = lambda _: None,
        wall_time: Callable[[], float] = time.time,
    ) -> None:
        """`on_interest` is called with the metric types that local clients want whenever these may have changed.

        `wall_time` returns seconds since 1970, as in the timestamps of metrics, for their ages.
        """
        self.clients: dict[str, Client] = {}
        self.telemetry = telemetry
        self.epoch = ""
        """The epoch of the history to which published metrics belong; empty without a history."""
        self.offsets: dict[str, int] = {}
        """The offset in it up to which each metric type has been published; kept by the caller of `publish`."""
        self._clock = clock
        self._limits = limits
        self._on_interest = on_interest
        self._wall_time = wall_time
        self._views = Views(max_metrics=limits.max_pending_metrics, max_bytes=limits.max_pending_bytes)
        self.turns = OwnerTurns()
        self._frame_sender = FrameSender(slow_client_seconds=limits.slow_client_seconds, telemetry=telemetry)
        self._watch: Timer | None = None  # runs while some client is busy

    @property
    def interest(self) -> frozenset[str]:
        """The metric types that some local client wants."""
        return frozenset(self._views.by_type)

    @property
    def view_count(self) -> int:
        """The number of different views."""
        return len(self._views)

    def position_of(self, metric_types: Iterable[str]) -> str | None:
        """Return the position in the history after the metrics that were published last.

        None if the offset of one type is unknown: resuming from such a position would skip that type.
        """
        if not self.epoch:
            return None
        try:
            return position_text(self.epoch, {item: self.offsets[item] for item in metric_types})
        except KeyError:
            return None

    def position_reached_by(self, client: Client) -> str | None:
        """Return the position in the history up to which a client has got all, None while something waits for it."""
        view = client.view
        waits = client.state is not ClientState.LIVE or client.busy_since is not None or not client.share.is_empty
        if waits or view is None or len(view.pending):
            return None
        return self.position_of(view.selection.metric_types)

    # --- clients come, change and go ---

    def add(self, client_id: str, sink: Sink, *, connected_at: float, who: str = "", address: str = "") -> Client:
        """Register a client that has subscribed to nothing; `who` and `address` are shown to people."""
        share = Share(self._limits.slow_client_bytes)
        client = Client(client_id, sink, share, connected_at=connected_at, who=who, address=address)
        self.clients[client_id] = client
        self.telemetry.count_connect()
        return client

    def change(self, client: Client, selection: Selection, delivery: Delivery) -> None:
        """Move a client to another view; what was pending for it moves along as far as the new selection wants it."""
        is_same_selection = client.selection == selection
        if client.state is ClientState.GONE or (is_same_selection and client.delivery == delivery):
            return
        carried, loss = self._views.leave(client)
        client.choose(selection, delivery)
        view = self._views.enter(client)
        if view is not None:
            if not is_same_selection:
                carried = filter_again(carried, view, loss)
            client.add_to_share(carried, loss, self._position_of_view(view))
            self._schedule_share(client)
        self._on_interest(self.interest)

    def enter_replay(self, client: Client) -> None:
        """Move a client to a new view that only `feed` feeds; drop what is pending for it."""
        if client.state is not ClientState.GONE:
            self._views.leave(client)
            client.begin_replay()
            self._views.enter(client)
            self._on_interest(self.interest)

    def leave_replay(self, client: Client) -> None:
        """Move a client back to live metrics; drop what is pending of the replay."""
        if client.state is ClientState.REPLAYING:
            self._views.leave(client)
            client.end_replay()
            self._views.enter(client)
            self._on_interest(self.interest)

    def end_recovery(self, client: Client, loss: Loss) -> None:
        """Let live metrics leave after `Client.begin_recovery`; tell the client first of a loss."""
        client.end_recovery(loss)
        self._schedule_share(client)

    def drop_undelivered(self, client: Client, metric_types: Iterable[str]) -> Position:
        """Drop what waits for the client of these types; return where they stand, so that it can be fetched instead."""
        dropped = frozenset(metric_types)
        client.drop_undelivered(dropped)
        self._schedule_share(client)
        return Position(self.epoch, {item: self.offsets[item] for item in dropped if item in self.offsets})

    def remove(self, client: Client) -> None:
        """Forget a client; harmless when it is forgotten already."""
        if self.clients.pop(client.id, None) is None:
            return
        self._views.leave(client)
        client.mark_gone()
        client.wake_waiting()
        self._frame_sender.forget(client)
        self.turns.forget(client)
        self.telemetry.count_disconnect()
        self._on_interest(self.interest)

    # --- metrics in ---

    def publish(self, metrics: Iterable[Metric]) -> None:
        """Hand metrics to every view that wants them; their frames leave when they are due."""
        now = self._clock.time()
        touched: set[View] = set()
        try:
            for metric in metrics:
                self.telemetry.metrics_received += 1
                self._views.add(metric, now, touched)
        finally:
            # After an exception, too: later metrics do not schedule a frame that is due already.
            for view in touched:
                self._schedule_view(view)

    def feed(self, client: Client, metrics: Sequence[Metric]) -> int:
        """Hand metrics to one client that is replaying, as `publish` does to all, until its next frame is full.

        Return how many were taken. The caller feeds the others later, so that nothing is dropped.
        """
        view = client.view
        if view is None or view.replay is None:
            return len(metrics)
        now, changed, taken = self._clock.time(), False, 0
        for metric in metrics:
            body = project_metric(metric, view.project) if metric.metric_type in view.selection.metric_types else None
            if body is not None:
                if not view.pending.has_room(body, max_bytes=self._limits.slow_client_bytes):
                    break
                changed = view.pending.add(metric, body, now) or changed
            taken += 1
        if changed:
            self._schedule_view(view)
        return taken

    def write_past(self, client: Client, page: PastPage, loss: Loss, position: str | None = None) -> None:
        """Send older metrics that the client's filters let through, and before them a gap for each reason of `loss`.

        For a client that is not busy; see `Client.call_when_idle`.
        """
        frames = page.frames_for(client, loss, position)
        client.note_position(position)
        self._write([client], frames, self._clock.time(), is_data=False)

    def write_text(self, client: Client, text: PreparedMessage) -> None:
        """Send a text that is not live data, to a client that is not busy."""
        self._write([client], Frames((text,), 0, 0, Loss(), len(text.data)), self._clock.time(), is_data=False)

    def announce_gap(self, reason: GapReason, *, metric_types: frozenset[str], dropped: int | None = None) -> None:
        """Tell every live client of one of `metric_types` that `dropped` metrics are missing, None where unknown.

        A client with filters is told None: how many of these metrics they would have let through is unknown.
        """
        for client in self.clients.values():
            affected = metric_types.intersection(client.selection.metric_types)
            if affected and client.replay is None:
                known = None if client.selection.is_narrowed else dropped
                self.tell_gap(client, reason, metric_types=affected, dropped=known)

    def tell_gap(
        self, client: Client, reason: GapReason, *, metric_types: Iterable[str], dropped: int | None = None
    ) -> None:
        """Tell one client, before its next metrics, that `dropped` of them are missing."""
        client.add_loss(reason, dropped, metric_types)
        self._schedule_share(client)

    def broadcast_status(self, bus: BusState) -> None:
        """Tell every client the state of the channel layer; a busy client is told when its write is done."""
        text = PreparedMessage(encode(Status(bus=bus)).encode())
        for client in list(self.clients.values()):
            if client.busy_since is None:
                self.write_text(client, text)
            else:
                client.keep_status(text)

    # --- frames out ---

    def _schedule_view(self, view: View) -> None:
        due = view.pending.due_at
        if due is None or (view.timer is not None and (view.timer_at == due or self.turns.has_turn(view))):
            return
        if view.timer is not None:
            view.timer.cancel()
        view.timer_at = due
        view.timer = self._clock.call_at(due, self._flush, view)

    def _flush(self, view: View) -> None:
        started_at = time.perf_counter()
        # uvloop calls up to a millisecond early; by the clock no client's interval would have passed yet.
        now = max(self._clock.time(), view.timer_at)
        if (turn_at := self.turns.reserve(view, now)) > now:
            view.timer_at, view.timer = turn_at, self._clock.call_at(turn_at, self._flush, view)
            return
        view.timer = None
        try:
            self._flush_window(view, view.pending.take(now), now)
        except Exception:
            self._go_on_after_failure(list(view.clients))
        seconds = time.perf_counter() - started_at
        self.turns.note(view, seconds)
        self.telemetry.flush_seconds.observe(seconds)

    def _flush_window(self, view: View, window: Window, now: float) -> None:
        position, replayed = self._position_of_view(view), view.replay is not None
        frames = build_frames(
            window.items,
            window.loss,
            view.context,
            is_for_many=len(view.clients) >= MANY_CLIENTS,
            position=position,
            replayed=replayed,
            singly=view.delivery.is_single,
        )
        self.telemetry.frames_encoded += frames.data_texts
        if window.items:
            view.context = frames.texts[-1].after
        in_step, others = view.divide(window, now, position)
        self._write(in_step, frames, now)
        for client, mark in others:
            client.add_to_share(*window.since(mark), position)
            if client.takes_frames and client.floor_at <= now:
                self._flush_share(client, now)
            else:
                self._schedule_share(client)
        if not replayed:
            self._observe_age(window.items, len(in_step))

    def _position_of_view(self, view: View) -> str | None:
        return self.position_of(view.selection.metric_types) if view.replay is None else None

    def _observe_age(self, items: list[Item], clients: int) -> None:
        if items and clients:
            self.telemetry.age_seconds.observe(max(0.0, self._wall_time() - items[0].metric.timestamp), clients)

    def _go_on_after_failure(self, clients: Iterable[Client]) -> None:
        """Log an exception and tell these clients of a gap; the next frames leave as usual."""
        logger.exception("a frame could not be made; its clients are told of a gap")
        self.telemetry.hub_failures += 1
        for client in clients:
            client.note_failure(self._clock.time())
            self._schedule_share(client)

    def _schedule_share(self, client: Client) -> None:
        """Have the client's own share leave when it is not busy and its interval has passed."""
        if not client.share.is_empty and client.takes_frames and not client.has_timer:
            when = max(self._clock.time(), client.floor_at)
            client.set_timer(self._clock.call_at(when, self._share_is_due, client, when))

    def _share_is_due(self, client: Client, now: float) -> None:
        client.forget_timer()
        if not client.takes_frames:  # `written` or `end_recovery` schedules it again
            return
        if client.view is not None and client.view.pending.due_at is not None:
            # The view's next frame takes the share along. Sent now, the client would stay out of step with its view
            # for good, and every frame would have to be encoded for it alone.
            return
        try:
            self._flush_share(client, now)
        except Exception:
            self._go_on_after_failure([client])

    def _flush_share(self, client: Client, now: float) -> None:
        items, loss, position = client.take_share()
        replayed = client.replay is not None
        frames = build_frames(items, loss, position=position, replayed=replayed, singly=client.delivery.is_single)
        client.note_position(position)
        self.telemetry.frames_encoded += frames.data_texts
        self._write([client], frames, now)
        if not replayed:
            self._observe_age(items, 1)

    def _write(self, clients: Sequence[Client], frames: Frames, now: float, *, is_data: bool = True) -> None:
        """Write frames to clients, close those whose sink fails, and watch those that are busy then."""
        for client in self._frame_sender.write(clients, frames, now, is_data=is_data):
            self._close(client, CloseCode.GOING_AWAY, ErrorCode.INTERNAL, "the server failed to write; come back")
        if self._watch is None and self._frame_sender.busy:
            self._watch = self._clock.call_at(now + WATCH_SECONDS, self._close_slow)

    # --- the end of clients ---

    def written(self, client: Client) -> None:
        """Go on with a client whose sink has finished its last write."""
        self._frame_sender.end_write(client)
        if client.state is ClientState.GONE:
            return
        if (text := client.take_missed_status()) is not None:
            self.write_text(client, text)
        if client.busy_since is None:
            client.wake_waiting()
        self._schedule_share(client)

    def _close_slow(self) -> None:
        """Close clients that took nothing of a frame for too long; called again while some client is busy."""
        now, limit = self._clock.time(), self._limits.slow_client_seconds
        self._watch = self._clock.call_at(now + WATCH_SECONDS, self._close_slow)
        for client, silent in self._frame_sender.find_slow(now):
            self.telemetry.slow_clients_closed += 1
            reason = f"the client took nothing of a frame for {silent:.0f} s; allowed: {limit:g} s"
            self._close(client, CloseCode.SLOW_CONSUMER, ErrorCode.SLOW_CONSUMER, reason)
        if not self._frame_sender.busy:
            self._stop_watching()

    def close(self, client_id: str, code: CloseCode, error: ErrorCode, reason: str) -> None:
        """Close a client, tell it the reason, and forget it; harmless when it is not connected here."""
        client = self.clients.get(client_id)
        if client is not None:
            self._close(client, code, error, reason)

    def close_all(self, code: CloseCode, error: ErrorCode, reason: str) -> None:
        """Close every client, tell them the reason, and forget them."""
        for client in list(self.clients.values()):
            self._close(client, code, error, reason)

    def _close(self, client: Client, code: CloseCode, error: ErrorCode, reason: str) -> None:
        self.telemetry.closes_by_code[code] += 1
        client.sink.close(code, error, reason)
        self.remove(client)

    def stop(self) -> None:
        """Cancel every timer."""
        for view in self._views:
            view.cancel_timer()
        for client in self.clients.values():
            client.cancel_timer()
        self._stop_watching()

    def _stop_watching(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
