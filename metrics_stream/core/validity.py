"""Judge whether a stress test itself is valid: whether its load generator measured what it was told to measure.

Each rule looks at fields of the `system` metrics of one source, and says in words what is doubtful while it holds.
docs/metrics.md lists them. `client/validity.js` judges live metrics by the same rules, which the page gets as data; a
test compares the two.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

METRIC_TYPE = "system"

# A source that is silent for longer is judged no more.
SILENT_SECONDS = 15.0

Comparison = Literal["at_least", "below_share_of", "rises"]


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One reason for doubt.

    `at_least`: the field is `threshold` or more for `seconds`. `below_share_of`: it is less than the share `threshold`
    of the field `of` for `seconds`. `rises`: the counter has risen within the last `seconds`.
    """

    name: str
    field: str
    comparison: Comparison
    seconds: float
    threshold: float = 0.0
    of: str = ""
    words: str
    """What is doubtful; `{source}` and `{value}` stand for the source and the formatted value."""
    past: str
    """The same for a test that is over; `{value}` is the worst of the time."""
    unit: str


RULES: tuple[Rule, ...] = (
    # Locust measures its processor time every 5 s, and warns from 90 % of a core on.
    Rule(
        name="generator_cpu",
        field="generator_cpu_utilization",
        comparison="at_least",
        threshold=0.9,
        seconds=5.0,
        unit="ratio",
        words="load generator {source} is at {value} CPU: its response times may be too high",
        past="load generator {source} was at up to {value} CPU: its response times may be too high",
    ),
    # What a program that is late adds to the response times it measures; a tenth of a second changes every percentile.
    Rule(
        name="generator_lag",
        field="generator_lag_ms",
        comparison="at_least",
        threshold=100.0,
        seconds=5.0,
        unit="ms",
        words="load generator {source} lags by {value}: its response times may be too high by as much",
        past="load generator {source} lagged by up to {value}: its response times may be too high by as much",
    ),
    # Coordinated omission: who measures from the real start leaves the wait before it out (HdrHistogram, wrk2).
    Rule(
        name="late_schedule",
        field="schedule_lag_ms",
        comparison="at_least",
        threshold=100.0,
        seconds=5.0,
        unit="ms",
        words="load generator {source} starts requests {value} late: its response times may be too low",
        past="load generator {source} started requests up to {value} late: its response times may be too low",
    ),
    # By chance alone, counts of 400 requests vary by 5 %.
    Rule(
        name="below_target",
        field="throughput_tps",
        comparison="below_share_of",
        of="target_tps",
        threshold=0.95,
        seconds=10.0,
        unit="ratio",
        words="the load of {source} is {value} of its target: the figures are those of a lighter test",
        past="the load of {source} was down to {value} of its target: the figures are those of a lighter test",
    ),
    # k6 counts the iterations that it could not start in time: each of them is load that was not offered.
    Rule(
        name="dropped_iterations",
        field="dropped_iterations",
        comparison="rises",
        seconds=10.0,
        unit="count",
        words="load generator {source} has dropped {value} iterations: the load is lower than planned",
        past="load generator {source} dropped {value} iterations: the load was lower than planned",
    ),
    # The queue of a Broadcaster was full.
    Rule(
        name="generator_dropped_metrics",
        field="generator_dropped_metrics",
        comparison="rises",
        seconds=10.0,
        unit="count",
        words="load generator {source} has dropped {value} metrics: the figures are incomplete",
        past="load generator {source} dropped {value} metrics: the figures are incomplete",
    ),
)

FIELDS: tuple[str, ...] = tuple(dict.fromkeys(name for rule in RULES for name in (rule.field, rule.of) if name))
"""The fields that the rules look at."""


class Doubt(msgspec.Struct, frozen=True, kw_only=True):
    """A time in which a rule held for a source; instants are in seconds since 1970."""

    rule: Rule
    source: str
    began_at: float
    ended_at: float
    value: float
    """The worst value of the time; of a counter by how much it rose."""


class _State:
    """What is known of one rule and source."""

    __slots__ = ("began_at", "counter", "held_at", "is_due", "seen_at", "worst")

    def __init__(self) -> None:
        self.began_at: float | None = None
        self.held_at = -math.inf
        self.seen_at = -math.inf
        self.worst = 0.0
        self.counter: float | None = None
        self.is_due = False
        """Whether the rule has held for long enough."""

    def end(self) -> None:
        self.began_at, self.is_due, self.worst = None, False, 0.0


class Judge:
    """Judges the metrics of all sources of a test, in the order of their time."""

    def __init__(self, rules: Iterable[Rule] = RULES, *, silent_seconds: float = SILENT_SECONDS) -> None:
        """A source that is silent for `silent_seconds` is judged anew."""
        self._rules = tuple(rules)
        self._silent_seconds = silent_seconds
        self._states: dict[tuple[str, str], _State] = {}
        self.past: list[Doubt] = []
        """The doubts that have ended, in the order of their end."""

    def observe(self, source: str, at: float, data: Mapping[str, Any]) -> None:
        """Judge the data of one `system` metric; a field that is missing or no number says nothing."""
        for rule in self._rules:
            value = _number(data.get(rule.field))
            if value is None:
                continue
            if rule.comparison == "below_share_of":
                whole = _number(data.get(rule.of))
                if not whole or whole < 0:
                    continue
                value /= whole
            state = self._states.setdefault((source, rule.name), _State())
            if at < state.seen_at or at - state.seen_at > self._silent_seconds:
                self._end(rule, source, state)
                state.counter = None
            state.seen_at = at
            if rule.comparison == "rises":
                self._count(rule, source, state, at, value)
            else:
                self._compare(rule, source, state, at, value)

    def _compare(self, rule: Rule, source: str, state: _State, at: float, value: float) -> None:
        is_low = rule.comparison == "below_share_of"
        if not (value < rule.threshold if is_low else value >= rule.threshold):
            self._end(rule, source, state)
            return
        if state.began_at is None:
            state.began_at, state.worst = at, value
        state.held_at = at
        state.worst = min(state.worst, value) if is_low else max(state.worst, value)
        state.is_due = state.is_due or at - state.began_at >= rule.seconds

    def _count(self, rule: Rule, source: str, state: _State, at: float, value: float) -> None:
        before, state.counter = state.counter, value
        # A counter that falls belongs to a program that was started again.
        risen = 0.0 if before is None else max(0.0, value - before)
        if risen:
            if state.began_at is None:
                state.began_at = at
            state.held_at, state.is_due = at, True
            state.worst += risen
        elif state.began_at is not None and at - state.held_at > rule.seconds:
            self._end(rule, source, state)

    def _end(self, rule: Rule, source: str, state: _State) -> None:
        if state.began_at is not None and state.is_due:
            self.past.append(_doubt(rule, source, state, state.began_at))
        state.end()

    def current(self, now: float) -> list[Doubt]:
        """Return the doubts that hold, in the order of the rules and then of the sources."""
        return [
            _doubt(rule, source, state, state.began_at)
            for rule in self._rules
            for (source, name), state in sorted(self._states.items())
            if name == rule.name
            and state.began_at is not None
            and state.is_due
            and now - state.seen_at <= self._silent_seconds
        ]

    def all(self) -> list[Doubt]:
        """Return the doubts of a test that is over, the earliest first."""
        return sorted([*self.past, *self.current(-math.inf)], key=lambda doubt: doubt.began_at)


def _doubt(rule: Rule, source: str, state: _State, began_at: float) -> Doubt:
    return Doubt(rule=rule, source=source, began_at=began_at, ended_at=state.held_at, value=state.worst)


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None
