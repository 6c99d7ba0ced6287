"""The hub: turns metrics into frames, once per view, and never waits for a client.

One per process. It knows neither Django nor Channels nor an event loop: clock and outlets are passed in, and all its
methods return at once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence

import msgspec

from metrics_stream.core.canary import BusState
from metrics_stream.core.delivery.frames import Frames, build_frames
from metrics_stream.core.delivery.pending import Delivery, Item, Loss, Share, Window, newest
from metrics_stream.core.delivery.selection import DecodedMetric, Projection, Selection, compile_projection
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.protocol.codes import CloseCode, ErrorCode, GapReason
from metrics_stream.core.protocol.messages import Status
from metrics_stream.core.protocol.parsing import encode
from metrics_stream.core.protocol.positions import Position, position_text
from metrics_stream.core.protocol.prepared_message import PreparedMessage
from metrics_stream.hub.clients import Client, Clock, HubLimits, Sink, View, Views
from metrics_stream.hub.sending import FrameSender
from metrics_stream.telemetry import Telemetry

logger = logging.getLogger(__name__)

# Changing a selection filters what was pending once more. The bound keeps a client that changes its mind ten times a
# second from costing the others time; what is beyond it is announced as a gap.
MAX_CARRIED_METRICS = 1_000

# What a projection raises for a metric that is none. Only a producer that does not use the helper can publish such a
# one; it must not stop the others.
MALFORMED = (msgspec.DecodeError, KeyError)

# From so many clients of a view on, compressing its frames well costs each of them less than it spares.
MANY_CLIENTS = 8


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
        """`on_interest` hears the set of metric types that local clients want, whenever it changes.

        `wall_time` returns seconds since 1970, as in the timestamps of metrics, for their ages.
        """
        self.clients: dict[str, Client] = {}
        self.telemetry = telemetry
        self.epoch = ""
        """The epoch of the history in which what is published stands; empty without a history."""
        self.offsets: dict[str, int] = {}
        """How far the metric types that are heard have come in it; kept by who publishes."""
        self._clock = clock
        self._limits = limits
        self._on_interest = on_interest
        self._wall_time = wall_time
        self._views = Views(max_metrics=limits.max_pending_metrics, max_bytes=limits.max_pending_bytes)
        self._frame_sender = FrameSender(
            clock=clock, limits=limits, telemetry=telemetry, on_idle=self._on_idle, remove=self.remove
        )

    @property
    def interest(self) -> frozenset[str]:
        """The metric types that some local client wants."""
        return frozenset(self._views.by_type)

    @property
    def view_count(self) -> int:
        """The number of different views."""
        return len(self._views)

    def position_of(self, metric_types: Iterable[str]) -> str | None:
        """Return the position in the history that is reached with what was published last.

        None when it is not known of all these types: who came back with it would miss what it does not name.
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
        waits = client.is_recovering or client.is_behind or client.busy_since is not None or not client.share.is_empty
        if waits or view is None or view.replay is not None or len(view.pending):
            return None
        return self.position_of(view.selection.metric_types)

    # --- clients come, change and go ---

    def add(self, client_id: str, sink: Sink, *, connected_at: float) -> Client:
        """Take a client in, with nothing subscribed."""
        client = Client(client_id, sink, Share(self._limits.slow_client_bytes), connected_at)
        self.clients[client_id] = client
        self.telemetry.connected_clients += 1
        self.telemetry.total_connected += 1
        return client

    def change(self, client: Client, selection: Selection, delivery: Delivery) -> None:
        """Move a client to another view; what was pending for it moves along as far as the new selection wants it."""
        if client.id not in self.clients or (client.selection, client.delivery) == (selection, delivery):
            return
        carried, loss = self._leave(client)
        same_selection = client.selection == selection
        client.selection, client.delivery = selection, delivery
        if selection.metric_types:
            view = self._views.take(selection, delivery, client.last_frame_at, client.replay)
            view.clients.add(client)
            client.view = view
            client.since = view.pending.mark()
            if not same_selection:
                carried = self._filter_again(carried, view, loss)
            client.share.add(carried, loss, delivery.mode)
            client.position = self._place_in(view)
            self._schedule_share(client)
        self._on_interest(self.interest)

    def enter_replay(self, client: Client, replay: object) -> None:
        """Give the client what `feed` is given instead of what is live, or what is live again with None.

        What is pending of the one is nothing to the other.
        """
        if client.id not in self.clients or client.replay is replay:
            return
        self._leave(client)
        client.replay = replay
        client.position = None
        if client.selection.metric_types:
            view = self._views.take(client.selection, client.delivery, client.last_frame_at, replay)
            view.clients.add(client)
            client.view = view
            client.since = view.pending.mark()
        self._on_interest(self.interest)

    def hold(self, client: Client) -> None:
        """Let what is live wait in the client's share until `release`, since older metrics have to arrive first."""
        client.is_recovering = True

    def release(self, client: Client) -> None:
        """Let what is live leave."""
        client.is_recovering = False
        self._schedule_share(client)

    def restart(self, client: Client, metric_types: Iterable[str]) -> Position:
        """Drop what waits for the client of these types; return where they stand, so that it can be fetched instead."""
        dropped = frozenset(metric_types)
        items, loss = client.share.take()
        view = client.view
        if view is not None:
            pending_items, pending_loss = view.pending.peek().since(client.since)
            items = [*items, *pending_items]
            loss.merge(pending_loss)
            client.since = view.pending.mark()
        client.share.add([item for item in items if item.metric.metric_type not in dropped], loss, client.delivery.mode)
        self._schedule_share(client)
        return Position(self.epoch, {item: self.offsets[item] for item in dropped if item in self.offsets})

    def remove(self, client: Client) -> None:
        """Forget a client; harmless when it is forgotten already."""
        if self.clients.pop(client.id, None) is None:
            return
        self._leave(client)
        self._frame_sender.forget(client)
        self.telemetry.connected_clients -= 1
        self._on_interest(self.interest)

    def _leave(self, client: Client) -> tuple[list[Item], Loss]:
        """Take the client out of its view and return what it has not got yet."""
        items, loss = client.share.take()
        if client.timer is not None:
            client.timer.cancel()
            client.timer = None
        view = client.view
        if view is None:
            return items, loss
        pending_items, pending_loss = view.pending.peek().since(client.since)
        items = [*items, *pending_items]
        loss.merge(pending_loss)
        view.clients.discard(client)
        client.view = None
        if not view.clients:
            if view.timer is not None:
                view.timer.cancel()
            self._views.drop(view)
        return items, loss

    def _filter_again(self, items: list[Item], view: View, loss: Loss) -> list[Item]:
        wanted = [item for item in items if item.metric.metric_type in view.selection.metric_types]
        beyond = len(wanted) - MAX_CARRIED_METRICS
        if beyond > 0:
            loss.add_items(GapReason.PENDING_OVERFLOW, wanted[:beyond])
            wanted = wanted[beyond:]
        return [
            Item(item.sequence, item.metric, body)
            for item in wanted
            if (body := _body_of(item.metric, view.project)) is not None
        ]

    # --- metrics in ---

    def publish(self, metrics: Iterable[Metric]) -> None:
        """Hand metrics to every view that wants them; their frames leave when they are due."""
        now = self._clock.time()
        touched: set[View] = set()
        try:
            for metric in metrics:
                self.telemetry.metrics_received += 1
                by_projection = self._views.by_type.get(metric.metric_type)
                if by_projection is None:
                    continue
                decoded = DecodedMetric(metric)
                for project, views in by_projection.items():
                    try:  # as _body_of does, which would be one more call for each of many views
                        body = project(decoded)
                    except MALFORMED:
                        _tell_of_malformed(metric)
                        continue
                    if body is None:
                        continue
                    for view in views:
                        if view.pending.add(metric, body, now):
                            touched.add(view)
        finally:
            # After an exception too: what is due already is not scheduled by later metrics.
            for view in touched:
                self._schedule_view(view)

    def feed(self, client: Client, metrics: Sequence[Metric]) -> int:
        """Hand metrics to the client of a lane alone, as `publish` does to all, as many as can wait for its next frame.

        Return how many that were: the others have time, so nothing is dropped for them.
        """
        view = client.view
        if view is None or view.replay is None:
            return len(metrics)
        now, changed, taken = self._clock.time(), False, 0
        for metric in metrics:
            body = _body_of(metric, view.project) if metric.metric_type in view.selection.metric_types else None
            if body is not None:
                if not view.pending.has_room(body, max_bytes=self._limits.slow_client_bytes):
                    break
                changed = view.pending.add(metric, body, now) or changed
            taken += 1
        if changed:
            self._schedule_view(view)
        return taken

    def write_past(self, client: Client, metrics: Iterable[Metric], loss: Loss, position: str | None = None) -> None:
        """Send metrics from the past that the client's filters let through, and before them what is missing of them.

        For a client that is not busy; what is in `client.on_idle` is called when it is done.
        """
        project = compile_projection(client.selection.filters, client.selection.permit)
        items = [
            Item(index, metric, body)
            for index, metric in enumerate(metrics)
            if (body := _body_of(metric, project)) is not None
        ]
        if client.delivery.mode == "latest":
            items = newest(items)
        frames = build_frames(items, loss, position=position, replayed=True)
        client.reached = position or client.reached
        self._frame_sender.write(client, frames, self._clock.time(), is_data=False)

    def write_text(self, client: Client, text: PreparedMessage) -> None:
        """Send a text that is no live data, to a client that is not busy."""
        self._frame_sender.write(
            client, Frames((text,), 0, 0, Loss(), len(text.data)), self._clock.time(), is_data=False
        )

    def announce_gap(self, reason: GapReason, *, metric_types: frozenset[str], dropped: int | None = None) -> None:
        """Tell every client that wants one of `metric_types` that `dropped` metrics are missing, None where unknown.

        Of how many a filter would have let through nobody knows.
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
        client.share.loss.add(reason, dropped, metric_types)
        self._schedule_share(client)

    def broadcast_status(self, bus: BusState) -> None:
        """Tell every client how the channel layer is; one that is still busy with what came before hears it then."""
        text = PreparedMessage(encode(Status(bus=bus)).encode())
        for client in list(self.clients.values()):
            if client.busy_since is None:
                self.write_text(client, text)
            else:
                client.missed_status = text

    # --- frames out ---

    def _schedule_view(self, view: View) -> None:
        due = view.pending.due_at
        if due is None or (view.timer is not None and view.timer_at == due):
            return
        if view.timer is not None:
            view.timer.cancel()
        view.timer_at = due
        view.timer = self._clock.call_at(due, self._flush, view)

    def _flush(self, view: View) -> None:
        started_at = time.perf_counter()
        # uvloop rings up to a millisecond early; by the clock no client's interval would have passed yet.
        now = max(self._clock.time(), view.timer_at)
        view.timer = None
        try:
            self._flush_window(view, view.pending.take(now), now)
        except Exception:
            self._go_on_after_failure(list(view.clients))
        self.telemetry.flush_seconds.observe(time.perf_counter() - started_at)

    def _flush_window(self, view: View, window: Window, now: float) -> None:
        position, replayed = self._place_in(view), view.replay is not None
        is_for_many = len(view.clients) >= MANY_CLIENTS
        frames = build_frames(
            window.items, window.loss, view.context, is_for_many=is_for_many, position=position, replayed=replayed
        )
        self.telemetry.frames_encoded += frames.data_texts
        if window.items:
            view.context = frames.texts[-1].after
        served, interval = 0, view.delivery.interval_seconds
        for client in list(view.clients):
            since, client.since = client.since, window.end
            ready = client.busy_since is None and client.last_frame_at + interval <= now and not client.is_recovering
            if ready and since <= window.start and client.share.is_empty and not client.is_behind:
                client.reached = position or client.reached
                self._frame_sender.write(client, frames, now)
                served += 1
                continue
            # The client is busy, came in the middle, or was served too short a time ago, or its frame must not say the
            # position that the others' says: its part is its own.
            client.share.add(*window.since(since), view.delivery.mode)
            client.position = position
            if ready:
                self._flush_share(client, now)
            else:
                self._schedule_share(client)
        if not replayed:
            self._observe_age(window.items, served)

    def _place_in(self, view: View) -> str | None:
        return self.position_of(view.selection.metric_types) if view.replay is None else None

    def _observe_age(self, items: list[Item], clients: int) -> None:
        if items and clients:
            self.telemetry.age_seconds.observe(max(0.0, self._wall_time() - items[0].metric.timestamp), clients)

    def _go_on_after_failure(self, clients: Iterable[Client]) -> None:
        """Log an exception, and tell those whom it may have cost something; the next frames leave as ever."""
        logger.exception("a frame could not be made; its clients are told of a gap")
        self.telemetry.hub_failures += 1
        for client in clients:
            # Not at once: what fails again must not fail without end.
            client.last_frame_at = self._clock.time()
            client.share.loss.add(GapReason.INTERNAL, None, client.selection.metric_types)
            self._schedule_share(client)

    def _schedule_share(self, client: Client) -> None:
        """See to it that the client's own share leaves when it is idle and its interval has passed."""
        if (
            not client.share.is_empty
            and client.busy_since is None
            and client.timer is None
            and not client.is_recovering
        ):
            when = max(self._clock.time(), client.floor_at)
            client.timer = self._clock.call_at(when, self._share_is_due, client, when)

    def _share_is_due(self, client: Client, now: float) -> None:
        client.timer = None
        if client.busy_since is not None or client.is_recovering:  # `written` or `release` schedules it again
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
        if client.timer is not None:
            client.timer.cancel()
            client.timer = None
        items, loss = client.share.take()
        replayed = client.replay is not None
        position = None if client.is_behind else client.position
        frames = build_frames(items, loss, position=position, replayed=replayed)
        client.reached = position or client.reached
        self.telemetry.frames_encoded += frames.data_texts
        self._frame_sender.write(client, frames, now)
        if not replayed:
            self._observe_age(items, 1)

    # --- the end of clients ---

    def written(self, client: Client) -> None:
        """Hear from an outlet that its last write is done."""
        self._frame_sender.written(client)

    def _on_idle(self, client: Client) -> None:
        """Go on with a client whose last write is done."""
        if client.id not in self.clients:
            return
        if client.missed_status is not None:
            text, client.missed_status = client.missed_status, None
            self.write_text(client, text)
        if client.busy_since is None:
            waiting, client.on_idle = client.on_idle, []
            for wake in waiting:
                wake()
        self._schedule_share(client)

    def close(self, client_id: str, code: CloseCode, error: ErrorCode, reason: str) -> None:
        """Close a client, say why, and forget it; harmless when it is not connected here."""
        client = self.clients.get(client_id)
        if client is not None:
            self._frame_sender.close(client, code, error, reason)

    def close_all(self, code: CloseCode, error: ErrorCode, reason: str) -> None:
        """Close every client, say why, and forget them."""
        for client in list(self.clients.values()):
            self._frame_sender.close(client, code, error, reason)

    def stop(self) -> None:
        """Cancel every timer."""
        for view in self._views:
            if view.timer is not None:
                view.timer.cancel()
                view.timer = None
        for client in self.clients.values():
            if client.timer is not None:
                client.timer.cancel()
                client.timer = None
        self._frame_sender.stop()


def _body_of(metric: Metric, project: Projection) -> bytes | None:
    try:
        return project(DecodedMetric(metric))
    except MALFORMED:
        _tell_of_malformed(metric)
        return None


def _tell_of_malformed(metric: Metric) -> None:
    logger.warning("a malformed %s metric of %r is left out", metric.metric_type, metric.source)
