"""What two sides of a comparison measured, figure by figure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

# Figures whose medians differ by more than this are marked.
TOLERANCE = 0.05


@dataclass(frozen=True)
class Comparison:
    """One figure, with a value for each round, of this tree and of the commit."""

    scenario: str
    system: str
    name: str
    here: tuple[float, ...]
    there: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """The median of this tree divided by the commit's; infinite when only the latter is 0."""
        here, there = median(self.here), median(self.there)
        return here / there if there else 1.0 if here == there else float("inf")

    @property
    def is_outside(self) -> bool:
        """Whether the medians differ by more than TOLERANCE."""
        here, there = median(self.here), median(self.there)
        return abs(here - there) > TOLERANCE * there

    @property
    def is_control(self) -> bool:
        """Whether it is of a peer, which is the same program on both sides: its ratio shows the machine's noise."""
        return bool(self.system) and not self.system.startswith("metrics_stream")


def figures(document: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str, str], float]]:
    """Yield ((scenario, system, figure), value) for what one run has written with --json.

    Of a system these are its processor time per frame and per point, and the median age of its points. Of a scenario
    without systems they are the values that it has targets for.
    """
    for scenario, outcome in document["scenarios"].items():
        for row in outcome["rows"]:
            for name, value in _figures_of_row(row):
                yield (scenario, row["system"], name), value
        for goal in outcome["goals"]:
            if not outcome["rows"] and goal["value"] is not None:
                yield (scenario, "", f"{goal['what']},{goal['unit']}" if goal["unit"] else goal["what"]), goal["value"]


def _figures_of_row(row: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    if row.get("frames"):
        yield "CPU s/10k frames", 1e4 * row["cpu_seconds"] / row["frames"]
    if row.get("points"):
        yield "CPU s/M points", 1e6 * row["cpu_seconds"] / row["points"]
    if row.get("p50_ms") is not None:
        yield "age p50, ms", row["p50_ms"]


def compared(here: Sequence[Mapping[str, Any]], there: Sequence[Mapping[str, Any]]) -> list[Comparison]:
    """Return each figure that every round of both sides has."""
    rounds = [[dict(figures(document)) for document in side] for side in (here, there)]
    every = [each for side in rounds for each in side]
    return [
        Comparison(*key, *(tuple(each[key] for each in side) for side in rounds))
        for key in every[0]
        if all(key in each for each in every)
    ]


def undelivered(here: Sequence[Mapping[str, Any]], there: Sequence[Mapping[str, Any]], against: str) -> list[str]:
    """Return a line for each system that did not deliver all in some round."""
    lines = []
    for side, documents in (("this tree", here), (against, there)):
        for number, document in enumerate(documents, start=1):
            for scenario, outcome in document["scenarios"].items():
                lines += [
                    f"{scenario}, {row['system']}, {side}, round {number}: delivered {row['delivered']:,} "
                    f"of {row['expected']:,}"
                    for row in outcome["rows"]
                    if row.get("delivered", 0) < row.get("expected", 0)
                ]
    return lines


def _spread(values: Sequence[float]) -> str:
    return f"{median(values):.4g} ({min(values):.4g} to {max(values):.4g})"


def report(comparisons: Sequence[Comparison], against: str) -> str:
    """Return a table of medians with the least and the greatest value, and the ratio of the medians."""
    cells = [("", "this tree", against, "ratio", "")]
    for each in comparisons:
        name = ", ".join(part for part in (each.scenario, each.system, each.name) if part)
        mark = f"outside {TOLERANCE:.0%}" if each.is_outside else ""
        cells.append((name, _spread(each.here), _spread(each.there), f"{each.ratio:.3f}", mark))
    widths = [max(len(row[index]) for row in cells) for index in range(len(cells[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    ours = [each for each in comparisons if not each.is_control]
    lines.append(f"Outside {TOLERANCE:.0%}: {sum(each.is_outside for each in ours)} of {len(ours)} figures.")
    if len(ours) < len(comparisons):
        lines.append("Peers are the same program on both sides and not counted: their ratios show the machine's noise.")
    return "\n".join(lines)
