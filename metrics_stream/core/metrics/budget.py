"""How many rows a source and a token may have; rows past it are folded into one row, `(other)`.

A row that is known stays, however many come later: those that exceed the budget are the newest. A row that was not
published for a while gives up its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from metrics_stream.core.lru import LruDict
from metrics_stream.core.metrics.keys import AGENT_KEY, OTHER, make_row, row_in
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.metrics.row_sums import add_up

# A table of more rows is read by nobody, and each row is several series.
MAX_SOURCE_ROWS = 2_000
MAX_TOKEN_ROWS = 10_000

# For so long a row keeps its place after it was last published.
FORGET_SECONDS = 600.0

# The types and sources whose rows are counted; past it, those that were silent longest are forgotten.
MAX_PLACES = 1_000

FOLDED_ROWS = "folded_rows"
"""The field of the row `(other)` that says how many rows are in it."""


class Overflow(NamedTuple):
    """So many rows of a metric type and source are in `(other)`."""

    metric_type: str
    source: str
    rows: int

    def __str__(self) -> str:
        return (
            f"{self.rows:,} more rows of {self.metric_type} from {self.source} are in the row {OTHER}; allowed: "
            f"at most {MAX_SOURCE_ROWS:,} for each source and {MAX_TOKEN_ROWS:,} for each token"
        )


class _Document(msgspec.Struct, omit_defaults=True):
    metric_type: str
    timestamp: str
    source: str
    data: list[dict[str, Any]]
    key: tuple[str, ...] = ()
    units: dict[str, Any] | None = None
    windows: dict[str, Any] | None = None


_decode = msgspec.json.Decoder(_Document).decode
_encode = msgspec.json.Encoder().encode


class RowBudget:
    """The rows that one token, or one program, has published lately."""

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        source_rows: int = MAX_SOURCE_ROWS,
        token_rows: int = MAX_TOKEN_ROWS,
    ) -> None:
        """`clock` returns seconds that never go back."""
        self._clock = clock
        self._source_rows = source_rows
        self._token_rows = token_rows
        self._count = 0
        self._places: LruDict[tuple[str, str], dict[str, float]] = LruDict(MAX_PLACES)

    def apply(self, metrics: Iterable[Metric]) -> tuple[list[Metric], list[Overflow]]:
        """Return the metrics with rows past the budget folded into `(other)`, and where that was done."""
        kept: list[Metric] = []
        folded: dict[tuple[str, str], int] = {}
        for metric in metrics:
            is_counted = metric.rows and metric.key != AGENT_KEY
            if not is_counted or not (beyond := self._admit(metric)):
                kept.append(metric)
                continue
            kept.append(_fold(metric, beyond))
            place = metric.metric_type, metric.source
            folded[place] = folded.get(place, 0) + len(beyond)
        return kept, [Overflow(*place, count) for place, count in folded.items()]

    def _admit(self, metric: Metric) -> set[str]:
        """Note the rows of a metric, and return those that are past the budget."""
        now, place = self._clock(), (metric.metric_type, metric.source)
        known = self._places.use(place)
        if known is None:
            known = self._places.put(place, {})
            self._count = sum(map(len, self._places.values()))
        other = make_row([(metric.key[0], OTHER)])
        new = [row for row in dict.fromkeys(metric.rows) if row not in known and row != other]
        known.update((row, now) for row in metric.rows if row in known)
        if not new:
            return set()
        if len(known) + len(new) > self._source_rows or self._count + len(new) > self._token_rows:
            self._forget(now)
        room = max(0, min(self._source_rows - len(known), self._token_rows - self._count))
        known.update((row, now) for row in new[:room])
        self._count += min(room, len(new))
        return set(new[room:])

    def _forget(self, now: float) -> None:
        for known in self._places.values():
            for row in [row for row, at in known.items() if now - at > FORGET_SECONDS]:
                del known[row]
        self._count = sum(map(len, self._places.values()))


def _fold(metric: Metric, beyond: set[str]) -> Metric:
    """Return the metric with these rows in `(other)`, with what it has there already."""
    document, key = _decode(metric.body), metric.key
    other = make_row([(key[0], OTHER)])
    kept, rest, count = [], [], 0
    for entry in document.data:
        row = row_in(entry, key)
        if row != other and row not in beyond:
            kept.append(entry)
            continue
        rest.append({name: value for name, value in entry.items() if name not in key})
        count += 1 if row != other else 0
    whole = {key[0]: OTHER, **add_up(rest)}
    whole[FOLDED_ROWS] = whole.get(FOLDED_ROWS, 0) + count
    document.data = [*kept, whole]
    rows = [row for row in metric.rows if row not in beyond and row != other]
    return msgspec.structs.replace(metric, rows=(*rows, other), body=_encode(document))


def count_rows(overflows: Sequence[Overflow]) -> int:
    """Return how many rows were folded."""
    return sum(overflow.rows for overflow in overflows)
