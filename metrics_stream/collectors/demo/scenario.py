"""The story of the simulated stress test: how much load it asks for at which moment, and which agent gets ill when.

Part of the demo; pure. Everything is a share of the cycle, so that a test of ten seconds tells the same story as one of
four minutes.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

Phase = Literal["ramp", "plateau", "spike", "recovery"]

CYCLE_SECONDS = 240.0
"""An endless test repeats its story after this time: long enough for a chart of five minutes to hold one of each."""

PHASES: tuple[tuple[float, Phase], ...] = ((0.20, "ramp"), (0.52, "plateau"), (0.66, "spike"), (1.0, "recovery"))
"""The share of the cycle at which each phase ends."""

# Share of the cycle → load, as a share of what the healthy agents can do together. The spike's two points stand for 1
# here and are replaced by the cycle's own peak. The ends are equal, so that cycles join.
_LOAD: tuple[tuple[float, float], ...] = (
    (0.00, 0.22), (0.04, 0.34), (0.20, 0.70), (0.36, 0.68), (0.52, 0.72),
    (0.55, 1.00), (0.62, 1.00), (0.66, 0.66), (0.80, 0.55), (1.00, 0.22),
)  # fmt: skip
_PEAK_POINTS = frozenset({0.55, 0.62})

# Share of the cycle → how ill the failing agent is, 0 to 1. It happens on the plateau, where nothing else explains it.
_ILLNESS: tuple[tuple[float, float], ...] = ((0.24, 0.0), (0.33, 1.0), (0.40, 1.0), (0.48, 0.0))


@dataclass(frozen=True, slots=True)
class Moment:
    """What the story says of one instant."""

    cycle: int
    phase: Phase
    load: float
    """Requests asked for, as a share of what all agents can do when healthy."""
    illness: float
    """How ill the failing agent is: 0 is well, 1 is at its worst."""
    failing_agent: int
    """Which agent it is in this cycle, as an index."""


class Scenario:
    """The story of one seed; with a duration it is told once, else again and again."""

    def __init__(self, seed: int, agents: int, duration_seconds: float) -> None:
        self._seed = seed
        self._agents = agents
        self._duration = duration_seconds

    def at(self, elapsed_seconds: float) -> Moment:
        """Return the moment `elapsed_seconds` after the start; past the end of a finite test, its last one."""
        if self._duration > 0:
            cycle, share = 0, min(1.0, elapsed_seconds / self._duration)
        else:
            cycle = int(elapsed_seconds // CYCLE_SECONDS)
            share = elapsed_seconds / CYCLE_SECONDS - cycle
        # From the seed and the cycle alone, so that it does not matter when and how often this is called.
        chance = random.Random(f"{self._seed}/{cycle}")  # noqa: S311
        failing_agent = chance.randrange(self._agents)
        peak = chance.uniform(1.04, 1.10)
        load = tuple((point, peak if point in _PEAK_POINTS else value) for point, value in _LOAD)
        return Moment(
            cycle=cycle,
            phase=next(phase for end, phase in PHASES if share < end or end == 1.0),
            load=_interpolate(load, share),
            illness=_interpolate(_ILLNESS, share),
            failing_agent=failing_agent,
        )


def _interpolate(points: tuple[tuple[float, float], ...], at: float) -> float:
    """Return the value at `at` between the points, eased in and out; before and after them, the end's."""
    if at <= points[0][0]:
        return points[0][1]
    for (left, before), (right, after) in pairwise(points):
        if at < right:
            share = (at - left) / (right - left)
            return before + (after - before) * share * share * (3 - 2 * share)
    return points[-1][1]
