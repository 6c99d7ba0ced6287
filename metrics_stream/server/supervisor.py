"""The processes of `manage.py serve --workers N`: uvicorn's, where each notices at once that the other is dead."""

from __future__ import annotations

import asyncio
import multiprocessing
import signal

from uvicorn import Config
from uvicorn.supervisors import Multiprocess


class Supervisor(Multiprocess):
    """Starts workers, and replaces those that are dead or do not answer."""

    def keep_subprocess_alive(self) -> None:
        """Ask each worker whether it lives, and replace those that do not."""
        for process in self.processes:
            # The worker has this end of the pipe as well. As long as it is open here, too, the death of a worker that
            # is being asked goes unnoticed, and its answer is waited for until `timeout_worker_healthcheck` is over.
            process.child_conn.close()
        super().keep_subprocess_alive()


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
