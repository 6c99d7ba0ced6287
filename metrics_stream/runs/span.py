"""The time of a run: from its start to its end, whatever the clocks of its producers say."""

from __future__ import annotations

from typing import NamedTuple

from metrics_stream.core.series.counters import Span
from metrics_stream.models import TestRun

TOLERANCE_SECONDS = 60.0
"""Metrics may be so much older than the start of their run, or newer than its end: clocks differ, batches are late."""


def recorded_span(run: TestRun) -> tuple[float, float] | None:
    """Return the first and the last instant of which a run has metrics, in seconds since 1970; None without metrics.

    It lies within the run, with the tolerance: earlier versions recorded the times of clocks that are off.
    """
    if run.first_at is None or run.last_at is None:
        return None
    since, until = run.first_at.timestamp(), run.last_at.timestamp()
    if run.started_at is not None:
        since = max(since, run.started_at.timestamp() - TOLERANCE_SECONDS)
    if run.ended_at is not None:
        until = min(until, run.ended_at.timestamp() + TOLERANCE_SECONDS)
    # Nothing of it lies in the run, so there is nothing to cut.
    return (since, until) if since <= until else (run.first_at.timestamp(), run.last_at.timestamp())


# The last value of a counter before a span is looked for in this much time before it.
_SECONDS_BEFORE = 600


class RunSpan(NamedTuple):
    """A span of a run, in seconds since 1970."""

    since: float
    until: float
    is_whole: bool
    began_at: float
    first_at: float
    last_at: float

    @property
    def reads_from(self) -> float:
        """The instant from which counters are read: the last value before the span is needed, too."""
        return max(self.first_at, self.since - _SECONDS_BEFORE)

    def in_buckets(self, tier: int) -> Span:
        """Return the buckets of the span; a bucket at its end belongs to the next one, at the end of a run to it."""
        is_last = self.until >= self.last_at
        end = int(self.until // tier) + 1 if is_last else max(-int(-self.until // tier), int(self.since // tier) + 1)
        return Span(int(self.since // tier), end, tier, self.began_at, self.first_at, self.last_at)


def find_span(run: TestRun, since: float | None, until: float | None) -> RunSpan | None:
    """Return the part of a run between two instants, without them the whole; None if nothing was recorded in it."""
    if (recorded := recorded_span(run)) is None:
        return None
    first_at, last_at = recorded
    began_at = min(first_at, run.started_at.timestamp() if run.started_at else first_at)
    begin = first_at if since is None else max(first_at, since)
    end = last_at if until is None else min(last_at, until)
    if begin > end:
        return None
    return RunSpan(begin, end, begin == first_at and end == last_at, began_at, first_at, last_at)
