"""The time of a run: from its start to its end, whatever the clocks of its producers say."""

from __future__ import annotations

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
