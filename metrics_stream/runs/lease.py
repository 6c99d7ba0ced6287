"""The lease that makes one process the recorder."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from metrics_stream.core.protocol.positions import Position
from metrics_stream.models import RecorderState

SILENT_SECONDS = 5.0

# Nobody whose clock is right is silent for that long, so a server that is started anew need not watch first.
GONE_SECONDS = 60.0


class Lease:
    """The right to record, held by at most one recorder.

    Whether the holder lives is told by its row changing, not by the time in it: clocks of machines differ.
    """

    def __init__(self, holder: str, clock: Callable[[], float]) -> None:
        self.holder = holder
        self._clock = clock
        self._seen: tuple[str, datetime | None] | None = None
        self._seen_at = 0.0

    def take(self) -> RecorderState | None:
        """Return the state when the right to record is ours, or has just become so; None while it is another's."""
        state, _ = RecorderState.objects.get_or_create(pk=RecorderState.ROW)
        if state.holder == self.holder:
            return state
        now = self._clock()
        seen = (state.holder, state.renewed_at)
        if seen != self._seen:
            self._seen, self._seen_at = seen, now
        if not (self._is_free(state) or now - self._seen_at >= SILENT_SECONDS):
            return None
        # Only if nobody else has done so, and the holder has not come back, since the row was read.
        unchanged = RecorderState.objects.filter(pk=state.pk, holder=state.holder, renewed_at=state.renewed_at)
        state.holder, state.renewed_at = self.holder, timezone.now()
        return state if unchanged.update(holder=state.holder, renewed_at=state.renewed_at) else None

    def renew(self, position: Position | None = None) -> None:
        """Say that the holder lives; with a position, also how far it is."""
        values: dict[str, Any] = {"renewed_at": timezone.now()}
        if position is not None:
            values["position"] = _to_json(position)
        self._own().update(**values)

    def release(self) -> None:
        """Let somebody else record at once."""
        self._own().update(holder="")

    def _own(self) -> Any:
        return RecorderState.objects.filter(pk=RecorderState.ROW, holder=self.holder)

    @staticmethod
    def _is_free(state: RecorderState) -> bool:
        return (
            not state.holder
            or state.renewed_at is None
            or timezone.now() - state.renewed_at > timedelta(seconds=GONE_SECONDS)
        )


def _to_json(position: Position) -> dict[str, Any]:
    return {"epoch": position.epoch, "offsets": dict(position.offsets)}
