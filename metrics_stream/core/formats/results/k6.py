"""k6's summary as JSON: `--summary-export`, what `handleSummary` gets, and the machine-readable one of k6 1.x."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from metrics_stream.core.errors import ResultFileError
from metrics_stream.core.formats.results.figures import Figure, NamedTotals, Results, Totals
from metrics_stream.core.formats.results.file import MAX_NAMES, ResultFile, tidy_name
from metrics_stream.core.formats.results.numbers import (
    need,
    need_object,
    per_second,
    percent_of,
    read_count,
    read_number,
    read_when,
    stated,
)

NAME = "k6"
EXPECTED = "k6's summary as JSON (--summary-export, or handleSummary)"

_REQUESTS, _FAILED, _TIMES = "http_reqs", "http_req_failed", "http_req_duration"

# A threshold of one name makes a metric of its own.
_NAMED = re.compile(r"(http_reqs|http_req_failed|http_req_duration)\{(?:[^{}]*,)?name:([^{},]+)(?:,[^{}]*)?\}")

RULES = (
    "k6 interpolates percentiles between the two nearest response times.",
    "k6 measures the rate over the whole run, with setup and teardown.",
)


def recognizes(file: ResultFile) -> bool:
    """Return whether a file is one of these."""
    return file.is_json and isinstance(file.document, dict) and _metrics_in(file.document) is not None


def read(file: ResultFile) -> Results:
    """Return the figures of a file; raise ResultFileError."""
    document = need_object(file.document, "the summary")
    metrics = _metrics_in(document)
    if metrics is None:
        raise ResultFileError(f"the document has no `metrics`; allowed: {EXPECTED}")
    if _REQUESTS not in metrics:
        raise ResultFileError(f"the summary has no metric {_REQUESTS}; allowed: that of a test with HTTP requests")
    seconds = _seconds_in(document)
    totals = _totals(metrics[_REQUESTS], metrics.get(_FAILED), metrics.get(_TIMES), seconds)
    names, left_out = _names_in(metrics, seconds)
    return Results(
        format=NAME,
        totals=totals,
        by_name=names,
        names_left_out=left_out,
        ended_at=_end_in(document),
        rules=RULES,
    )


def _metrics_in(document: dict[str, Any]) -> dict[str, Mapping[str, Any]] | None:
    """Return the values of each metric by its name; None if there are no metrics as k6 has them."""
    metrics = document.get("metrics")
    if isinstance(metrics, dict):
        return {name: _values_of(metric) for name, metric in metrics.items() if isinstance(metric, dict)}
    results = document.get("results")
    listed = results.get("metrics") if isinstance(results, dict) else None
    if isinstance(listed, list):
        return {str(metric.get("name")): _values_of(metric) for metric in listed if isinstance(metric, dict)}
    return None


def _values_of(metric: dict[str, Any]) -> Mapping[str, Any]:
    values = metric.get("values")
    return values if isinstance(values, dict) else metric


def _seconds_in(document: dict[str, Any]) -> Figure | None:
    state, config = document.get("state"), document.get("config")
    if isinstance(state, dict):
        milliseconds = read_number(state.get("testRunDurationMs"), "testRunDurationMs")
        return None if milliseconds is None else Figure(milliseconds / 1000)
    return stated(config.get("duration"), "config.duration") if isinstance(config, dict) else None


def _totals(
    counted: Mapping[str, Any],
    failed: Mapping[str, Any] | None,
    times: Mapping[str, Any] | None,
    seconds: Figure | None,
) -> Totals:
    requests = read_count(need(counted.get("count"), f"count of {_REQUESTS}"), f"count of {_REQUESTS}")
    rate = stated(counted.get("rate"), f"rate of {_REQUESTS}")
    if seconds is None and rate is not None and rate.value:
        # The export leaves the duration out, but the rate was calculated with it.
        seconds = Figure(requests / rate.value)
    elif rate is None:
        rate = per_second(requests, seconds)
    failures = None
    if failed is not None:
        failures = read_count(failed.get("passes", failed.get("matches")), f"passes of {_FAILED}")
    times = {} if times is None or not requests else times
    return Totals(
        requests=requests,
        failures=failures,
        rate=rate,
        duration_seconds=seconds,
        mean_ms=stated(times.get("avg"), "avg"),
        min_ms=stated(times.get("min"), "min"),
        max_ms=stated(times.get("max"), "max"),
        percentiles_ms={
            percent: figure
            for name, value in times.items()
            if (percent := percent_of(name)) is not None and (figure := stated(value, name)) is not None
        },
    )


def _names_in(metrics: Mapping[str, Mapping[str, Any]], seconds: Figure | None) -> tuple[tuple[NamedTotals, ...], int]:
    parts: dict[str, dict[str, Mapping[str, Any]]] = {}
    for metric, values in metrics.items():
        if found := _NAMED.fullmatch(metric):
            parts.setdefault(found[2], {})[found[1]] = values
    named = {name: part for name, part in parts.items() if _REQUESTS in part}
    names = tuple(
        NamedTotals(tidy_name(name), "", _totals(part[_REQUESTS], part.get(_FAILED), part.get(_TIMES), seconds))
        for name, part in list(named.items())[:MAX_NAMES]
    )
    return names, max(0, len(named) - MAX_NAMES)


def _end_in(document: dict[str, Any]) -> float | None:
    """Return when the summary was made, None where it does not say it."""
    metadata = document.get("metadata")
    return read_when(metadata.get("generatedAt"), "generatedAt") if isinstance(metadata, dict) else None
