"""Watch for several producers of one source, and tell the log, `/readyz`, Stream health and the clients that see it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from metrics_stream.bus.messages import Published
from metrics_stream.core.lru import LruDict
from metrics_stream.core.producers import Conflict, Producers
from metrics_stream.core.protocol.message_parts import SourceConflict
from metrics_stream.core.protocol.messages import SourceConflicts
from metrics_stream.core.protocol.parsing import encode
from metrics_stream.core.protocol.prepared_message import PreparedMessage
from metrics_stream.hub.clients import Client
from metrics_stream.hub.hub import Hub
from metrics_stream.observation.faults import FaultKind
from metrics_stream.observation.faults import of_process as faults

logger = logging.getLogger(__name__)

# How soon a client learns of a conflict, and that it is over.
LOOK_SECONDS = 2.0

# So many conflicts are remembered as logged; one that begins again later is another one.
MAX_LOGGED = 1_000


class SourceWatch:
    """The conflicts among the producers whose metrics reach this process: of types that some client wants."""

    def __init__(self, hub: Hub, clock: Callable[[], float] = time.monotonic) -> None:
        self._hub = hub
        self._clock = clock
        self._producers = Producers()
        self._logged: LruDict[tuple[str, str], None] = LruDict(MAX_LOGGED)
        self._told: dict[str, tuple[SourceConflict, ...]] = {}
        """What each client was told last, by its id; clients that were told of nothing are missing."""

    def observe(self, published: Published) -> None:
        """Note who published a batch, by its first metric: a look-up for each batch."""
        if published.metrics:
            metric_type, source, rows = published.metrics[0].kind
            self._producers.observe(metric_type, source, rows, published.origin, self._clock())

    def current(self) -> list[Conflict]:
        """Return the current conflicts, with names that not everybody may see."""
        return self._producers.conflicts(self._clock())

    async def watch(self) -> None:
        """Look for conflicts until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.look()

    def look(self) -> None:
        """Note the fault, log the names of new conflicts, and tell each client what has changed for it."""
        conflicts = self.current()
        if (problem := self._find_problem(conflicts)) is not None:
            faults.begin(FaultKind.SOURCES, problem)
        else:
            faults.end(FaultKind.SOURCES)
            self._logged.clear()
        clients = self._hub.clients
        self._told = {client_id: told for client_id, told in self._told.items() if client_id in clients}
        if conflicts or self._told:
            for client in list(clients.values()):
                self._tell(client, conflicts)

    def _find_problem(self, conflicts: list[Conflict]) -> str | None:
        for metric_type, source, producers in conflicts:
            if (metric_type, source) not in self._logged:
                self._logged.put((metric_type, source), None)
                message = "%s metrics of the source %r come from %d producers at a time: %s; give each its own source"
                logger.warning(message, metric_type, source, len(producers), ", ".join(producers))
        if not conflicts:
            return None
        who = f"{len(conflicts)} sources are" if len(conflicts) > 1 else "a source is"
        return f"{who} published by several producers at a time; the log names them"

    def _tell(self, client: Client, conflicts: list[Conflict]) -> None:
        visible = _visible(client, conflicts)
        if client.busy_since is not None or self._told.get(client.id, ()) == visible:
            return
        self._told[client.id] = visible
        if not visible:
            del self._told[client.id]
        self._hub.write_text(client, PreparedMessage(encode(SourceConflicts(conflicts=visible)).encode()))


def _visible(client: Client, conflicts: list[Conflict]) -> tuple[SourceConflict, ...]:
    """Return the conflicts of what a client gets; a replay shows none of what is live."""
    selection = client.selection
    if client.replay is not None:
        return ()
    return tuple(
        SourceConflict(metric_type=item.metric_type, source=item.source, producers=len(item.producers))
        for item in conflicts
        if item.metric_type in selection.metric_types
        and (not selection.filters.sources or item.source in selection.filters.sources)
        and selection.permit.covers(item.metric_type, item.source)
    )
