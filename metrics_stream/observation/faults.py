"""The current faults of this process. The log gets one line when a fault begins, and one with its cost when it ends.

`/readyz`, `/metrics` and the `stream` metric read the same registry, so all of them tell the same.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from enum import StrEnum

logger = logging.getLogger(__name__)


class FaultKind(StrEnum):
    """What can be wrong with a process; `PARTS` has the check of `/readyz` to which each kind belongs."""

    REDIS = "redis"  # Redis lacks or forbids what is needed
    CHANNEL_LAYER = "channel_layer"  # what is sent over the channel layer does not arrive
    PUBLISHING = "publishing"  # metrics cannot be published
    LATENCY = "latency"  # messages of the process to itself take longer than LATENCY_SECONDS
    CLIENTS = "clients"  # as many clients are connected as MAX_CLIENTS allows
    DATABASE = "database"  # the database does not answer, or lacks migrations
    RECORDING = "recording"  # test runs cannot be recorded
    RECORDING_LATE = "recording_late"  # test runs are recorded too late
    CLOCK = "clock"  # the clock of this server differs from that of the database or Redis
    SOURCE_CLOCKS = "source_clocks"  # producers send timestamps far from their arrival
    SOURCES = "sources"  # several producers publish the same type and source at a time
    INSTALLATION = "installation"  # another installation uses the same names in the same Redis


PARTS: dict[FaultKind, str] = {
    FaultKind.REDIS: "channel layer",
    FaultKind.CHANNEL_LAYER: "channel layer",
    FaultKind.PUBLISHING: "channel layer",
    FaultKind.LATENCY: "latency",
    FaultKind.CLIENTS: "clients",
    FaultKind.DATABASE: "database",
    FaultKind.RECORDING: "recorder",
    FaultKind.RECORDING_LATE: "recorder",
    FaultKind.CLOCK: "clocks",
    FaultKind.SOURCE_CLOCKS: "clocks",
    FaultKind.SOURCES: "sources",
    FaultKind.INSTALLATION: "installation",
}

ADVISORY = frozenset({"clocks", "sources", "installation"})
"""Checks of `/readyz` that leave a process ready: it works, but somebody has to look after its surroundings."""


@dataclass(slots=True)
class Fault:
    """A fault that has begun and not ended."""

    kind: FaultKind
    message: str
    """What is wrong, in one line; the newest reason, if the reason has changed."""
    began_at: float
    """Seconds since 1970."""
    costs: Counter[str] = field(default_factory=Counter)
    """What it has cost so far, as number of things: `{"metrics refused": 149}`."""
    _began: float = field(default_factory=time.monotonic)
    _seen: float = field(default_factory=time.monotonic)

    def see(self, message: str) -> None:
        """Note that the fault was seen again."""
        self.message = message
        self._seen = time.monotonic()

    @property
    def quiet_seconds(self) -> float:
        """How long ago the fault was last seen."""
        return time.monotonic() - self._seen

    def describe_end(self, cost: str) -> str:
        """Return how long it took and what it cost."""
        costs = [f"{thing}: {count:,}" for thing, count in self.costs.items()]
        return "; ".join([f"{time.monotonic() - self._began:.1f} s", *costs, *([cost] if cost else [])])


class Faults:
    """The current faults, at most one of each kind. All methods can be called from any thread."""

    def __init__(self) -> None:
        self._current: dict[FaultKind, Fault] = {}
        self._lock = threading.Lock()

    def begin(self, kind: FaultKind, message: str) -> None:
        """Note a fault, or that it goes on; only the first call is logged, until the fault ends."""
        with self._lock:
            if (fault := self._current.get(kind)) is not None:
                fault.see(message)
                return
            self._current[kind] = Fault(kind, message, time.time())
        logger.warning("fault %s begins: %s", kind, message, extra={"fault": str(kind)})

    def count(self, kind: FaultKind, thing: str, number: int = 1) -> None:
        """Add to what a fault costs, if it has begun: `count(FaultKind.PUBLISHING, "metrics refused", 12)`."""
        with self._lock:
            if (fault := self._current.get(kind)) is not None:
                fault.costs[thing] += number

    def end(self, kind: FaultKind, cost: str = "", *, quiet_seconds: float = 0.0) -> None:
        """End a fault, if it has begun; `cost` completes what was counted.

        With `quiet_seconds`, a fault that was seen more recently goes on: where some calls fail and others do not,
        each success would end it.
        """
        if kind not in self._current:  # Without the lock: this is asked for each request.
            return
        with self._lock:
            fault = self._current.get(kind)
            if fault is None or fault.quiet_seconds < quiet_seconds:
                return
            del self._current[kind]
        logger.warning("fault %s ends after %s", kind, fault.describe_end(cost), extra={"fault": str(kind)})

    def note_database(self, action: str, error: Exception) -> None:
        """Note that the database failed at `action`; the process looks after it until it answers again."""
        reason = str(error).strip().partition("\n")[0]
        self.begin(FaultKind.DATABASE, f"{action}: {reason}")
        self.count(FaultKind.DATABASE, "requests failed")

    def has(self, kind: FaultKind) -> bool:
        """Return whether a fault of this kind has begun and not ended."""
        return kind in self._current

    def current(self) -> tuple[Fault, ...]:
        """Return the current faults, in the order of FaultKind."""
        with self._lock:
            return tuple(replace(self._current[kind]) for kind in FaultKind if kind in self._current)

    def clear(self) -> None:
        """Forget all faults without a word, as when the runtime of the process stops."""
        with self._lock:
            self._current.clear()


of_process = Faults()
"""The faults of this process."""
