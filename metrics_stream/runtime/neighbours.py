"""Find other installations that use the same names in the same Redis.

Each would take the metrics and test runs of the other for its own. So the server processes of an installation announce
its id, which is in its database, below their prefix.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from channels.db import database_sync_to_async
from django.db import DatabaseError

from metrics_stream.conf import StreamSettings
from metrics_stream.core.errors import BusError
from metrics_stream.core.formatting import quote
from metrics_stream.history import History
from metrics_stream.observation.faults import FaultKind
from metrics_stream.observation.faults import of_process as faults

ANNOUNCE_SECONDS = 5.0
# An installation that did not announce itself for this long has stopped.
GONE_SECONDS = 20.0


class Neighbours:
    """Announces this installation, and notes the fault if there is another one."""

    def __init__(self, settings: StreamSettings, history: History | None) -> None:
        self._prefix = settings.group_prefix
        self._history = history
        self._id: str | None = None

    async def watch(self, find_id: Callable[[], str]) -> None:
        """Announce this installation from time to time, until cancelled; `find_id` asks the database for its id."""
        while self._history is not None:
            # Another fault says what is away.
            with contextlib.suppress(BusError, DatabaseError):
                if self._id is None:
                    self._id = await database_sync_to_async(find_id, thread_sensitive=False)()
                await self.announce(self._history, self._id)
            await asyncio.sleep(ANNOUNCE_SECONDS)

    async def announce(self, history: History, installation: str) -> None:
        """Announce this installation now, and look for others."""
        others = set(await history.announce(installation, GONE_SECONDS)) - {installation}
        if not others:
            faults.end(FaultKind.INSTALLATION)
            return
        count = f"{len(others)} other installations use" if len(others) > 1 else "another installation uses"
        faults.begin(
            FaultKind.INSTALLATION,
            f"{count} the same Redis and the same GROUP_PREFIX {quote(self._prefix)}: "
            "metrics and test runs get mixed up. Set another GROUP_PREFIX in one of them, or give it another Redis",
        )
