"""A part of the past that several clients are sent, and the frames that were built of it for each kind of view."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from metrics_stream.core.delivery.frames import Frames, build_frames
from metrics_stream.core.delivery.pending import Loss, newest
from metrics_stream.core.delivery.selection import compile_projection
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.hub.clients import Client
from metrics_stream.hub.views import project_metrics

# Clients with ever different filters must not make a page hold frames without end.
MAX_VIEWS = 16


class PastPage:
    """Metrics that are sent together. Clients with equal filters, permit and delivery get the same frames of it."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self.metrics = metrics
        self._frames: dict[Hashable, Frames] = {}

    def frames_for(self, client: Client, loss: Loss, position: str | None) -> Frames:
        """Return what the filters of a client leave of it, after a gap for each reason of `loss`."""
        selection, delivery = client.selection, client.delivery
        view = selection.filters, selection.permit, delivery.mode, delivery.is_single, position
        if not loss and (known := self._frames.get(view)) is not None:
            return known
        project = compile_projection(selection.filters, selection.permit)
        items = project_metrics(enumerate(self.metrics), project)
        if delivery.mode == "latest":
            items = newest(items)
        frames = build_frames(items, loss, position=position, replayed=True, singly=delivery.is_single)
        if not loss and len(self._frames) < MAX_VIEWS:
            self._frames[view] = frames
        return frames
