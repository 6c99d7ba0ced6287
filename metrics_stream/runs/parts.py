"""Read the columns of series groups from one tier, and from finer ones what that tier does not have yet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import NamedTuple

from metrics_stream.core.series.columns import Column, bounds_of
from metrics_stream.core.series.packing import Unpacked, unpack
from metrics_stream.core.series.sketch_columns import SketchColumns
from metrics_stream.models import TierChunk
from metrics_stream.runs.coarse_tiers import put_minute
from metrics_stream.runs.tiers import FINEST, TIERS, WIDE, finer_than, row_start

Edges = Mapping[str, int]
"""The column `tiers_until` of a run."""

# No bucket of any tier is later.
_LAST = 2**62


def choose_tier(group_ids: Collection[int], seconds: float, max_points: int) -> int:
    """Return the coarsest tier with at least `max_points` buckets in `seconds`, or the nearest that there is.

    Retention deletes fine tiers first; runs of earlier versions have no wide ones.
    """
    fine = [tier for tier in TIERS if tier == FINEST or seconds / tier >= max_points]
    rest = [tier for tier in TIERS if tier not in fine]
    for tier in (fine[-1], *rest, *reversed(fine[:-1])):
        if TierChunk.objects.filter(group_id__in=group_ids, bucket_seconds=tier).exists():
            return tier
    return FINEST


class Wanted(NamedTuple):
    """What to read: some groups of one run, two instants, and fields as filters name them."""

    group_ids: Collection[int]
    since: float
    until: float
    fields: Collection[str]
    edges: Edges


def load_parts(wanted: Wanted, tier: int) -> dict[int, Unpacked]:
    """Return the columns of groups in buckets of a tier, from whole rows: they may begin before `since`."""
    found: dict[int, Unpacked] = defaultdict(_make_empty)
    # What is not in the tier yet is read first: what is put there in between is found twice, and replaced, instead of
    # not at all.
    if tier in WIDE:
        edge = max(wanted.edges.get(str(tier), 0), int(wanted.since // tier))
        rest = {}
        if edge * tier <= wanted.until:
            rest = load_parts(wanted._replace(since=max(wanted.since, edge * tier)), finer_than(tier))
        _load_rows(found, wanted, tier)
        for group_id, part in rest.items():
            _append(found[group_id], part, edge, tier // finer_than(tier))
        return found
    open_minutes = [] if tier == FINEST else _load_open_minutes(wanted)
    _load_rows(found, wanted, tier)
    for group_id, starts_at, payload in open_minutes:
        put_minute(found[group_id], starts_at, unpack(payload, fields=wanted.fields), tier)
    return found


def _load_open_minutes(wanted: Wanted) -> list[tuple[int, int, bytes | memoryview]]:
    """Return the minutes that the tiers of 10 s and 60 s do not have yet, or not completely."""
    minutes = TierChunk.objects.filter(
        group_id__in=wanted.group_ids,
        bucket_seconds=FINEST,
        is_open=True,
        starts_at__gte=row_start(FINEST, wanted.since),
        starts_at__lte=wanted.until,
    )
    return list(minutes.values_list("group_id", "starts_at", "payload"))


def _load_rows(found: dict[int, Unpacked], wanted: Wanted, tier: int) -> None:
    rows = TierChunk.objects.filter(
        group_id__in=wanted.group_ids,
        bucket_seconds=tier,
        starts_at__gte=row_start(tier, wanted.since),
        starts_at__lte=wanted.until,
    ).order_by("starts_at")
    for group_id, payload in rows.values_list("group_id", "payload"):
        part, row = found[group_id], unpack(payload, fields=wanted.fields)
        for field, column in row.columns.items():
            if field in part.columns:
                part.columns[field].merge(column)
            else:
                part.columns[field] = column
        part.sketches.merge(row.sketches)


def _append(into: Unpacked, part: Unpacked, first: int, factor: int) -> None:
    """Replace the buckets from `first` on by those of a part whose buckets are `factor` times as narrow."""
    for field, column in part.columns.items():
        late = column.between(first * factor, _LAST)
        if late.buckets or late.nulls:
            wide = late.widened(bounds_of(late.buckets, factor))
            into.columns.setdefault(field, Column()).replace(first, _LAST, wide)
    into.sketches.drop(first, _LAST)
    into.sketches.merge(part.sketches.between(first * factor, _LAST), factor=factor)


def _make_empty() -> Unpacked:
    return Unpacked({}, SketchColumns())
