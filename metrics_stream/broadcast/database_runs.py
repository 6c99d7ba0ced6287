"""Store the test run of a block of code in the database of this program."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import close_old_connections, connections

from metrics_stream.broadcast.run_block import RunOptions
from metrics_stream.core.errors import RunOverError
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.models import TestRun
from metrics_stream.runs import lifecycle, past, phases


class DatabaseRunStore:
    """Stores the run of a block in the database of this program, which is the server's database."""

    def __init__(self, options: RunOptions) -> None:
        self._options = options
        self._run = TestRun()

    @property
    def alive_seconds(self) -> float:
        """Return the time between two calls of `keep_alive`."""
        return lifecycle.ALIVE_SECONDS

    def start(self) -> TestRun:
        """Start the run and return it."""
        self._run = lifecycle.start(**self._options, watched=True)
        return self._run

    def keep_alive(self) -> None:
        """Report that the program still runs."""
        close_old_connections()
        if not lifecycle.keep_alive(self._run):
            raise RunOverError(f"the test run {self._run.slug!r} has ended")

    def stop(self, status: str, note: str) -> None:
        """End the run, and update the one that `start` returned."""
        close_old_connections()
        run = self._run
        ended = lifecycle.stop(run, status, note=note)
        run.status, run.ended_at, run.notes = ended.status, ended.ended_at, ended.notes

    def mark_phase(self, name: str | None, seconds_ago: float) -> None:
        """Begin a phase, or end the one before."""
        close_old_connections()
        phases.mark(self._run, name, seconds_ago=seconds_ago)

    def record(self, metrics: Sequence[Metric]) -> None:
        """Record metrics of a run that was over when it was started."""
        close_old_connections()
        past.record(self._run, metrics)

    def close(self) -> None:
        """Close the database connections of the block's thread."""
        connections.close_all()
