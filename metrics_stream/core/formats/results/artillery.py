"""Artillery's report as JSON: `artillery run --output`."""

from __future__ import annotations

import re
from typing import Any

from metrics_stream.core.errors import ResultFileError
from metrics_stream.core.formats.results.figures import Figure, NamedTotals, Results, Totals
from metrics_stream.core.formats.results.file import MAX_NAMES, ResultFile, quote_value, tidy_name
from metrics_stream.core.formats.results.numbers import (
    need_object,
    per_second,
    percent_of,
    read_count,
    read_number,
    rounded,
    sum_counts,
)

NAME = "artillery"
EXPECTED = "Artillery's report as JSON (artillery run --output)"

_TIMES = "http.response_time"
_CODE = re.compile(r"http\.codes\.(\d{3})", re.ASCII)
# The plugin metrics-by-endpoint counts each URL or name.
_ENDPOINT_TIMES = "plugins.metrics-by-endpoint.response_time."
_ENDPOINT_COUNT = re.compile(r"plugins\.metrics-by-endpoint\.(.+)\.(codes|errors)\.([^.]+)", re.DOTALL)

# Artillery counts response times in the bins of a DDSketch.
_BIN_ACCURACY = 0.01

RULES = (
    "Failed are requests without an answer, and answers from 400 on; Artillery itself counts failed users.",
    "The rate is the number of requests over the time from the first to the last that Artillery counted; Artillery's"
    " request_rate is an average of shorter times, without decimals.",
    "Artillery rounds single response times to whole ms, and its percentiles are exact within 1 %.",
)


def recognizes(file: ResultFile) -> bool:
    """Return whether a file is one of these."""
    return file.is_json and isinstance(file.document, dict) and isinstance(file.document.get("aggregate"), dict)


def read(file: ResultFile) -> Results:
    """Return the figures of a file; raise ResultFileError."""
    whole = need_object(need_object(file.document, "the report").get("aggregate"), "`aggregate`")
    if "counters" not in whole and "requestsCompleted" in whole:
        raise ResultFileError("this is a report of Artillery 1; allowed: those of Artillery 2")
    counters = need_object(whole.get("counters"), "`aggregate.counters`")
    summaries = need_object(whole.get("summaries", {}), "`aggregate.summaries`")
    first_ms, last_ms = (read_number(whole.get(name), name) for name in ("firstMetricAt", "lastMetricAt"))
    seconds = None
    if first_ms is not None and last_ms is not None:
        if last_ms < first_ms:
            raise quote_value("lastMetricAt", whole["lastMetricAt"], "an instant after firstMetricAt")
        seconds = Figure((last_ms - first_ms) / 1000)
    requests = read_count(counters.get("http.requests", 0), "http.requests")
    answered = read_count(counters.get("http.responses", 0), "http.responses")
    errors = sum_counts(((name, count) for name, count in counters.items() if _is_error(name)), "the count of")
    names, left_out = _names_in(counters, summaries)
    return Results(
        format=NAME,
        totals=_totals(requests, errors + max(0, requests - answered), summaries.get(_TIMES), seconds),
        by_name=names,
        names_left_out=left_out,
        started_at=None if first_ms is None else first_ms / 1000,
        ended_at=None if last_ms is None else last_ms / 1000,
        rules=RULES,
    )


def _is_error(counter: str) -> bool:
    found = _CODE.fullmatch(counter)
    return found is not None and int(found[1]) >= 400


def _totals(requests: int, failures: int, summary: Any, seconds: Figure | None) -> Totals:
    times = {} if summary is None else need_object(summary, _TIMES)
    return Totals(
        requests=requests,
        failures=min(failures, requests),
        rate=per_second(requests, seconds),
        duration_seconds=seconds,
        mean_ms=_time(times, "mean"),
        min_ms=_time(times, "min"),
        max_ms=_time(times, "max"),
        percentiles_ms={
            percent: figure
            for name in times
            if (percent := percent_of(name)) is not None and (figure := _percentile(times, name)) is not None
        },
    )


def _time(times: dict[str, Any], name: str) -> Figure | None:
    return rounded(times.get(name), name)


def _percentile(times: dict[str, Any], name: str) -> Figure | None:
    number = read_number(times.get(name), name)
    return None if number is None else Figure(number, 0.05 + number * _BIN_ACCURACY)


def _names_in(counters: dict[str, Any], summaries: dict[str, Any]) -> tuple[tuple[NamedTotals, ...], int]:
    counts: dict[str, list[int]] = {}
    for counter, value in counters.items():
        if found := _ENDPOINT_COUNT.fullmatch(counter):
            count = read_count(value, counter)
            entry = counts.setdefault(found[1], [0, 0])
            entry[0] += count
            failed = found[2] == "errors" or (found[3].isdecimal() and int(found[3]) >= 400)
            entry[1] += count if failed else 0
    names = tuple(
        NamedTotals(tidy_name(name), "", _totals(requests, failures, summaries.get(_ENDPOINT_TIMES + name), None))
        for name, (requests, failures) in list(counts.items())[:MAX_NAMES]
    )
    return names, max(0, len(counts) - MAX_NAMES)
