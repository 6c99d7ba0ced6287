"""Whether the bus carries, told from numbered messages that a process sends to itself over it.

Room: core. A lost connection to Redis comes back without a word, and what was published meanwhile is gone: only a
message that should have arrived shows it.
"""

from __future__ import annotations

from typing import Literal

BusState = Literal["live", "stale"]


class Canary:
    """Numbers what is sent, and judges by what comes back. Instants are seconds of one monotonic clock."""

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
        """Whether the newest message that was sent has not come back."""
        return self._heard < self._sent

    def sent(self) -> None:
        """Hear that the next message was sent; one that could not be is not missed, and its number is next again."""
        self._sent += 1

    def hear(self, number: int, now: float) -> bool:
        """Take a message that came back; return True when others were lost before it."""
        lost = number > self._heard + 1
        self._heard = max(self._heard, number)
        self._heard_at = now
        return lost

    def judge(self, now: float) -> BusState | None:
        """Return the new state when it has changed: stale after too long a silence, live when it is over."""
        state: BusState = "stale" if now - self._heard_at > self._silent_seconds else "live"
        if state == self.state:
            return None
        self.state = state
        return state
