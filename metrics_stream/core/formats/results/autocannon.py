"""autocannon's result as JSON: `autocannon --json`."""

from __future__ import annotations

from typing import Any

from metrics_stream.core.formats.results.figures import Figure, Results, Totals
from metrics_stream.core.formats.results.file import ResultFile
from metrics_stream.core.formats.results.numbers import (
    need,
    need_object,
    per_second,
    percent_of,
    read_count,
    read_number,
    read_when,
    rounded,
    stated,
)

NAME = "autocannon"
EXPECTED = "autocannon's result as JSON (autocannon --json)"

RULES = (
    "Requests are the answers and the requests without one (errors and timeouts).",
    "Failed are requests without an answer, and answers other than 2xx.",
    "The rate is the number of requests over the duration; autocannon's average is that of the answers of each second.",
    "autocannon measures response times in whole ms.",
)


def recognizes(file: ResultFile) -> bool:
    """Return whether a file is one of these."""
    if not file.is_json or not isinstance(file.document, dict):
        return False
    return all(isinstance(file.document.get(key), dict) for key in ("latency", "requests", "throughput"))


def read(file: ResultFile) -> Results:
    """Return the figures of a file; raise ResultFileError."""
    document = need_object(file.document, "the result")
    latency, requests = (need_object(document.get(key), f"`{key}`") for key in ("latency", "requests"))
    answered = read_count(need(requests.get("total"), "requests.total"), "requests.total")
    # `errors` include the timeouts.
    lost = read_count(document.get("errors", 0), "errors")
    seconds = rounded(need(document.get("duration"), "duration"), "duration")
    failures = lost + read_count(document.get("non2xx", 0), "non2xx")
    started_at, ended_at = (read_when(document.get(key), key) for key in ("start", "finish"))
    return Results(
        format=NAME,
        totals=Totals(
            requests=answered + lost,
            failures=min(failures, answered + lost),
            rate=per_second(answered + lost, seconds),
            duration_seconds=seconds,
            **(_times(latency) if answered else {}),
        ),
        started_at=started_at,
        ended_at=ended_at,
        rules=RULES,
    )


def _times(latency: dict[str, Any]) -> dict[str, Any]:
    return {
        "mean_ms": stated(latency.get("average"), "latency.average", within=0.5),
        "min_ms": stated(latency.get("min"), "latency.min", within=0.5),
        "max_ms": stated(latency.get("max"), "latency.max", within=0.5),
        "percentiles_ms": {
            percent: Figure(number, 0.5)
            for name, value in latency.items()
            if (percent := percent_of(name)) is not None
            and (number := read_number(value, f"latency.{name}")) is not None
        },
    }
