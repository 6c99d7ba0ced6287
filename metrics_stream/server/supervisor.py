"""Supervisor and workers of `manage.py serve --workers N`: uvicorn's, but each notices at once when the other dies."""

from __future__ import annotations

import asyncio
import multiprocessing
import signal

from uvicorn import Config
from uvicorn.supervisors import Multiprocess


class Supervisor(Multiprocess):
    """Starts workers, and replaces workers that are dead or do not answer."""

    def keep_subprocess_alive(self) -> None:
        """Ping each worker, and replace those that do not answer."""
        for process in self.processes:
            # The worker has this end of the pipe, too. While it is also open here, the death of a worker during a ping
            # goes unnoticed, and the supervisor waits for its answer until `timeout_worker_healthcheck` is over.
            process.child_conn.close()
        super().keep_subprocess_alive()


class WorkerConfig(Config):
    """The configuration of a worker, which stops on SIGTERM and when its supervisor has died."""

    def load(self) -> None:
        """Load the application; from now on the worker stops, as on SIGTERM, when its supervisor dies."""
        supervisor = multiprocessing.parent_process()
        assert supervisor is not None, "only workers load the application; the supervisor starts them"
        # The other end of this pipe is open only in the supervisor, so this end becomes readable when the supervisor
        # dies, for whatever reason, also before this call. PR_SET_PDEATHSIG exists only on Linux and misses the latter.
        loop = asyncio.get_running_loop()
        loop.add_reader(supervisor.sentinel, _stop, loop, supervisor.sentinel)
        super().load()


def _stop(loop: asyncio.AbstractEventLoop, sentinel: int) -> None:
    loop.remove_reader(sentinel)
    signal.raise_signal(signal.SIGTERM)
