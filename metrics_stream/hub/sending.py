"""Hand frames to the sinks of clients, count them, and find the clients that read too slowly.

Nothing here closes a client or calls the hub: the hub learns from what is returned what happened.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

from metrics_stream.core.delivery.frames import Frames
from metrics_stream.core.delivery.pending import Loss
from metrics_stream.hub.clients import Client, ClientState
from metrics_stream.telemetry import Telemetry

logger = logging.getLogger(__name__)


class SlowClient(NamedTuple):
    """A client to be closed, and for how many seconds it took nothing of what was written to it."""

    client: Client
    silent_seconds: float


class FrameSender:
    """The last step of every frame of one hub."""

    def __init__(self, *, slow_client_seconds: float, telemetry: Telemetry) -> None:
        """A client is slow if it takes nothing of a frame for `slow_client_seconds`."""
        self.busy: set[Client] = set()
        """Clients with a write on its way."""
        self._slow_client_seconds = slow_client_seconds
        self._telemetry = telemetry

    def write(self, clients: Sequence[Client], frames: Frames, now: float, *, is_data: bool = True) -> list[Client]:
        """Hand the same frames to the sink of each client; return the clients whose sink failed.

        Frames that are not data ignore the interval and do not restart it.
        """
        failed: list[Client] = []
        if not frames.texts:
            return failed
        telemetry, count = self._telemetry, len(clients)
        telemetry.count_sent(
            messages=len(frames.texts) * count, metrics=frames.metrics * count, size=frames.size * count
        )
        if frames.loss:
            self._count_loss(clients, frames.loss)
        for client in clients:
            try:
                done = client.write(frames, now, is_data)
            except Exception:
                # One broken sink must not cost the others of its view their frame.
                logger.exception("a frame could not be written", extra={"client_id": client.id})
                telemetry.hub_failures += 1
                failed.append(client)
                continue
            # A write to a client that is gone never ends, and it is closed already.
            if not done and client.state is not ClientState.GONE:
                self.busy.add(client)
        return failed

    def _count_loss(self, clients: Sequence[Client], loss: Loss) -> None:
        self._telemetry.count_loss(loss.counts, len(clients))
        for client in clients:
            client.count_dropped(loss.known)

    def end_write(self, client: Client) -> None:
        """Let a client be busy no more."""
        self.busy.discard(client)
        client.end_write()

    def find_slow(self, now: float) -> list[SlowClient]:
        """Return the clients that took nothing for too long; a client that reads slowly but reads is not among them."""
        slow = []
        for client in self.busy:
            silent = 0.0 if client.busy_since is None else client.check_progress(now)
            if silent >= self._slow_client_seconds:
                logger.warning("a client took nothing for %.0f s and is closed", silent, extra={"client_id": client.id})
                slow.append(SlowClient(client, silent))
        return slow

    def forget(self, client: Client) -> None:
        """Watch a client no more."""
        self.busy.discard(client)
