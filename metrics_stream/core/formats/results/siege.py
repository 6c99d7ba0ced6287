"""What siege prints: a report as text, or as JSON (`siege -j`, which Debian has as its default)."""

from __future__ import annotations

import re

from metrics_stream.core.formats.results.figures import Figure, Results, Totals
from metrics_stream.core.formats.results.file import ResultFile, incomplete
from metrics_stream.core.formats.results.numbers import per_second, read_count, rounded

NAME = "siege"
EXPECTED = "the report of siege, as text or JSON"

_LINE = re.compile(
    r'^[\s{]*"?(transactions|availability|elapsed[ _]time|response[ _]time|transaction[ _]rate|failed[ _]transactions'
    r'|longest[ _]transaction|shortest[ _]transaction)"?:\s+(\S+?)(?:[ \t]+(ms))?(?:,|\s|$)',
    re.MULTILINE | re.IGNORECASE,
)
_NEEDED = ("transactions", "failed transactions", "elapsed time", "transaction rate", "response time")

RULES = (
    "Requests are siege's transactions and failed transactions; siege's rate counts only the former.",
    "Failed are requests without an answer, and answers that siege counts as failed: those from 400 on.",
    "siege prints times in seconds, newer ones response times in ms, with two decimals, and no percentiles.",
)


def recognizes(file: ResultFile) -> bool:
    """Return whether a file is one of these."""
    names = {name.lower() for name, *_ in _LINE.findall(file.head)}
    return {"transactions", "availability"} <= names


def read(file: ResultFile) -> Results:
    """Return the figures of a file; raise ResultFileError."""
    # A file that siege was run into twice has two reports; the last one counts.
    found = {name.lower().replace("_", " "): (value, unit) for name, value, unit in _LINE.findall(file.text)}
    lines = {name: value for name, (value, _) in found.items()}
    if missing := [name for name in _NEEDED if name not in lines]:
        raise incomplete(f"the report of siege has no line {missing[0]!r}")
    answered, failed = (read_count(lines[name], name) for name in ("transactions", "failed transactions"))
    seconds = rounded(lines["elapsed time"], "elapsed time")
    return Results(
        format=NAME,
        totals=Totals(
            requests=answered + failed,
            failures=failed,
            rate=per_second(answered + failed, seconds),
            duration_seconds=seconds,
            mean_ms=_time(found, "response time") if answered else None,
            min_ms=_time(found, "shortest transaction") if answered else None,
            max_ms=_time(found, "longest transaction") if answered else None,
        ),
        rules=RULES,
    )


def _time(found: dict[str, tuple[str, str]], name: str) -> Figure | None:
    """Return a time in milliseconds; without a unit it is in seconds."""
    if name not in found:
        return None
    value, unit = found[name]
    return rounded(value, name, factor=1 if unit == "ms" else 1000)
