"""Keeps the metric types of a server process as they are defined, without a restart.

Another process tells of a change over the bus. The version of the definitions is read every DEFINITIONS_SECONDS too, in
case that message was lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from channels.db import database_sync_to_async
from django.db import DatabaseError

from metrics_stream.core.metrics.catalogue import Catalogue

# A change reaches every client within 5 s, also when its message is lost.
DEFINITIONS_SECONDS = 2.0


def _read() -> int:
    # A worker imports the runtime before Django is set up.
    from metrics_stream.models.known_types import read_definitions

    return read_definitions()


class DefinitionsWatch:
    """Reads the definitions whenever they may have changed; `version` is that of the last reading."""

    def __init__(self, catalogue: Callable[[], Catalogue], on_change: Callable[[], object]) -> None:
        """`catalogue` returns the metric types of now; `on_change` is called after each reading of something new."""
        self.version = -1
        self._catalogue = catalogue
        self._on_change = on_change
        self._is_due = asyncio.Event()

    def note_change(self) -> None:
        """Read again soon."""
        self._is_due.set()

    async def read(self) -> None:
        """Read what has changed; a database that is away changes nothing."""
        self._is_due.clear()
        known = self._catalogue()
        try:
            # In a thread of its own: it must not wait for a page that takes long.
            version = await database_sync_to_async(_read, thread_sensitive=False)()
        except DatabaseError:
            return
        before, self.version = self.version, version
        # The first reading brings nothing new where no type is declared.
        if version != before and (before != -1 or self._catalogue() is not known):
            self._on_change()

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            await self.read()
            try:
                async with asyncio.timeout(DEFINITIONS_SECONDS):
                    await self._is_due.wait()
            except TimeoutError:
                continue
