"""The figures that result files of all load tools are read into."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from metrics_stream.core.metrics.sketch import EncodedSketch


class Figure(NamedTuple):
    """A number of a tool; because the tool rounds it, the exact one lies up to `within` above or below."""

    value: float
    within: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """The figures of a whole test, or of one name in it; None for what the tool does not say.

    `requests` are those that ended, with or without an answer; `failures` are those of them that failed.
    """

    requests: int | None = None
    failures: int | None = None
    rate: Figure | None = None
    """Requests per second, over the whole test."""
    duration_seconds: Figure | None = None
    mean_ms: Figure | None = None
    min_ms: Figure | None = None
    max_ms: Figure | None = None
    percentiles_ms: Mapping[float, Figure] = field(default_factory=dict)
    """Percentiles by the percentage: 99.9 for the p99.9."""

    @property
    def failure_ratio(self) -> float | None:
        """The share of failed requests, 0 to 1; None if unknown or without requests."""
        return None if self.failures is None or not self.requests else self.failures / self.requests


class NamedTotals(NamedTuple):
    """The figures of the requests of one name; the method is empty where the tool has none."""

    name: str
    method: str
    totals: Totals


class Interval(NamedTuple):
    """The requests that ended within `seconds` from `starts_at` on, an instant as in `Results`."""

    starts_at: float
    seconds: float
    requests: int
    failures: int
    mean_ms: float
    min_ms: float
    response_times: EncodedSketch


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """What a result file says. Instants are seconds since 1970; without `started_at`, since the start of the test."""

    format: str
    totals: Totals
    by_name: tuple[NamedTotals, ...] = ()
    names_left_out: int = 0
    """How many further names the file has."""
    started_at: float | None = None
    ended_at: float | None = None
    intervals: tuple[Interval, ...] = ()
    """The course of the test, where the file has it."""
    rules: tuple[str, ...] = ()
    """How the tool counts where others count differently: sentences for people."""
