"""Count the metrics of a recording of which a permit shows something, reading as few of them as possible."""

from __future__ import annotations

from typing import NamedTuple

from metrics_stream.core.delivery.selection import permitted_metrics
from metrics_stream.core.metrics.permission import Permit
from metrics_stream.models import MetricChunk, TestRun
from metrics_stream.runs.chunks import unpack_metrics

Counts = dict[str, dict[str, int]]
"""The number of metrics by type and source."""


class Counted(NamedTuple):
    """How many metrics are visible: `before` of those before the newest chunk, which begins at `reached`, and `all`."""

    before: int = 0
    reached: int = 0
    all: int = 0


def count_visible(run: TestRun, permit: Permit, known: Counted) -> Counted:
    """Return how many metrics of a run the permit shows, counting on from an earlier result."""
    total = before = known.before
    reached = known.reached
    chunks = MetricChunk.objects.filter(run=run, first_number__gte=reached).order_by("first_number")
    for pk, first_number, counts in chunks.values_list("pk", "first_number", "counts"):
        before, reached = total, first_number
        total += _count_in_chunk(pk, counts, permit)
    return Counted(before, reached, total)


def _count_in_chunk(pk: int, counts: Counts | None, permit: Permit) -> int:
    if counts is None:
        return _count_unpacked(pk, permit)
    whole = 0
    for metric_type, by_source in counts.items():
        for source, count in by_source.items():
            grants = permit.grants_for(metric_type, source)
            if any(not grant.terms and not grant.fields for grant in grants):
                whole += count
            elif grants:  # only the metrics themselves tell
                return _count_unpacked(pk, permit)
    return whole


def _count_unpacked(pk: int, permit: Permit) -> int:
    payload = MetricChunk.objects.filter(pk=pk).values_list("payload", flat=True).first()
    metrics = [] if payload is None else [item.metric for item in unpack_metrics(payload)]
    return sum(1 for _ in permitted_metrics(metrics, permit))
