"""The sources of test runs, for all clients of a process: whether a client may see a run depends on them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from channels.db import database_sync_to_async
from django.db import DatabaseError

from metrics_stream.core.lru import LruDict
from metrics_stream.core.metrics.permission import Permit
from metrics_stream.core.protocol.positions import HistoryBatch

logger = logging.getLogger(__name__)

# More runs than the history has metrics of.
MAX_RUNS = 10_000

# After a failure of the database it is asked again after this long.
RETRY_SECONDS = 1.0


def _query(slugs: list[str]) -> dict[str, frozenset[str]]:
    # A worker imports the runtime before Django is set up.
    from metrics_stream.models import TestRun

    found = TestRun.objects.filter(slug__in=slugs).values_list("slug", "sources")
    return {slug: frozenset(map(str, sources)) for slug, sources in found}


# In a thread of its own: metrics must not wait for a page that takes long.
_look_up = database_sync_to_async(_query, thread_sensitive=False)


class RunSources:
    """Remembers the sources of test runs, which never change, and looks up those of new runs in the background."""

    def __init__(self) -> None:
        self._known: LruDict[str, frozenset[str] | None] = LruDict(MAX_RUNS)
        self._wanted: set[str] = set()
        self._is_wanted = asyncio.Event()

    def get(self, slug: str) -> frozenset[str] | None:
        """Return the sources of a run, empty for every source; None while they are unknown, or if there is no run."""
        if slug not in self._known:
            self._wanted.add(slug)
            self._is_wanted.set()
            return None
        return self._known.use(slug)

    async def learn(self, batches: Iterable[HistoryBatch], permit: Permit) -> None:
        """Look up the unknown runs of batches, if the permit shows only some runs.

        They stay unknown while the database does not answer.
        """
        if permit.runs is None:
            return
        slugs = {slug for batch in batches for slugs in (batch.runs or {}).values() for slug in slugs}
        try:
            await self._learn({slug for slug in slugs if slug not in self._known})
        except DatabaseError as error:
            logger.warning("the sources of test runs cannot be looked up: %s", str(error).strip().partition("\n")[0])

    async def follow(self) -> None:
        """Look up what `get` did not know, until cancelled."""
        while True:
            await self._is_wanted.wait()
            self._is_wanted.clear()
            wanted, self._wanted = self._wanted, set()
            try:
                await self._learn(wanted)
            except DatabaseError:  # `get` asks again with the next metric
                await asyncio.sleep(RETRY_SECONDS)

    async def _learn(self, slugs: set[str]) -> None:
        if slugs:
            found = await _look_up(sorted(slugs))
            for slug in slugs:
                self._known.put(slug, found.get(slug))
