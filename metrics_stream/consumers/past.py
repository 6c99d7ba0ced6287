"""What a client asks for of the past, in a message or in the address of its WebSocket."""

from __future__ import annotations

from dataclasses import dataclass

from msgspec import UNSET

from metrics_stream.core.protocol import bounds, messages
from metrics_stream.core.protocol.positions import Position, parse_position


@dataclass(frozen=True, slots=True)
class Past:
    """What a client asks for of the past."""

    resume_from: Position | None = None
    backfill_seconds: float | None = None
    max_points: int = bounds.DEFAULT_MAX_POINTS

    @classmethod
    def of(cls, message: messages.Backfilled) -> Past:
        """Return what a message asks for, with its numbers clamped to what is allowed."""
        resume_from = getattr(message, "resume_from", UNSET)
        seconds = message.backfill_seconds
        return cls(
            None if resume_from is UNSET else parse_position(resume_from),
            None if seconds is UNSET else bounds.clamp(seconds, bounds.BACKFILL_SECONDS),
            int(bounds.clamp(message.max_points, bounds.MAX_POINTS)),
        )
