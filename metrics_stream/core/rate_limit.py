"""Limit how much a client or program may do each second, and how much at once."""

from __future__ import annotations


class TokenBucket:
    """A bucket that holds `burst` tokens and refills at `per_second`. Instants are seconds of a monotonic clock."""

    __slots__ = ("_at", "_burst", "_left", "per_second")

    def __init__(self, per_second: float, burst: float, now: float) -> None:
        self.per_second = per_second
        self._burst = burst
        self._left = burst
        self._at = now

    def take(self, amount: float, now: float) -> float:
        """Take `amount` and return 0; or take nothing and return the seconds until it is available.

        An amount larger than the bucket is given when the bucket is full; the rest is a debt.
        """
        # A caller may have read its clock before the bucket was made, or before another caller did.
        self._left = min(self._burst, self._left + max(0.0, now - self._at) * self.per_second)
        self._at = max(self._at, now)
        missing = min(amount, self._burst) - self._left
        # After exactly the returned wait, rounding can leave the bucket short by the last bit.
        if missing > 1e-9:
            return missing / self.per_second
        self._left -= amount
        return 0.0

    def give_back(self, amount: float) -> None:
        """Put back an amount that was taken and not used."""
        self._left = min(self._burst, self._left + amount)
