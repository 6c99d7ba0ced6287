"""Noise of the simulated stress test: values that wander around 0 and remember where they were."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping


class Noise:
    """Named Ornstein-Uhlenbeck processes; they do not depend on the length of the steps."""

    def __init__(self, chance: random.Random, table: Mapping[str, tuple[float, float]]) -> None:
        """`table` has the spread and the memory in seconds of each process."""
        self._chance = chance
        self._table = table
        self._values = {name: chance.gauss(0.0, spread) for name, (spread, _) in table.items()}

    def __getitem__(self, name: str) -> float:
        return self._values[name]

    def advance(self, name: str, seconds: float) -> float:
        """Return the value `seconds` later; at most three spreads from 0."""
        spread, memory_seconds = self._table[name]
        kept = math.exp(-seconds / memory_seconds)
        moved = kept * self._values[name] + spread * math.sqrt(1 - kept * kept) * self._chance.gauss(0.0, 1.0)
        self._values[name] = max(-3 * spread, min(3 * spread, moved))
        return self._values[name]
