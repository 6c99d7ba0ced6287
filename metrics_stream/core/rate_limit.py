"""How much somebody may do each second, and how much at once. Room: core."""

from __future__ import annotations


class TokenBucket:
    """A bucket that holds `burst` and fills with `per_second`; instants are seconds of a clock that never goes back."""

    __slots__ = ("_at", "_burst", "_left", "per_second")

    def __init__(self, per_second: float, burst: float, now: float) -> None:
        self.per_second = per_second
        self._burst = burst
        self._left = burst
        self._at = now

    def take(self, amount: float, now: float) -> float:
        """Take `amount` and return 0; or take nothing, and return in how many seconds it will be there.

        More than the bucket holds is given when it is full, and owed.
        """
        self._left = min(self._burst, self._left + (now - self._at) * self.per_second)
        self._at = now
        missing = min(amount, self._burst) - self._left
        # What is computed to be there after a wait may lack the last bit.
        if missing > 1e-9:
            return missing / self.per_second
        self._left -= amount
        return 0.0

    def give_back(self, amount: float) -> None:
        """Put back what was taken and not used."""
        self._left = min(self._burst, self._left + amount)
