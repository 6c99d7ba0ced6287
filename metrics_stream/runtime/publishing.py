"""Publishing of a server process: for programs over HTTP, and its own health. That it fails is a fault."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from metrics_stream.bus.bus import Bus
from metrics_stream.core.errors import BusError
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.history.redis_errors import is_refusal, is_unreachable
from metrics_stream.observation.faults import FaultKind, of_process
from metrics_stream.runtime.bus_watch import BusWatch

# Where Redis is full, some calls still succeed. The fault has ended when none has failed for this long; the process
# publishes its own health each second.
WHOLE_SECONDS = 5.0


class Publishing:
    """Publishes with the bus of a process, and tells the registry of faults and the watch of the bus how it went."""

    def __init__(self, bus: Bus, bus_watch: BusWatch) -> None:
        self._bus = bus
        self._bus_watch = bus_watch

    async def publish(
        self,
        metrics: Sequence[Metric],
        *,
        on_sent: Callable[[Sequence[Metric]], None] | None = None,
        owner: str = "",
        origin: str = "",
        idempotency_key: str | None = None,
    ) -> None:
        """Publish metrics of a program; see `Bus.publish`. What could not be published is what the fault costs."""
        sent = 0

        def note(batch: Sequence[Metric]) -> None:
            nonlocal sent
            sent += len(batch)
            if on_sent is not None:
                on_sent(batch)

        try:
            await self._bus.publish(metrics, owner=owner, origin=origin, idempotency_key=idempotency_key, on_sent=note)
        except BusError as error:
            of_process.count(self._note_failure(error), "metrics refused", len(metrics) - sent)
            raise

    async def publish_own(self, metric: Metric) -> None:
        """Publish a metric of the process itself. As it does so every second, this ends the fault."""
        try:
            await self._bus.publish([metric])
        except BusError as error:
            self._note_failure(error)
            raise
        self._bus_watch.note_published()
        of_process.end(FaultKind.PUBLISHING, quiet_seconds=WHOLE_SECONDS)

    def note_refused(self, error: BusError) -> None:
        """Note that Redis refused a look at it; a Redis that cannot be reached is left to the watch of the bus."""
        if is_refusal(error.__cause__):
            of_process.begin(FaultKind.PUBLISHING, str(error))

    def _note_failure(self, error: BusError) -> FaultKind:
        self._bus_watch.note_unpublished(error)
        if is_unreachable(error.__cause__):
            # One fault: nothing arrives either.
            self._bus_watch.note_failure("publishing", error)
            return FaultKind.CHANNEL_LAYER
        of_process.begin(FaultKind.PUBLISHING, str(error))
        return FaultKind.PUBLISHING
