"""Compare the totals of a test run with those of the tool that made the load, figure by figure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import starmap
from typing import Any, NamedTuple

from metrics_stream.core.formats.results.figures import Figure, NamedTotals, Results, Totals
from metrics_stream.core.formatting import NO_VALUE
from metrics_stream.core.metrics.key_parts import key_part

# Sums of floats differ in their last digits.
_FLOAT_ACCURACY = 1e-9

MAX_TOLERANCE_PERCENT = 100.0


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of both; None where one of them does not have it.

    `may_differ` is how far rounding alone may put them apart, with the tolerance that was asked for.
    """

    figure: str
    unit: str
    run: float | None
    tool: float | None
    may_differ: float = 0.0

    @property
    def difference(self) -> float | None:
        """The run's value less the tool's."""
        return None if self.run is None or self.tool is None else self.run - self.tool

    @property
    def percent(self) -> float | None:
        """The difference in per cent of the tool's value; None if that is 0."""
        return None if self.difference is None or not self.tool else self.difference / self.tool * 100

    @property
    def is_equal(self) -> bool | None:
        """Whether they agree; None if one of them is unknown."""
        if self.difference is None or self.tool is None:
            return None
        return abs(self.difference) <= self.may_differ + _FLOAT_ACCURACY * max(1.0, abs(self.tool))


