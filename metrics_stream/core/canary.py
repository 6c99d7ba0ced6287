"""Judge whether the bus delivers, by numbered messages that a process sends to itself over it.

A lost connection to Redis is opened again silently, and messages published meanwhile are lost. Only a message that
should have arrived and did not shows it.
"""

from __future__ import annotations

from typing import Literal

BusState = Literal["live", "stale"]


class Canary:
    """Numbers messages and judges by those that return. Instants are seconds of one monotonic clock."""

    def __init__(self, *, silent_seconds: float, now: float) -> None:
        self.state: BusState = "live"
        self._silent_seconds = silent_seconds
        self._heard_at = now
        self._sent = 0
        self._heard = 0

    @property
    def next_number(self) -> int:
        """The number of the next message."""
        return self._sent + 1

    @property
    def is_awaited(self) -> bool:
        """Whether the newest message that was sent has not returned yet."""
        return self._heard < self._sent

    def sent(self) -> None:
        """Note that the next message was sent; if sending failed, do not call this, and the number is used again."""
        self._sent += 1

    def hear(self, number: int, now: float) -> bool:
        """Note a message that returned; return True if messages before it were lost."""
        lost = number > self._heard + 1
        self._heard = max(self._heard, number)
        self._heard_at = now
        return lost

    def judge(self, now: float) -> BusState | None:
        """Return the new state if it has changed (stale after too long a silence, else live), or None."""
        state: BusState = "stale" if now - self._heard_at > self._silent_seconds else "live"
        if state == self.state:
            return None
        self.state = state
        return state
