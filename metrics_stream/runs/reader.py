"""Read the metrics of a recording as they were published."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import msgspec
from django.db.models import QuerySet

from metrics_stream.core.metrics.metric import Metric
from metrics_stream.models import MetricChunk, TestRun
from metrics_stream.runs.chunks import Recorded, unpack_keys, unpack_metrics

# So many chunks are read with one query: some megabytes at most.
_PAGE_CHUNKS = 10

MAX_NEWEST_AGE_SECONDS = 900.0
"""The greatest age of what `newest_before` returns; the history has the same by default."""


class RecordedPage(msgspec.Struct, frozen=True):
    """Metrics of a run in the order of publishing, and the cursor of the next page."""

    items: list[Recorded]
    cursor: int
    """The number of metrics of the run before the next page."""
    is_last: bool
    """True when nothing is recorded after this page so far."""


def metrics(
    run: TestRun,
    *,
    cursor: int | None = None,
    since: float | None = None,
    limit: int = 2_000,
    metric_types: Collection[str] = (),
) -> RecordedPage:
    """Return metrics of a run from a cursor on, or from an instant of publishing on, or from its start.

    A page covers at most `limit` metrics, including those of other types: only `is_last` says that it is the last.
    """
    chunks = MetricChunk.objects.filter(run=run).order_by("first_number")
    if cursor is not None:
        holding = chunks.filter(first_number__lte=cursor).order_by("-first_number").values_list("first_number")
        first_number = next(iter(holding[:1]), (cursor,))[0]
        chunks = chunks.filter(first_number__gte=first_number)
    elif since is not None:
        chunks = chunks.filter(last_at__gte=since)
    items: list[Recorded] = []
    taken = 0
    reached = cursor
    for number, item in _number_metrics(chunks):
        if (cursor is None or number >= cursor) and (cursor is not None or since is None or item.published_at >= since):
            if taken == limit:
                return RecordedPage(items, number, is_last=False)
            taken += 1
            if not metric_types or item.metric.metric_type in metric_types:
                items.append(item)
        reached = number + 1
    if reached is None:
        newest = MetricChunk.objects.filter(run=run).order_by("-first_number").first()
        reached = newest.first_number + newest.count if newest else 0
    return RecordedPage(items, reached, is_last=True)


def rows(run: TestRun, *, until: int | None = None) -> Iterator[Metric]:
    """Yield the metrics of a run in the order of publishing, at most the first `until`.

    It holds some chunks at a time, and no transaction while the caller works.
    """
    for number, item in _number_metrics(MetricChunk.objects.filter(run=run).order_by("first_number")):
        if until is not None and number >= until:
            return
        yield item.metric


def _number_metrics(chunks: QuerySet[MetricChunk]) -> Iterator[tuple[int, Recorded]]:
    reached = -1
    while page := list(chunks.filter(first_number__gt=reached)[:_PAGE_CHUNKS]):
        for chunk in page:
            yield from enumerate(unpack_metrics(chunk.payload), chunk.first_number)
        reached = page[-1].first_number


def newest_before(run: TestRun, at: float) -> list[Metric]:
    """Return the newest metric of each key published before an instant, in the order of publishing."""
    wanted: set[int] = set()
    needed: list[int] = []
    # Read first only which keys are in which chunk, so that chunks without a new key are not unpacked.
    chunks = MetricChunk.objects.filter(run=run, first_at__lt=at, last_at__gte=at - MAX_NEWEST_AGE_SECONDS)
    for pk, last_at, packed in chunks.order_by("-first_number").values_list("pk", "last_at", "keys"):
        keys = unpack_keys(packed)
        if not keys <= wanted:
            needed.append(pk)
            # The chunk that contains the instant may have some of its keys only after it.
            if last_at < at:
                wanted |= keys
    newest: dict[tuple[str, str, tuple[str, ...]], tuple[int, Metric]] = {}
    for chunk in MetricChunk.objects.filter(pk__in=needed).order_by("first_number").iterator(chunk_size=_PAGE_CHUNKS):
        for number, item in enumerate(unpack_metrics(chunk.payload), chunk.first_number):
            if at - MAX_NEWEST_AGE_SECONDS <= item.published_at < at:
                newest[item.metric.kind] = (number, item.metric)
    return [metric for _, metric in sorted(newest.values(), key=lambda entry: entry[0])]
