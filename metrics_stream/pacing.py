"""Work in slices, so that the event loop does other things in between."""

from __future__ import annotations

import asyncio
import time

# Short enough that no frame is late for it; the time that a slice takes, whatever its work is counted in.
SLICE_SECONDS = 0.002
# A slice may take longer on a busy machine, but a pause need not.
MAX_PAUSE_SECONDS = 0.01


class Pace:
    """Lets the event loop do other things for as long as it has been kept.

    A turn of the loop would not be enough: what others do takes many turns, each of which would wait for a slice.
    """

    def __init__(self) -> None:
        self._since = time.perf_counter()

    async def pause_if_due(self) -> None:
        """Return at once, or after a pause if this slice took SLICE_SECONDS."""
        taken = time.perf_counter() - self._since
        if taken >= SLICE_SECONDS:
            await asyncio.sleep(min(taken, MAX_PAUSE_SECONDS))
            self._since = time.perf_counter()
