"""How many batches a history has taken of this program: what a Redis that replaces another one must know of, too."""

from __future__ import annotations

import os
import secrets
import time
from typing import Any, NamedTuple
from weakref import WeakSet


class _Count(NamedTuple):
    epoch: str = ""
    batches: int = 0
    at: tuple[float, float] = (0.0, 0.0)


def _clocks() -> tuple[float, float]:
    # A machine that sleeps stops the one, and an administrator sets the other.
    return time.monotonic(), time.time()


class TakenBatches:
    """Counts the batches of this program in one epoch, as far as they were answered. Safe to use from several threads.

    Two threads at once may count one batch too few, which claims less than the history knows.
    """

    def __init__(self, seconds: float) -> None:
        """`seconds` is for how long the history keeps its own count after a batch."""
        self._seconds = seconds
        _all.add(self)
        self.forget()

    def forget(self) -> None:
        """Begin anew as another program."""
        self._program = secrets.token_hex(8)
        self._count = _Count()

    def note(self, epoch: str) -> None:
        """Count a batch that the history has taken in an epoch."""
        count = self._count
        if epoch >= count.epoch:
            self._count = _Count(epoch, count.batches + 1 if epoch == count.epoch else 1, _clocks())

    def claim(self) -> dict[str, Any]:
        """Return what a request to append says of it; see failover.lua."""
        count = self._count
        is_young = all(now - then < self._seconds for now, then in zip(_clocks(), count.at, strict=True))
        return {
            "program": self._program,
            "accepted_epoch": count.epoch if is_young else "",
            "accepted": count.batches,
        }


_all: WeakSet[TakenBatches] = WeakSet()


def _forget_all() -> None:
    for taken in list(_all):
        taken.forget()


# A forked child is another program.
os.register_at_fork(after_in_child=_forget_all)
