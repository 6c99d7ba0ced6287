"""The hub: turns metrics into frames, once per view, and never waits for a client.

One per process. It knows neither Django nor Channels nor an event loop: clock and outlets are passed in, and all its
methods return at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import NamedTuple
from weakref import WeakValueDictionary

import msgspec

from metrics_stream.audience import Client, Clock, HubLimits, Outlet, Timer, View
from metrics_stream.core.canary import BusState
from metrics_stream.core.codes import CloseCode, ErrorCode, GapReason
from metrics_stream.core.delivery import Delivery, Item, Loss, Pending, Share
from metrics_stream.core.metrics import Metric
from metrics_stream.core.protocol import Filters, Gap, Status, encode, encode_metrics
from metrics_stream.core.selection import Arrival, Projection, Selection, compile_projection
from metrics_stream.core.shared_text import SharedText
from metrics_stream.telemetry import Telemetry

logger = logging.getLogger(__name__)

# Changing a selection filters what was pending once more. The bound keeps a client that changes its mind ten times a
# second from costing the others time; what is beyond it is announced as a gap.
MAX_CARRIED_METRICS = 1_000

# How often clients with a frame on its way are looked at; a slow client is closed at most this much late.
WATCH_SECONDS = 1.0


class Frames(NamedTuple):
    """What leaves together: texts in order, and what they amount to. `size` is in bytes."""

    texts: tuple[SharedText, ...]
    metrics: int
    dropped: int
    size: int


class Hub:
    """Views, flush clock, fan-out and the policy for slow clients."""

    def __init__(
        self,
        *,
        clock: Clock,
        limits: HubLimits,
        telemetry: Telemetry,
        on_interest: Callable[[frozenset[str]], None] = lambda _: None,
    ) -> None:
        """`on_interest` hears the set of metric types that local clients want, whenever it changes."""
        self.clients: dict[str, Client] = {}
        self.telemetry = telemetry
        self._clock = clock
        self._limits = limits
        self._on_interest = on_interest
        self._views: dict[tuple[Selection, Delivery], View] = {}
        self._views_by_type: dict[str, list[View]] = {}
        # Views with equal filters hold the same projection, by which `publish` knows that the result is the same.
        self._projections: WeakValueDictionary[Filters, Projection] = WeakValueDictionary()
        self._busy: set[Client] = set()
        self._watch: Timer | None = None

    @property
    def interest(self) -> frozenset[str]:
        """The metric types that some local client wants."""
        return frozenset(self._views_by_type)

    @property
    def view_count(self) -> int:
        """The number of different views."""
        return len(self._views)

    # --- clients come, change and go ---

    def add(self, client_id: str, outlet: Outlet, *, connected_at: float) -> Client:
        """Take a client in, with nothing subscribed."""
        client = Client(client_id, outlet, Share(self._limits.slow_client_bytes), connected_at)
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
            view = self._view(selection, delivery, client.last_frame_at)
            view.clients.add(client)
            client.view = view
            client.since = view.pending.next_sequence
            if not same_selection:
                carried = self._filter_again(carried, view, loss)
            client.share.add(carried, loss, delivery.mode)
            self._schedule_share(client)
        self._interest_may_have_changed()

    def remove(self, client: Client) -> None:
        """Forget a client; harmless when it is forgotten already."""
        if self.clients.pop(client.id, None) is None:
            return
        self._leave(client)
        self._busy.discard(client)
        self.telemetry.connected_clients -= 1
        self._interest_may_have_changed()

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
            self._drop_view(view)
        return items, loss

    def _filter_again(self, items: list[Item], view: View, loss: Loss) -> list[Item]:
        wanted = [item for item in items if item.metric.metric_type in view.selection.metric_types]
        beyond = len(wanted) - MAX_CARRIED_METRICS
        if beyond > 0:
            loss.add_items(GapReason.PENDING_OVERFLOW, wanted[:beyond])
            wanted = wanted[beyond:]
        return [
            item._replace(body=body)
            for item in wanted
            if (body := _body_of(Arrival(item.metric), view.project)) is not None
        ]

    def _view(self, selection: Selection, delivery: Delivery, last_frame_at: float) -> View:
        view = self._views.get((selection, delivery))
        if view is None:
            pending = Pending(
                delivery,
                max_metrics=self._limits.max_pending_metrics,
                max_bytes=self._limits.max_pending_bytes,
                last_frame_at=last_frame_at,
            )
            project = self._projections.get(selection.filters)
            if project is None:
                project = self._projections[selection.filters] = compile_projection(selection.filters)
            view = View(selection, delivery, pending, project)
            self._views[selection, delivery] = view
            for metric_type in selection.metric_types:
                self._views_by_type.setdefault(metric_type, []).append(view)
        return view

    def _drop_view(self, view: View) -> None:
        if view.timer is not None:
            view.timer.cancel()
        del self._views[view.selection, view.delivery]
        for metric_type in view.selection.metric_types:
            views = self._views_by_type[metric_type]
            views.remove(view)
            if not views:
                del self._views_by_type[metric_type]

    def _interest_may_have_changed(self) -> None:
        self._on_interest(self.interest)

    # --- metrics in ---

    def publish(self, metrics: Iterable[Metric]) -> None:
        """Hand metrics to every view that wants them; their frames leave when they are due."""
        now = self._clock.time()
        touched: set[View] = set()
        for metric in metrics:
            self.telemetry.metrics_received += 1
            views = self._views_by_type.get(metric.metric_type)
            if not views:
                continue
            arrival = Arrival(metric)
            # Views that differ only in other types or in their delivery take the same part of a metric.
            bodies: dict[Projection, bytes | None] = {}
            for view in views:
                if view.project not in bodies:
                    bodies[view.project] = _body_of(arrival, view.project)
                body = bodies[view.project]
                if body is not None:
                    view.pending.add(metric, body, now)
                    touched.add(view)
        for view in touched:
            self._schedule_view(view)

    def announce_gap(self, reason: GapReason, *, metric_types: frozenset[str]) -> None:
        """Tell every client that wants one of `metric_types` that an unknown number is missing."""
        for client in self.clients.values():
            affected = metric_types.intersection(client.selection.metric_types)
            if affected:
                client.share.loss.add(reason, None, affected)
                self._schedule_share(client)

    def broadcast_status(self, bus: BusState) -> None:
        """Tell every client how the channel layer is, except one that is still busy with what came before."""
        text = SharedText(encode(Status(bus=bus)).encode())
        frames = Frames((text,), 0, 0, len(text.data))
        for client in list(self.clients.values()):
            if client.busy_since is None:
                self._write(client, frames, self._clock.time(), is_data=False)

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
        # uvloop rings up to a millisecond early; by the clock no client's interval would have passed yet.
        now = max(self._clock.time(), view.timer_at)
        view.timer = None
        window = view.pending.take(now)
        frames = self._frames(window.items, window.loss)
        for client in list(view.clients):
            since, client.since = client.since, window.end
            ready = client.busy_since is None and client.floor_at <= now
            if ready and not client.share and since <= window.start:
                self._write(client, frames, now)
                continue
            # The client is busy, came in the middle, or was served too short a time ago: its part is its own.
            client.share.add(*window.since(since), view.delivery.mode)
            if ready:
                self._flush_share(client, now)
            else:
                self._schedule_share(client)

    def _schedule_share(self, client: Client) -> None:
        """See to it that the client's own share leaves when it is idle and its interval has passed."""
        if client.share and client.busy_since is None and client.timer is None:
            when = max(self._clock.time(), client.floor_at)
            client.timer = self._clock.call_at(when, self._share_is_due, client, when)

    def _share_is_due(self, client: Client, now: float) -> None:
        client.timer = None
        if client.busy_since is not None:  # `written` schedules it again
            return
        if client.view is not None and client.view.pending.due_at is not None:
            # The view's next frame takes the share along. Sent now, the client would stay out of step with its view
            # for good, and every frame would have to be encoded for it alone.
            return
        self._flush_share(client, now)

    def _flush_share(self, client: Client, now: float) -> None:
        if client.timer is not None:
            client.timer.cancel()
            client.timer = None
        self._write(client, self._frames(*client.share.take()), now)

    def _frames(self, items: list[Item], loss: Loss) -> Frames:
        metric_types = tuple(sorted(loss.metric_types))
        texts = [
            SharedText(encode(Gap(reason=reason, dropped=dropped, metric_types=metric_types)).encode())
            for reason, dropped in loss.counts.items()
        ]
        if items:
            texts.append(SharedText(encode_metrics([item.body for item in items])))
            self.telemetry.frames_encoded += 1
        return Frames(tuple(texts), len(items), loss.known, sum(len(text.data) for text in texts))

    def _write(self, client: Client, frames: Frames, now: float, *, is_data: bool = True) -> None:
        """Hand frames to a client's outlet; what is no data neither obeys the interval nor begins it anew."""
        if not frames.texts:
            return
        telemetry = self.telemetry
        if is_data:
            client.last_frame_at = now
        client.messages_sent += len(frames.texts)
        client.metrics_sent += frames.metrics
        client.metrics_dropped += frames.dropped
        client.bytes_sent += frames.size
        telemetry.messages_sent += len(frames.texts)
        telemetry.metrics_sent += frames.metrics
        telemetry.metrics_dropped += frames.dropped
        telemetry.bytes_sent += frames.size
        client.busy_since = now
        if client.outlet.write(frames.texts):
            client.busy_since = None
            return
        self._busy.add(client)
        if self._watch is None:
            self._watch = self._clock.call_at(now + WATCH_SECONDS, self._watch_busy)

    def written(self, client: Client) -> None:
        """Hear from an outlet that its last write is done."""
        client.busy_since = None
        self._busy.discard(client)
        if client.id in self.clients:
            self._schedule_share(client)

    # --- clients that do not read ---

    def _watch_busy(self) -> None:
        self._watch = None
        now = self._clock.time()
        limit = self._limits.slow_client_seconds
        for client in list(self._busy):
            if client.busy_since is not None and now - client.busy_since >= limit:
                self._busy.discard(client)
                self.telemetry.slow_clients_closed += 1
                logger.warning("client %s took no frame for %.0f s and is closed", client.id, now - client.busy_since)
                client.outlet.close(
                    CloseCode.SLOW_CONSUMER,
                    ErrorCode.SLOW_CONSUMER,
                    f"a frame was on its way for {now - client.busy_since:.0f} s; allowed: {limit:g} s",
                )
                self.remove(client)
        if self._busy:
            self._watch = self._clock.call_at(now + WATCH_SECONDS, self._watch_busy)

    def close_all(self, code: CloseCode, error: ErrorCode, reason: str) -> None:
        """Close every client, say why, and forget them."""
        for client in list(self.clients.values()):
            client.outlet.close(code, error, reason)
            self.remove(client)

    def stop(self) -> None:
        """Cancel every timer."""
        for view in self._views.values():
            if view.timer is not None:
                view.timer.cancel()
                view.timer = None
        for client in self.clients.values():
            if client.timer is not None:
                client.timer.cancel()
                client.timer = None
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None


def _body_of(arrival: Arrival, project: Projection) -> bytes | None:
    try:
        return project(arrival)
    except (msgspec.DecodeError, KeyError):
        # Only a producer that does not use the helper can publish this; it must not stop the others.
        metric = arrival.metric
        logger.warning("a malformed %s metric of %r is left out", metric.metric_type, metric.source)
        return None