class NamedRows(NamedTuple):
    """The figures of the requests of one name and method; the method is empty where the tool has none."""

    name: str
    method: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The figures of a run beside those of a tool: of everything, and of each name that both have."""

    run: str
    """The slug of the run."""
    format: str
    tolerance_percent: float
    rows: tuple[Row, ...]
    run_rules: tuple[str, ...]
    """How the run counts."""
    tool_rules: tuple[str, ...]
    """How the tool counts."""
    names: tuple[NamedRows, ...] = ()
    only_in_run: tuple[str, ...] = ()
    """Names of requests that the file does not have; empty if the run or the file has none at all."""
    only_in_tool: tuple[str, ...] = ()

    @property
    def all_rows(self) -> list[Row]:
        """The figures of everything, and those of each name."""
        return [*self.rows, *(row for name in self.names for row in name.rows)]

    @property
    def compared(self) -> int:
        """How many figures both have."""
        return sum(row.is_equal is not None for row in self.all_rows)

    @property
    def is_equal(self) -> bool:
        """Whether both have a figure, and all figures and names that both could have agree."""
        has_others = bool(self.only_in_run or self.only_in_tool)
        return self.compared > 0 and not has_others and all(row.is_equal is not False for row in self.all_rows)

    def describe(self) -> dict[str, Any]:
        """Return the comparison as data for JSON."""
        return {
            "run": self.run,
            "format": self.format,
            "tolerance_percent": self.tolerance_percent,
            "equal": self.is_equal,
            "figures": [_describe(row) for row in self.rows],
            "names": [
                {"name": one.name, "method": one.method, "figures": [_describe(row) for row in one.rows]}
                for one in self.names
            ],
            "only_in_run": list(self.only_in_run),
            "only_in_tool": list(self.only_in_tool),
            "run_rules": list(self.run_rules),
            "tool_rules": list(self.tool_rules),
        }


def _describe(row: Row) -> dict[str, Any]:
    return {
        "figure": row.figure,
        "unit": row.unit,
        "run": row.run,
        "tool": row.tool,
        "difference": row.difference,
        "percent": row.percent,
        "may_differ": row.may_differ,
        "equal": row.is_equal,
    }


def compare(
    slug: str,
    run: Totals,
    results: Results,
    *,
    named: Sequence[NamedTotals] = (),
    tolerance_percent: float = 0.0,
    run_rules: Sequence[str] = (),
) -> Comparison:
    """Return the comparison of a run's totals with a result file; figures that neither has are left out.

    `named` are the run's figures by name and method. A name of a tool that knows no methods stands for the only method
    that the run has of it.
    """
    pairs, only_in_run, only_in_tool = _match(named, results.by_name)
    return Comparison(
        slug,
        results.format,
        tolerance_percent,
        _rows(run, results.totals, tolerance_percent),
        tuple(run_rules),
        results.rules,
        tuple(
            NamedRows(ours.name, ours.method, _rows(ours.totals, theirs.totals, tolerance_percent))
            for ours, theirs in pairs
        ),
        only_in_run,
        only_in_tool,
    )


def _match(
    ours: Sequence[NamedTotals], theirs: Sequence[NamedTotals]
) -> tuple[list[tuple[NamedTotals, NamedTotals]], tuple[str, ...], tuple[str, ...]]:
    """Return the pairs of the same request, and the names that only one of both has."""
    if not ours or not theirs:
        return [], (), ()
    left = {(one.name, one.method): one for one in ours}
    of_name: dict[str, list[NamedTotals]] = {}
    for one in ours:
        of_name.setdefault(one.name, []).append(one)
    pairs, only_in_tool = [], []
    for tool in theirs:
        # A name of a run is one line of a bounded length.
        name, method = key_part(tool.name), tool.method
        found = of_name.get(name, [])
        if not method and len(found) == 1:
            method = found[0].method
        if (own := left.pop((name, method), None)) is None:
            only_in_tool.append(_label(tool.name, tool.method))
        else:
            pairs.append((own, tool))
    return pairs, tuple(starmap(_label, left)), tuple(only_in_tool)


def _label(name: str, method: str) -> str:
    return f"{method} {name}".strip()


def _rows(run: Totals, tool: Totals, tolerance_percent: float) -> tuple[Row, ...]:
    return tuple(
        _row(name, unit, ours, theirs, tolerance_percent)
        for name, unit, ours, theirs in _pairs(run, tool)
        if ours is not None or theirs is not None
    )


def _row(name: str, unit: str, ours: Figure | None, theirs: Figure | None, tolerance_percent: float) -> Row:
    if ours is None or theirs is None:
        return Row(name, unit, ours and ours.value, theirs and theirs.value)
    may_differ = ours.within + theirs.within + abs(theirs.value) * tolerance_percent / 100
    return Row(name, unit, ours.value, theirs.value, may_differ)


def _pairs(run: Totals, tool: Totals) -> Iterator[tuple[str, str, Figure | None, Figure | None]]:
    yield "requests", "", _exact(run.requests), _exact(tool.requests)
    yield "failures", "", _exact(run.failures), _exact(tool.failures)
    yield "failure ratio", "", _exact(run.failure_ratio), _exact(tool.failure_ratio)
    yield "rate", "/s", run.rate, tool.rate
    yield "duration", "s", run.duration_seconds, tool.duration_seconds
    yield "mean", "ms", run.mean_ms, tool.mean_ms
    yield "min", "ms", run.min_ms, tool.min_ms
    for percent in sorted(tool.percentiles_ms):
        # The last percentile is the maximum, of which tools write other digits in its own place.
        if percent < 100 or tool.max_ms is None:
            yield f"p{percent:g}", "ms", run.percentiles_ms.get(percent), tool.percentiles_ms[percent]
    yield "max", "ms", run.max_ms, tool.max_ms


def _exact(value: float | None) -> Figure | None:
    return None if value is None else Figure(float(value))


# --- as text ---

_HEADER = ("", "run", "tool", "difference", "per cent", "may differ", "")
_WORDS = {True: "equal", False: "differs", None: "unknown"}


def table(comparison: Comparison) -> list[str]:
    """Return the lines of a table for people, and below it how both count."""
    cells = [_HEADER, *(_cells(row) for row in comparison.rows)]
    for one in comparison.names:
        cells += [
            (_label(one.name, one.method), *[""] * (len(_HEADER) - 1)),
            *(_cells(row, indent="  ") for row in one.rows),
        ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            text.ljust(width) if place in (0, len(widths) - 1) else text.rjust(width)
            for place, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]
    return [
        *lines,
        *_list_rules("Only in the run:", comparison.only_in_run),
        *_list_rules("Only in the file:", comparison.only_in_tool),
        *_list_rules("The run:", comparison.run_rules),
        *_list_rules("The tool:", comparison.tool_rules),
    ]


def _list_rules(title: str, rules: Iterable[str]) -> list[str]:
    listed = [f"- {rule}" for rule in rules]
    return ["", title, *listed] if listed else []


def _cells(row: Row, indent: str = "") -> tuple[str, ...]:
    name = indent + (f"{row.figure} ({row.unit})" if row.unit else row.figure)
    numbers = (row.run, row.tool, row.difference, row.percent, row.may_differ or None)
    return (name, *map(_number, numbers), _WORDS[row.is_equal])


def _number(value: float | None) -> str:
    if value is None:
        return NO_VALUE
    text = f"{value:,.3f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
