"""Mark metrics whose timestamps come from a clock that is off, and put them where they belong in time.

A source sends its own time. One whose clock is half an hour ahead would stretch the axis of every chart, and its line
would lie outside of its run. So the servers compare timestamps with arrival. Metrics of a clock that is off keep what
their producer wrote and get `clock_ahead_seconds` beside it: timestamp minus this is about when they were measured. The
same is done for live metrics, the recent past and recordings, so that all of them show the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from metrics_stream.core.lru import LruDict
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.protocol.positions import HistoryBatch

TOLERANCE_SECONDS = 60.0
"""A timestamp may differ from the arrival by so much; delays of batches and networks are of this size."""

STEADY_SECONDS = 10.0
"""The delays of a clock that is behind differ by at most so much; those of old metrics that are sent late by more."""

BEHIND_AFTER_SECONDS = 15.0
"""A clock counts as behind when every metric of so much time had about the same delay: metrics may also come late."""

MAX_SOURCES = 2_000


class Timing(NamedTuple):
    """The clock of a source, as a batch shows it, in seconds; positive: ahead of the arrival."""

    ahead: float
    """By how much the newest timestamp of the batch is ahead of its arrival."""
    offset: float
    """By how much to correct the timestamps of the batch; 0.0 for a clock that is not known to be off."""


ON_TIME = Timing(0.0, 0.0)
"""The timing of metrics that did not arrive, but were recorded later with their own times."""


class ClockMarks:
    """Knows which sources have clocks that are off, from the batches that it has seen."""

    def __init__(self) -> None:
        self._delays: LruDict[tuple[str, str], _Delay] = LruDict(MAX_SOURCES)

    def learn(self, batch: HistoryBatch, arrived_at: float) -> dict[str, Timing]:
        """Take the next batch of its type into account; return the timing of each of its sources."""
        found = {}
        for source, newest in _newest_of(batch.metrics).items():
            ahead = newest - arrived_at
            key = (batch.metric_type, source)
            if ahead < -TOLERANCE_SECONDS:
                delay = self._delays.get(key)
                if delay is None or abs(ahead - delay.ahead) > STEADY_SECONDS:
                    delay = _Delay(ahead, arrived_at, arrived_at)
                self._delays.put(key, delay._replace(until=arrived_at))
            elif key in self._delays:
                del self._delays[key]
            found[source] = Timing(ahead, self._offset(key, ahead))
        return found

    def look_up(self, batch: HistoryBatch) -> dict[str, Timing]:
        """Return the timing of each source of a batch, of any time, by what is known already."""
        at = batch.published_at
        return {
            source: Timing(newest - at, self._offset((batch.metric_type, source), newest - at))
            for source, newest in _newest_of(batch.metrics).items()
        }

    def _offset(self, key: tuple[str, str], ahead: float) -> float:
        if ahead > TOLERANCE_SECONDS:
            return ahead
        delay = self._delays.get(key)
        if delay is None or delay.until - delay.since < BEHIND_AFTER_SECONDS:
            return 0.0
        return ahead if abs(ahead - delay.ahead) <= STEADY_SECONDS else 0.0

    def mark_next(self, batch: HistoryBatch) -> HistoryBatch:
        """Return the next batch of its type with its metrics marked; the same object if no clock is off."""
        return _mark_batch(batch, self.learn(batch, batch.published_at))

    def mark(self, batch: HistoryBatch) -> HistoryBatch:
        """Return a batch of any time with its metrics marked."""
        return _mark_batch(batch, self.look_up(batch))


class _Delay(NamedTuple):
    """The delay that the metrics of a source have had, and from when until when it was about the same."""

    ahead: float
    since: float
    until: float


def _newest_of(metrics: Iterable[Metric]) -> dict[str, float]:
    newest: dict[str, float] = {}
    for metric in metrics:
        source = metric.source
        if metric.timestamp > newest.get(source, -math.inf):
            newest[source] = metric.timestamp
    return newest


def _mark_batch(batch: HistoryBatch, timings: Mapping[str, Timing]) -> HistoryBatch:
    offsets = {source: timing.offset for source, timing in timings.items() if timing.offset}
    if not offsets:
        return batch
    metrics = [mark(metric, offsets[metric.source]) if metric.source in offsets else metric for metric in batch.metrics]
    return msgspec.structs.replace(batch, metrics=metrics)


def mark(metric: Metric, offset: float) -> Metric:
    """Return a metric with a corrected time, and with `clock_ahead_seconds` as the last key of its body."""
    ahead = round(offset, 3)
    body = b'%b,"clock_ahead_seconds":%b}' % (metric.body[:-1], msgspec.json.encode(ahead))
    return msgspec.structs.replace(metric, timestamp=metric.timestamp - ahead, body=body)
