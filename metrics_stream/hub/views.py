"""All views of a hub, found by selection and by metric type, and what their projections leave of a metric."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from weakref import WeakValueDictionary

from metrics_stream.core.delivery.pending import Delivery, Item, Loss, Pending
from metrics_stream.core.delivery.selection import DecodedMetric, Projection, Selection, compile_projection
from metrics_stream.core.lru import LruDict
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.metrics.permission import Permit
from metrics_stream.core.metrics.projection import MALFORMED
from metrics_stream.core.protocol.codes import GapReason
from metrics_stream.core.protocol.messages import Filters
from metrics_stream.hub.clients import Client, View

logger = logging.getLogger(__name__)

# Changing a selection filters again what was pending. The bound keeps a client that changes its selection ten times a
# second from costing the others time; what is beyond it is announced as a gap.
MAX_CARRIED_METRICS = 1_000

# The types and sources of which a malformed metric was logged.
_malformed: LruDict[tuple[str, str | None], bool] = LruDict(1_000)


class Views:
    """All views of a hub: made when the first client wants one, dropped when the last one leaves."""

    def __init__(self, *, max_metrics: int, max_bytes: int) -> None:
        """Take the limits of what a view keeps between two frames."""
        # Views with equal filters and permits take the same part of a metric, even where other things differ.
        self.by_type: dict[str, dict[Projection, list[View]]] = {}
        """Live views by metric type and projection."""
        self._views: dict[tuple[Selection, Delivery, object], View] = {}
        self._max_metrics = max_metrics
        self._max_bytes = max_bytes
        self._projections: WeakValueDictionary[tuple[Filters, Permit], Projection] = WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._views)

    def __iter__(self) -> Iterator[View]:
        return iter(self._views.values())

    def add(self, metric: Metric, now: float, touched: set[View]) -> None:
        """Add a metric to what is pending for every view that wants it; add those to `touched` that have a frame due.

        In part or whole, as each view wants it.
        """
        by_projection = self.by_type.get(metric.metric_type)
        if by_projection is None:
            return
        decoded = DecodedMetric(metric)
        for project, views in by_projection.items():
            try:  # as project_metric does, which would be one more call for each of many views
                body = project(decoded)
            except MALFORMED:
                log_malformed(metric)
                continue
            if body is None:
                continue
            for view in views:
                if view.pending.add(metric, body, now):
                    touched.add(view)

    def enter(self, client: Client) -> View | None:
        """Put a client into the view of its selection and delivery; return that, None without metric types.

        A new view counts its interval from the last frame of the client.
        """
        if not client.selection.metric_types:
            return None
        view = self._views.get((client.selection, client.delivery, client.replay)) or self._make(client)
        client.enter_view(view)
        return view

    def leave(self, client: Client) -> tuple[list[Item], Loss]:
        """Take a client out of its view, if it has one; return what it has not got yet."""
        view, undelivered = client.view, client.leave_view()
        if view is not None and not view.clients:
            view.cancel_timer()
            self._drop(view)
        return undelivered

    def _make(self, client: Client) -> View:
        selection, delivery, replay = client.selection, client.delivery, client.replay
        pending = Pending(
            delivery,
            max_metrics=self._max_metrics,
            max_bytes=self._max_bytes,
            last_frame_at=client.last_frame_at,
            keeps_sketches=any(name.partition(".")[0] == "sketches" for name in selection.filters.fields),
        )
        narrowing = selection.filters, selection.permit
        project = self._projections.get(narrowing)
        if project is None:
            project = self._projections[narrowing] = compile_projection(*narrowing)
        view = self._views[selection, delivery, replay] = View(selection, delivery, pending, project, replay=replay)
        if replay is None:
            for metric_type in selection.metric_types:
                self.by_type.setdefault(metric_type, {}).setdefault(project, []).append(view)
        return view

    def _drop(self, view: View) -> None:
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


def filter_again(items: list[Item], view: View, loss: Loss) -> list[Item]:
    """Return what `view` wants of items of another view, at most MAX_CARRIED_METRICS; count the rest in `loss`."""
    wanted = [item for item in items if item.metric.metric_type in view.selection.metric_types]
    beyond = len(wanted) - MAX_CARRIED_METRICS
    if beyond > 0:
        loss.add_items(GapReason.PENDING_OVERFLOW, wanted[:beyond])
        wanted = wanted[beyond:]
    return project_metrics(((item.sequence, item.metric) for item in wanted), view.project)


def project_metrics(numbered: Iterable[tuple[int, Metric]], project: Projection) -> list[Item]:
    """Return as items what a projection leaves of metrics, each with its sequence."""
    return [
        Item(sequence, metric, body)
        for sequence, metric in numbered
        if (body := project_metric(metric, project)) is not None
    ]


def project_metric(metric: Metric, project: Projection) -> bytes | None:
    """Return the JSON that a projection leaves of a metric, None if nothing is left or the metric is malformed."""
    try:
        return project(DecodedMetric(metric))
    except MALFORMED:
        log_malformed(metric)
        return None


def log_malformed(metric: Metric) -> None:
    """Log that a metric is left out, once for each type and source: a program that sends one sends many."""
    kind = metric.metric_type, metric.source
    if _malformed.use(kind) is None:
        _malformed.put(kind, True)
        message = "a malformed %s metric of %r is left out (logged once for each type and source)"
        logger.warning(message, *kind)
