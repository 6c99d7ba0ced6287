"""What `manage.py serve --workers N` asks of uvicorn's processes: workers that end with their supervisor."""

from __future__ import annotations

import asyncio
import multiprocessing
import signal

from uvicorn import Config


class WorkerConfig(Config):
    """Tells a worker what to serve, and when to stop: on SIGTERM, and when there is no supervisor any more."""

    def load(self) -> None:
        """Load what is served; from here on the worker stops, as on SIGTERM, when its supervisor is gone."""
        supervisor = multiprocessing.parent_process()
        assert supervisor is not None, "only workers load what is served; the supervisor starts them"
        # The other end of this pipe is open in the supervisor alone, so ours can be read once that is dead: however it
        # died, and also when it died before we look. PR_SET_PDEATHSIG exists on Linux alone and misses the latter.
        loop = asyncio.get_running_loop()
        loop.add_reader(supervisor.sentinel, _stop, loop, supervisor.sentinel)
        super().load()


def _stop(loop: asyncio.AbstractEventLoop, sentinel: int) -> None:
    loop.remove_reader(sentinel)
    signal.raise_signal(signal.SIGTERM)
