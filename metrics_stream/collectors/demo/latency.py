"""Response times of the simulated agents: each a lognormal distribution, together a mixture of them.

Percentiles of the system come from the mixture: a single slow agent shows in p99 long before it shows in the average,
as in real systems.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import NormalDist

_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Latency:
    """A lognormal distribution of response times by its mean, in ms, and the sigma of its logarithm."""

    mean_ms: float
    sigma: float

    @property
    def _mu(self) -> float:
        return math.log(self.mean_ms) - self.sigma**2 / 2

    def percentile(self, share: float) -> float:
        """Return the time in ms that `share` of the responses need at most."""
        return math.exp(self._mu + self.sigma * _NORMAL.inv_cdf(share))

    def share_within(self, milliseconds: float) -> float:
        """Return the share of responses that need at most `milliseconds`."""
        return _NORMAL.cdf((math.log(milliseconds) - self._mu) / self.sigma)


class Mixture:
    """The response times of several agents, each with the weight of its requests."""

    def __init__(self, parts: list[tuple[float, Latency]]) -> None:
        total = sum(weight for weight, _ in parts)
        self._parts = [(weight / total, latency) for weight, latency in parts]

    @property
    def mean_ms(self) -> float:
        """Return the average response time."""
        return sum(weight * latency.mean_ms for weight, latency in self._parts)

    def spread(self, kinds: Iterable[tuple[float, float]]) -> Mixture:
        """Return the mixture of kinds of requests, each a share of all and by how many times its responses are slower.

        The mean stays if the shares times the slownesses add up to 1.
        """
        return Mixture(
            [
                (weight * share, Latency(latency.mean_ms * slowness, latency.sigma))
                for share, slowness in kinds
                for weight, latency in self._parts
            ]
        )

    def samples(self, count: int, chance: random.Random) -> list[float]:
        """Return about `count` response times, in which every part has its share."""
        found: list[float] = []
        for weight, latency in self._parts:
            own = math.ceil(weight * count)
            found += [latency.percentile((place + 0.998 * chance.random() + 0.001) / own) for place in range(own)]
        return found

    def percentile(self, share: float) -> float:
        """Return the time in ms that `share` of all responses need at most, to a thousandth of itself."""
        # The mixture's percentile lies between those of its parts.
        ends = [latency.percentile(share) for _, latency in self._parts]
        low, high = math.log(min(ends)), math.log(max(ends))
        while high - low > 0.001:
            middle = (low + high) / 2
            if self.share_within(math.exp(middle)) < share:
                low = middle
            else:
                high = middle
        return math.exp(high)

    def share_within(self, milliseconds: float) -> float:
        """Return the share of all responses that need at most `milliseconds`."""
        return sum(weight * latency.share_within(milliseconds) for weight, latency in self._parts)
