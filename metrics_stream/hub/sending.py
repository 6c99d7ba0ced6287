"""Hands frames to the outlets of clients, counts what leaves, and closes whoever takes nothing for too long.

Below the hub, and like it without Django, Channels and an event loop.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from metrics_stream.core.delivery.frames import Frames
from metrics_stream.core.delivery.pending import Loss
from metrics_stream.core.protocol.codes import CloseCode, ErrorCode
from metrics_stream.hub.clients import Client, Clock, HubLimits, Timer
from metrics_stream.telemetry import Telemetry

logger = logging.getLogger(__name__)

# How often clients with a frame on its way are looked at; a slow client is closed at most this much late.
WATCH_SECONDS = 1.0


class FrameSender:
    """The last step of every frame of one hub."""

    def __init__(
        self,
        *,
        clock: Clock,
        limits: HubLimits,
        telemetry: Telemetry,
        on_idle: Callable[[Client], None],
        remove: Callable[[Client], None],
    ) -> None:
        """`on_idle` hears of a client whose write was not done at once and is now; `remove` forgets a client."""
        self.telemetry = telemetry
        self._clock = clock
        self._limits = limits
        self._on_idle = on_idle
        self._remove = remove
        self._busy: set[Client] = set()
        self._watch: Timer | None = None

    def write(self, client: Client, frames: Frames, now: float, *, is_data: bool = True) -> None:
        """Hand frames to a client's outlet; what is no data neither obeys the interval nor begins it anew."""
        if not frames.texts:
            return
        telemetry = self.telemetry
        if is_data:
            client.last_frame_at = now
        client.messages_sent += len(frames.texts)
        client.metrics_sent += frames.metrics
        client.bytes_sent += frames.size
        telemetry.messages_sent += len(frames.texts)
        telemetry.metrics_sent += frames.metrics
        telemetry.bytes_sent += frames.size
        if frames.loss:
            self._count_loss(client, frames.loss)
        client.busy_since = client.progress_at = now
        try:
            done = client.sink.write(frames.texts)
            client.backlog = None if done else client.sink.backlog()
        except Exception:
            # One broken socket must not cost the others of its view their frame.
            logger.exception("a frame could not be written", extra={"client_id": client.id})
            telemetry.hub_failures += 1
            self.close(client, CloseCode.GOING_AWAY, ErrorCode.INTERNAL, "the server failed to write; come back")
            return
        if done:
            client.busy_since = None
            return
        if client.is_gone:
            return  # what was on its way to it rests until its socket has ended
        self._busy.add(client)
        if self._watch is None:
            self._watch = self._clock.call_at(now + WATCH_SECONDS, self._watch_busy)

    def _count_loss(self, client: Client, loss: Loss) -> None:
        client.metrics_dropped += loss.known
        self.telemetry.metrics_dropped += loss.known
        for reason, dropped in loss.counts.items():
            self.telemetry.gaps_by_reason[reason] += 1
            self.telemetry.dropped_by_reason[reason] += dropped or 0

    def written(self, client: Client) -> None:
        """Hear from an outlet that its last write is done."""
        client.busy_since = None
        self._busy.discard(client)
        self._on_idle(client)

    def _watch_busy(self) -> None:
        """Close whoever took nothing for too long; one that reads slowly but reads stays."""
        now = self._clock.time()
        limit = self._limits.slow_client_seconds
        self._watch = self._clock.call_at(now + WATCH_SECONDS, self._watch_busy)
        for client in list(self._busy):
            if client.busy_since is None:
                continue
            backlog = client.sink.backlog()
            if backlog is not None and client.backlog is not None and backlog < client.backlog:
                client.progress_at = now
            client.backlog = backlog
            silent = now - client.progress_at
            if silent >= limit:
                self.telemetry.slow_clients_closed += 1
                logger.warning("a client took nothing for %.0f s and is closed", silent, extra={"client_id": client.id})
                self.close(
                    client,
                    CloseCode.SLOW_CONSUMER,
                    ErrorCode.SLOW_CONSUMER,
                    f"nothing of a frame was taken for {silent:.0f} s; allowed: {limit:g} s",
                )
        if not self._busy:
            self._watch.cancel()
            self._watch = None

    def close(self, client: Client, code: CloseCode, error: ErrorCode, reason: str) -> None:
        """Close a client, say why, and forget it."""
        self._busy.discard(client)
        self.telemetry.closes_by_code[code] += 1
        client.sink.close(code, error, reason)
        self._remove(client)

    def forget(self, client: Client) -> None:
        """Watch a client no more."""
        client.is_gone = True
        self._busy.discard(client)

    def stop(self) -> None:
        """Cancel the timer."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
