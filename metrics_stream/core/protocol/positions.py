"""Positions in the history: the number of metrics of each type that were published before, in one epoch.

Within an epoch the metrics of a type are numbered from 0 in the order of publishing. An epoch ends when the history is
lost; its positions are invalid from then on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import msgspec

from metrics_stream.core.errors import ProtocolError
from metrics_stream.core.formatting import quote
from metrics_stream.core.metrics.catalogue import SLUG_PATTERN
from metrics_stream.core.metrics.metric import Metric, RunMetric, name_run
from metrics_stream.core.protocol.codes import ErrorCode

_EPOCH = re.compile(r"[0-9a-z]{1,32}")
MAX_POSITION_LENGTH = 4_000

# No history reaches larger offsets: 9 quadrillion metrics.
MAX_OFFSET = 2**53 - 1


@dataclass(frozen=True, slots=True)
class Position:
    """A position in the history: the number of metrics of each type before it, in the epoch."""

    epoch: str
    offsets: Mapping[str, int]

    def text(self) -> str:
        """Return the position as text; clients send it back unchanged and do not parse it."""
        return position_text(self.epoch, self.offsets)


class HistoryBatch(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Metrics of one type that were published together, and their position in the history.

    `first` is the number of the first metric: so many of its type came before. `order` compares batches of all types in
    the order of publishing. `published_at` is when the history stored them, in seconds since 1970 by its clock. `runs`
    are the ids of the test runs that were active then, by source; the run that was started last is at the end.
    None means that the history did not know the active runs then; the database does. `owner` names the token that they
    came with, so that no token takes more than its share; empty for producers without one.
    """

    metric_type: str
    epoch: str
    first: int
    order: int
    published_at: float
    metrics: list[Metric]
    runs: dict[str, tuple[str, ...]] | None = {}
    owner: str = ""

    @property
    def end(self) -> int:
        """The number of metrics of the type up to and including the last of these."""
        return self.first + len(self.metrics)

    def after(self, offset: int) -> HistoryBatch:
        """Return the part of the batch from `offset` on."""
        missing = offset - self.first
        if missing <= 0:
            return self
        return msgspec.structs.replace(self, first=offset, metrics=self.metrics[missing:])

    def before(self, offset: int) -> HistoryBatch:
        """Return the part of the batch before `offset`."""
        if offset >= self.end:
            return self
        return msgspec.structs.replace(self, metrics=self.metrics[: max(0, offset - self.first)])


SourcesOf = Callable[[str], frozenset[str] | None]
"""Returns the sources of a test run, empty for every source; None if they are unknown."""


def _unknown(_: str) -> None:
    return None


def tag_runs(batch: HistoryBatch, sources_of: SourcesOf = _unknown) -> list[Metric]:
    """Return the metrics with `run` as the last key of their bodies, if their source had an active run.

    Of several runs it is the one that was started last, as far as a client may see it. A metric without a run stays
    the same object.
    """
    if not batch.runs:
        return batch.metrics
    known = {source: tuple((run, sources_of(run)) for run in runs) for source, runs in batch.runs.items()}
    return [_tag(metric, runs) if (runs := known.get(metric.source)) else metric for metric in batch.metrics]


def _tag(metric: Metric, runs: tuple[tuple[str, frozenset[str] | None], ...]) -> Metric:
    plain = metric.body
    fields = (metric.metric_type, metric.source, metric.timestamp, metric.rows)
    return RunMetric(*fields, name_run(plain, runs[-1][0]), metric.key, runs, plain)


def tag_run(metric: Metric, run: str) -> Metric:
    """Return the metric with `run` as the last key of its body, for clients that all see the run."""
    return msgspec.structs.replace(metric, body=name_run(metric.body, run))


def position_text(epoch: str, offsets: Mapping[str, int]) -> str:
    """Return the text of a position: `EPOCH:TYPE=N,TYPE=N`."""
    return f"{epoch}:{','.join([f'{metric_type}={offset}' for metric_type, offset in offsets.items()])}"


def parse_position(text: str) -> Position:
    """Return the position in `text`; raise ProtocolError if it is malformed."""
    epoch, colon, rest = text.partition(":")
    if not colon or len(text) > MAX_POSITION_LENGTH or not _EPOCH.fullmatch(epoch):
        raise _invalid_position(text)
    return Position(epoch, dict(_parse_offsets(text, rest)))


def _parse_offsets(text: str, rest: str) -> Iterator[tuple[str, int]]:
    for item in rest.split(",") if rest else ():
        metric_type, _, offset = item.partition("=")
        if not SLUG_PATTERN.fullmatch(metric_type) or not (offset.isascii() and offset.isdigit() and len(offset) < 17):
            raise _invalid_position(text)
        if int(offset) > MAX_OFFSET:
            raise _invalid_position(text)
        yield metric_type, int(offset)


def _invalid_position(text: str) -> ProtocolError:
    return ProtocolError(
        ErrorCode.INVALID_MESSAGE,
        f"`resume_from` is {quote(text)}; it must be a `position` as the server sent it",
    )
