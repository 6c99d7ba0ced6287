"""Locust's table of statistics: `…_stats.csv` of `locust --csv`."""

from __future__ import annotations

from metrics_stream.core.errors import ResultFileError
from metrics_stream.core.formats.results.figures import Figure, NamedTotals, Results, Totals
from metrics_stream.core.formats.results.file import MAX_NAMES, ResultFile, incomplete, quote_value, tidy_name
from metrics_stream.core.formats.results.numbers import percent_of, read_count, read_number, stated

NAME = "locust"
EXPECTED = "Locust's …_stats.csv"

_COUNTS = ("Request Count", "Failure Count")
_NEEDED = ("Name", *_COUNTS, "Average Response Time", "Min Response Time", "Max Response Time", "Requests/s")
_TOTAL = "Aggregated"

RULES = (
    "The duration is calculated from Locust's count and rate, which reach to its last answer.",
    "Locust rounds percentiles: to whole ms below 100 ms, then to two digits.",
    "Locust writes the file once a second, and the requests of its last moments may be missing in it.",
)


def recognizes(file: ResultFile) -> bool:
    """Return whether a file is one of these, or another file of `locust --csv`."""
    return all(name in file.first_line for name in ("Name", *_COUNTS)) or _is_other(file)


def _is_other(file: ResultFile) -> bool:
    first = file.first_line
    return first.startswith(("Method,Name,Error", "Count,Message,Traceback")) or "Total Request Count" in first


def read(file: ResultFile) -> Results:
    """Return the figures of a file; raise ResultFileError."""
    if _is_other(file):
        raise ResultFileError(f"this is another file of Locust; allowed: {EXPECTED}")
    totals = None
    names: list[NamedTotals] = []
    left_out = 0
    for row in file.table(_NEEDED):
        name, method = row["Name"], row.get("Type", "")
        if name == _TOTAL and not method:
            if totals is not None:
                raise ResultFileError(f"the file has two rows {_TOTAL!r}; allowed: one")
            totals = _totals(row, name)
        elif len(names) < MAX_NAMES:
            names.append(NamedTotals(tidy_name(name), method[:20], _totals(row, name)))
        else:
            left_out += 1
    if totals is None:
        raise incomplete(f"the file has no row {_TOTAL!r}")
    return Results(format=NAME, totals=totals, by_name=tuple(names), names_left_out=left_out, rules=RULES)


def _totals(row: dict[str, str], name: str) -> Totals:
    requests, failures = (read_count(row[column], f"{column} of {name[:60]!r}") for column in _COUNTS)
    if failures > requests:
        raise quote_value(f"Failure Count of {name[:60]!r}", failures, f"at most the Request Count, {requests}")
    if not requests:
        return Totals(requests=0, failures=0, rate=stated(row["Requests/s"], "Requests/s"))
    mean, least, most = (stated(row[f"{word} Response Time"], word) for word in ("Average", "Min", "Max"))
    rate = stated(row["Requests/s"], "Requests/s")
    return Totals(
        requests=requests,
        failures=failures,
        rate=rate,
        duration_seconds=Figure(requests / rate.value) if rate and rate.value else None,
        mean_ms=mean,
        min_ms=least,
        max_ms=most,
        percentiles_ms={
            percent: Figure(value, _rounding(value))
            for column, text in row.items()
            if column.endswith("%")
            and (percent := percent_of(column)) is not None
            and (value := read_number(text, column)) is not None
        },
    )


def _rounding(value: float) -> float:
    """Return half of the step to which Locust rounds a response time of this size."""
    return next((step / 2 for bound, step in ((100, 1), (1_000, 10), (10_000, 100)) if value < bound), 500.0)
