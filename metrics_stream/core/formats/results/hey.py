"""What hey prints: its summary, and with `-o csv` one row for each request."""

from __future__ import annotations

import re

from metrics_stream.core.formats.results.figures import Figure, Results, Totals
from metrics_stream.core.formats.results.file import ResultFile, incomplete
from metrics_stream.core.formats.results.numbers import need, percentiles, read_count, read_number, rounded
from metrics_stream.core.formats.results.samples import Samples

NAME = "hey"
EXPECTED = "hey's summary or table (hey -o csv)"

_COLUMNS = ("response-time", "status-code", "offset")

_LINE = re.compile(r"^\s*(Total|Slowest|Fastest|Average|Requests/sec):\s+(\S+)", re.MULTILINE)
_PERCENTILE = re.compile(r"^\s*(\d+(?:\.\d+)?)%+ in (\S+) secs", re.MULTILINE)
_STATUS = re.compile(r"^\s*\[(\d{3})\]\s+(\S+) responses\s*$", re.MULTILINE)
_ERROR = re.compile(r"^\s*\[(\d+)\]\s+(?!\S+ responses\s*$)\S", re.MULTILINE)

# hey keeps the status of so many answers, and counts the others nowhere.
_MOST_KEPT = 1_000_000

# The table has seconds with four decimals.
_ROUNDING_MS = 0.05

_FAILED = "Failed are requests without an answer, and answers from 400 on."
RULES = (
    _FAILED,
    "hey prints the percentile with the index ceil(percent * count / 100), counted from 0: one place above the"
    " nearest rank.",
    "hey prints times in seconds with four decimals.",
)
TABLE_RULES = (
    "hey's table has no requests without an answer.",
    "The duration is that from the first request to the last answer; hey's own contains its start.",
    "The table has times in seconds with four decimals.",
)


def recognizes(file: ResultFile) -> bool:
    """Return whether a file is one of these."""
    return _is_table(file) or all(word in file.head for word in ("Summary:", "Slowest:", "Fastest:", "Requests/sec:"))


def _is_table(file: ResultFile) -> bool:
    return all(name in file.first_line for name in _COLUMNS)


def read(file: ResultFile) -> Results:
    """Return the figures of a file; raise ResultFileError."""
    return _read_table(file) if _is_table(file) else _read_summary(file)


def _read_table(file: ResultFile) -> Results:
    samples = Samples(within_ms=_ROUNDING_MS)
    for row in file.table(_COLUMNS):
        seconds, offset = (need(read_number(row[name], name), name) for name in ("response-time", "offset"))
        status = read_count(row["status-code"], "status-code")
        samples.add(offset, seconds * 1000, failed=status >= 400)
    return Results(format=NAME, totals=samples.totals(), intervals=samples.intervals(), rules=TABLE_RULES)


def _read_summary(file: ResultFile) -> Results:
    text = file.text
    lines = dict(_LINE.findall(text))
    if missing := [name for name in ("Total", "Requests/sec") if name not in lines]:
        raise incomplete(f"hey's summary has no line {missing[0]!r}")
    if "Status code distribution:" not in text:
        raise incomplete("hey's summary has no status codes")
    answers, _, errors = text.partition("Error distribution:")
    statuses = [(int(status), read_count(count, f"[{status}]")) for status, count in _STATUS.findall(answers)]
    lost = sum(read_count(count, "a count of errors") for count in _ERROR.findall(errors))
    rate, seconds = rounded(lines["Requests/sec"], "Requests/sec"), rounded(lines["Total"], "Total")
    answered = sum(count for _, count in statuses)
    failures: int | None = lost + sum(count for status, count in statuses if status >= 400)
    requests = answered + lost
    if answered >= _MOST_KEPT and rate and seconds:
        requests, failures = round(rate.value * seconds.value), None
    if rate is not None and not requests and rate.value:
        raise incomplete("hey's summary has a rate and no requests")
    return Results(
        format=NAME,
        totals=Totals(
            requests=requests,
            failures=failures,
            rate=rate,
            duration_seconds=seconds,
            mean_ms=_time(lines, "Average") if answered else None,
            min_ms=_time(lines, "Fastest") if answered else None,
            max_ms=_time(lines, "Slowest") if answered else None,
            percentiles_ms=percentiles(_PERCENTILE.findall(text), factor=1000),
        ),
        rules=RULES,
    )


def _time(lines: dict[str, str], name: str) -> Figure | None:
    return rounded(lines.get(name), name, factor=1000)
