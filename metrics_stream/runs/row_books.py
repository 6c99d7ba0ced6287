"""The totals of the rows of one run while it is recorded: requests and errors, by source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.series.folding import Reading
from metrics_stream.core.series.row_book import SKETCH, RowBook
from metrics_stream.core.series.sketch_columns import Found
from metrics_stream.models import RowTotals
from metrics_stream.runs.coarse_tiers import OPEN_LEVEL

MAX_COURSES = 1_000
"""Of so many rows of a run their course over time is kept, too: some 13 series each, some 30 MB in memory.

Of a larger set the totals alone are kept, and the metrics themselves.
"""

# Beyond that, each source may still have so many, up to half of MAX_COURSES together.
RESERVED_COURSES = 20

Place = tuple[str, str]
"""A metric type and a source."""


class RowBooks:
    """Counts the rows of a run, and says of which of them the course over time is kept."""

    def __init__(self, run_id: int, courses: Iterable[tuple[str, str, str]]) -> None:
        """Continue from the database; `courses` are the type, source and text of the rows that have series."""
        self._run_id = run_id
        stored = RowTotals.objects.filter(run_id=run_id).values_list("metric_type", "source", "payload")
        self._books: dict[Place, RowBook] = {(slug, source): RowBook(payload) for slug, source, payload in stored}
        self._changed: set[Place] = set()
        self._courses = set(courses)
        self._courses_of = Counter(source for _, source, _ in self._courses)
        self.left_out: set[Place] = set()
        """The types and sources of which not every row is kept over time."""

    def take(
        self, metric: Metric, source: str, readings: Sequence[Reading], sketches: Sequence[Found]
    ) -> tuple[list[Reading], list[Found]]:
        """Count one metric, and return what is to be kept over time; `source` is as the database stores it."""
        place = metric.metric_type, source
        book = self._books.setdefault(place, RowBook())
        for row, fields, values in readings:
            if row is not None and not book.add(row, metric.timestamp, fields, values):
                self.left_out.add(place)
        for row, named in sketches:
            if row is not None and (sketch := named.get(SKETCH)) is not None:
                book.add_sketch(row, sketch)
        self._changed.add(place)
        kept = {row for row, *_ in readings if self._keeps_course(metric.metric_type, source, row)}
        return [one for one in readings if one[0] in kept], [one for one in sketches if one[0] in kept]

    def _keeps_course(self, metric_type: str, source: str, row: str | None) -> bool:
        if row is None or (metric_type, source, row) in self._courses:
            return True
        count = len(self._courses)
        if count >= MAX_COURSES and (count >= MAX_COURSES * 3 // 2 or self._courses_of[source] >= RESERVED_COURSES):
            self.left_out.add((metric_type, source))
            return False
        self._courses.add((metric_type, source, row))
        self._courses_of[source] += 1
        return True

    def changes(self) -> list[RowTotals]:
        """Return what has to be written, and treat it as written."""
        changed, self._changed = self._changed, set()
        return [
            RowTotals(
                run_id=self._run_id,
                metric_type=metric_type,
                source=source,
                payload=self._books[metric_type, source].pack(level=OPEN_LEVEL),
            )
            for metric_type, source in changed
        ]
