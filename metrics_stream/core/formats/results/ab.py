"""What ab (ApacheBench) prints, and its table of percentiles (`ab -e`)."""

from __future__ import annotations

import re

from metrics_stream.core.formats.results.figures import Results, Totals
from metrics_stream.core.formats.results.file import ResultFile, incomplete
from metrics_stream.core.formats.results.numbers import percentiles, read_count, rounded

NAME = "ab"
EXPECTED = "what ab prints, or its table of percentiles (ab -e)"

_COLUMNS = ("Percentage served", "Time in ms")

_LINE = re.compile(
    r"^(Complete requests|Failed requests|Non-2xx responses|Time taken for tests|Requests per second):\s+(\S+)",
    re.MULTILINE,
)
_CAUSES = re.compile(r"^\s+\(Connect: (\S+), Receive: (\S+), Length: (\S+), Exceptions: (\S+)\)", re.MULTILINE)
_TIMES = re.compile(r"^Total:\s+(\S+)\s+(\S+)\s+\S+\s+(\S+)\s+(\S+)\s*$", re.MULTILINE)
_PERCENTILE = re.compile(r"^\s*(\d{1,3})%\s+(\d+)(?: \(longest request\))?\s*$", re.MULTILINE)

RULES = (
    "Failed are requests without an answer, and answers other than 2xx. ab's own count has answers of another length"
    " than the first, and no answers such as 404 of the same length.",
    "ab prints times in whole ms, and the percentile with the index floor(percent * count / 100), counted from 0.",
)
TABLE_RULES = ("The table of ab has percentiles only: that with the index floor(percent * count / 100), from 0.",)


def recognizes(file: ResultFile) -> bool:
    """Return whether a file is one of these."""
    return _is_table(file) or "This is ApacheBench" in file.head or "Concurrency Level:" in file.head


def _is_table(file: ResultFile) -> bool:
    return all(name in file.first_line for name in _COLUMNS)


def read(file: ResultFile) -> Results:
    """Return the figures of a file; raise ResultFileError."""
    return _read_table(file) if _is_table(file) else _read_report(file)


def _read_table(file: ResultFile) -> Results:
    served = percentiles((row[_COLUMNS[0]].strip(), row[_COLUMNS[1]]) for row in file.table(_COLUMNS))
    if 100.0 not in served:
        raise incomplete("the table ends before 100 %")
    # Its first row is the least time, not a percentile.
    least = served.pop(0.0, None)
    totals = Totals(min_ms=least, max_ms=served[100.0], percentiles_ms=served)
    return Results(format=NAME, totals=totals, rules=TABLE_RULES)


def _read_report(file: ResultFile) -> Results:
    text = file.text
    lines = dict(_LINE.findall(text))
    for name in ("Complete requests", "Failed requests", "Time taken for tests", "Requests per second"):
        if name not in lines:
            raise incomplete(f"the output of ab has no line {name!r}")
    requests = read_count(lines["Complete requests"], "Complete requests")
    times = _TIMES.search(text) if requests else None
    return Results(
        format=NAME,
        totals=Totals(
            requests=requests,
            failures=min(requests, _count_failures(text, lines)),
            rate=rounded(lines["Requests per second"], "Requests per second"),
            duration_seconds=rounded(lines["Time taken for tests"], "Time taken for tests"),
            mean_ms=rounded(times[2], "Total") if times else None,
            min_ms=rounded(times[1], "Total") if times else None,
            max_ms=rounded(times[4], "Total") if times else None,
            percentiles_ms=percentiles(_PERCENTILE.findall(text)) if times else {},
        ),
        rules=RULES,
    )


def _count_failures(text: str, lines: dict[str, str]) -> int:
    failed = read_count(lines["Failed requests"], "Failed requests")
    not_ok = read_count(lines.get("Non-2xx responses", "0"), "Non-2xx responses")
    causes = _CAUSES.search(text)
    if causes is None:
        return failed + not_ok
    connect, receive, _, exceptions = (read_count(count, "a cause of failed requests") for count in causes.groups())
    return connect + receive + exceptions + not_ok
