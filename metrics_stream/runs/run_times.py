"""The times of one run while it is recorded: where its metrics belong in time, and from when until when it has some.

A run's own start and end bound it, by the clock of the database. Metrics outside of them, whose source has a clock that
is off, are put where they arrived; what still lies outside moves neither the beginning nor the end of the recording.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from metrics_stream.core.clock_marks import Timing, mark
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.models import TestRun
from metrics_stream.runs.span import TOLERANCE_SECONDS

# A run names at most so many types and sources whose clocks are off.
MAX_CLOCKS = 100


class RunTimes:
    """The columns `first_at`, `last_at` and `source_clocks` of a run."""

    def __init__(self, run: TestRun) -> None:
        """Continue from the state in the database."""
        self.first_at = math.inf if run.first_at is None else run.first_at.timestamp()
        self.last_at = -math.inf if run.last_at is None else run.last_at.timestamp()
        self._clocks = {(slug, source): ahead for slug, source, ahead in run.source_clocks}
        begins_at = -math.inf if run.started_at is None else run.started_at.timestamp()
        # Of a test that began before anybody told the server of it, old timestamps are right.
        self._is_past = begins_at < run.created_at.timestamp() - TOLERANCE_SECONDS
        self._earliest = begins_at - TOLERANCE_SECONDS

    def place(self, metric: Metric, timing: Timing) -> Metric:
        """Return a metric at its place in the run: marked and corrected if the clock of its source is off."""
        offset = timing.offset
        if self._is_past:
            offset = max(0.0, offset)
        elif not offset and metric.timestamp < self._earliest and timing.ahead < -TOLERANCE_SECONDS:
            offset = timing.ahead
        if not offset:
            return metric
        self._note((metric.metric_type, metric.source), offset)
        return mark(metric, offset)

    def _note(self, key: tuple[str, str], offset: float) -> None:
        if abs(offset) > abs(self._clocks.get(key, 0.0)) and (key in self._clocks or len(self._clocks) < MAX_CLOCKS):
            self._clocks[key] = round(offset, 1)

    def extend(self, at: float) -> None:
        """Note that there is a metric of an instant."""
        if at >= self._earliest:
            self.first_at = min(self.first_at, at)
            self.last_at = max(self.last_at, at)

    def columns(self) -> dict[str, Any]:
        """Return the columns of TestRun to write."""
        return {
            "first_at": None if self.first_at == math.inf else _to_datetime(self.first_at),
            "last_at": None if self.last_at == -math.inf else _to_datetime(self.last_at),
            "source_clocks": [[*key, ahead] for key, ahead in self._clocks.items()],
        }


def _to_datetime(seconds_since_1970: float) -> datetime:
    return datetime.fromtimestamp(seconds_since_1970, UTC)
