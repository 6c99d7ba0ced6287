"""The lease: the row of the database that says which process records."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from metrics_stream.core.protocol.positions import Position
from metrics_stream.models import RecorderState
from metrics_stream.runs.clock import database_now

# Another process takes over a lease that it has not seen renewed for this time.
TAKEOVER_SECONDS = 5.0

# A lease whose time is older than this is free: no holder is silent for so long. A server that was
# just started need not watch it first.
ABANDONED_SECONDS = 60.0


class Lease:
    """The right to record, which at most one recorder holds.

    A change of the row shows that the holder lives; its time, by the clock of the database, only that it was abandoned.
    """

    def __init__(self, holder: str, clock: Callable[[], float]) -> None:
        self.holder = holder
        self._clock = clock
        self._seen: tuple[str, datetime | None] | None = None
        self._seen_at = 0.0

    def take(self) -> RecorderState | None:
        """Return the state when this recorder holds the lease or has just taken it; None while another one holds it."""
        state, _ = RecorderState.objects.get_or_create(pk=RecorderState.ROW)
        if state.holder == self.holder:
            return state
        now = self._clock()
        seen = (state.holder, state.renewed_at)
        if seen != self._seen:
            self._seen, self._seen_at = seen, now
        if not (self._is_free(state) or now - self._seen_at >= TAKEOVER_SECONDS):
            return None
        # Only if neither another process has taken it nor the holder has renewed it since the row was read.
        unchanged = RecorderState.objects.filter(pk=state.pk, holder=state.holder, renewed_at=state.renewed_at)
        state.holder, state.renewed_at = self.holder, database_now()
        return state if unchanged.update(holder=state.holder, renewed_at=state.renewed_at) else None

    def renew(self, position: Position | None = None) -> None:
        """Renew the lease; with a position, also store how far the recording is."""
        values: dict[str, Any] = {"renewed_at": database_now()}
        if position is not None:
            values["position"] = _to_json(position)
        self._own_row().update(**values)

    def release(self) -> None:
        """Release the lease, so that another process can record immediately."""
        self._own_row().update(holder="")

    def _own_row(self) -> Any:
        return RecorderState.objects.filter(pk=RecorderState.ROW, holder=self.holder)

    @staticmethod
    def _is_free(state: RecorderState) -> bool:
        return (
            not state.holder
            or state.renewed_at is None
            or database_now() - state.renewed_at > timedelta(seconds=ABANDONED_SECONDS)
        )


def _to_json(position: Position) -> dict[str, Any]:
    return {"epoch": position.epoch, "offsets": dict(position.offsets)}
