"""Look again and again whether Redis still allows what this application needs, and takes what is written."""

from __future__ import annotations

import asyncio
import logging

from metrics_stream.bus.redis_needs import RedisNeeds
from metrics_stream.core.errors import BusError
from metrics_stream.observation.faults import FaultKind, of_process
from metrics_stream.runtime.publishing import Publishing

logger = logging.getLogger(__name__)

# Some thirty small commands in one round trip. Shorter than publishing.WHOLE_SECONDS, so that a Redis without memory,
# which takes a part of the metrics, is one fault until it has some again.
LOOK_SECONDS = 2.0


class RedisWatch:
    """Begins and ends the fault `redis`; `run` is its background task."""

    def __init__(self, needs: RedisNeeds, publishing: Publishing) -> None:
        self._needs = needs
        self._publishing = publishing

    async def run(self) -> None:
        """Look until cancelled."""
        with_channels = is_new = True
        try:
            while True:
                try:
                    missing = await self._needs.find_missing(with_channels=with_channels)
                    if is_new and (eviction := await self._needs.find_eviction()):
                        logger.warning("%s", eviction)
                except BusError as error:
                    self._publishing.note_refused(error)
                else:
                    is_new = False
                    self._note(missing)
                    # This takes a new connection each time.
                    with_channels = bool(of_process.current())
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            await self._needs.close()

    def _note(self, missing: str | None) -> None:
        if missing is None:
            of_process.end(FaultKind.REDIS)
        else:
            of_process.begin(FaultKind.REDIS, missing)
