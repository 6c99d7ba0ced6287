"""What wrk and wrk2 print."""

from __future__ import annotations

import re

from metrics_stream.core.formats.results.figures import Figure, Results, Totals
from metrics_stream.core.formats.results.file import ResultFile, incomplete, quote_value
from metrics_stream.core.formats.results.numbers import need, per_second, percent_of, read_count, rounded

NAME = "wrk"
EXPECTED = "what wrk or wrk2 prints"

_DONE = re.compile(r"^\s*(\S+) requests in (\S+), \S+ read\s*$", re.MULTILINE)
_RATE = re.compile(r"^Requests/sec:\s+(\S+)", re.MULTILINE)
_LATENCY = re.compile(r"^\s*Latency\s+(\S+)\s+(\S+)\s+(\S+)\s+\S+\s*$", re.MULTILINE)
_DISTRIBUTION = re.compile(r"^\s*Latency Distribution.*\n((?:\s*\d+(?:\.\d+)?%\s+\S+\s*\n?)+)", re.MULTILINE)
_PERCENTILE = re.compile(r"^\s*(\d+(?:\.\d+)?)%\s+(\S+)", re.MULTILINE)
_SOCKET_ERRORS = re.compile(r"Socket errors: connect (\S+), read (\S+), write (\S+), timeout (\S+)")
_NOT_OK = re.compile(r"^\s*Non-2xx or 3xx responses: (\S+)", re.MULTILINE)
# The detailed spectrum of wrk2 has the number of its values and its highest one.
_SPECTRUM_MAX = re.compile(r"^#\[Max\s+=\s+(\S+), Total count", re.MULTILINE)

_UNITS_MS = {"us": 0.001, "ms": 1.0, "s": 1_000.0, "m": 60_000.0, "h": 3_600_000.0}
_TIME = re.compile(r"(-?nan|[\d.]+)(us|ms|s|m|h)")

RULES = (
    "Requests are the answers, and the requests that failed to connect, to be written or to be read.",
    "wrk's own rate is that of the answers.",
    "Failed are requests without an answer, answers other than 2xx and 3xx, and those after wrk's timeout.",
    "wrk prints times with three or more digits, in the unit that fits; percentiles by the nearest rank.",
)
WRK2_RULES = (
    *RULES,
    "wrk2 measures from the instant at which a request was due, so waiting counts as response time.",
)


def recognizes(file: ResultFile) -> bool:
    """Return whether a file is one of these."""
    return "Thread Stats" in file.head and "threads and" in file.head


def read(file: ResultFile) -> Results:
    """Return the figures of a file; raise ResultFileError."""
    text = file.text
    done, rate = _DONE.search(text), _RATE.search(text)
    if done is None or rate is None:
        raise incomplete("the output of wrk has no lines '… requests in …' and 'Requests/sec'")
    answered = read_count(done[1], "requests")
    connect, receive, write, late = (
        (read_count(count, "a count of socket errors") for count in found.groups())
        if (found := _SOCKET_ERRORS.search(text))
        else (0, 0, 0, 0)
    )
    lost = connect + receive + write
    not_ok = read_count(found[1], "Non-2xx or 3xx responses") if (found := _NOT_OK.search(text)) else 0
    latency = _LATENCY.search(text)
    duration = need(_time(done[2], "the duration"), "the duration")
    seconds = Figure(duration.value / 1000, duration.within / 1000)
    return Results(
        format=NAME,
        totals=Totals(
            requests=answered + lost,
            failures=min(answered + lost, not_ok + lost + late),
            rate=per_second(answered + lost, seconds) if lost else rounded(rate[1], "Requests/sec"),
            duration_seconds=seconds,
            mean_ms=_time(latency[1], "Latency Avg") if latency and answered else None,
            max_ms=_time(latency[3], "Latency Max") if latency and answered else None,
            percentiles_ms=_percentiles(text) if answered else {},
        ),
        rules=WRK2_RULES if "Thread calibration" in text or _SPECTRUM_MAX.search(text) else RULES,
    )


def _percentiles(text: str) -> dict[float, Figure]:
    """Return the percentiles of the first distribution; wrk2 can print a second one, of uncorrected times."""
    found = _DISTRIBUTION.search(text)
    if found is None:
        return {}
    return {
        percent: figure
        for name, value in _PERCENTILE.findall(found[1])
        if (percent := percent_of(name)) is not None and (figure := _time(value, f"{name}%")) is not None
    }


def _time(text: str, what: str) -> Figure | None:
    found = _TIME.fullmatch(text)
    if found is None:
        raise quote_value(what, text, "a time such as 3.52ms")
    return rounded(found[1], what, factor=_UNITS_MS[found[2]])
