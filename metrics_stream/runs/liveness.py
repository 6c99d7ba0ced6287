"""Which runs have a program that still runs: it says so itself, or it publishes for the run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from datetime import datetime

from metrics_stream.core.protocol.positions import HistoryBatch
from metrics_stream.models import TestRun
from metrics_stream.runs import lifecycle

# A run whose program was silent for this long has failed. Programs report every lifecycle.ALIVE_SECONDS.
SILENT_RUN_SECONDS = 60.0


class Liveness:
    """What the recorder knows of the programs of open runs, by its own clock.

    A program is alive when the `alive_at` of its run changes, or when the token that started the run has published a
    metric of a source of the run; the metric may be of a pause, and then does not belong to the run.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        # The last report of the program of each run, and when this process has seen it.
        self._reports: dict[int, tuple[datetime | None, float]] = {}
        self._of_token: dict[str, list[TestRun]] = {}
        self._published: set[int] = set()
        self._noted: dict[int, float] = {}

    def forget(self) -> None:
        """Begin anew: what is known is out of date."""
        self._reports.clear()
        self._published.clear()
        self._noted.clear()

    def watch(self, runs: Iterable[TestRun]) -> list[TestRun]:
        """Take the runs as the database has them now; return those whose program is silent for too long."""
        now = self._clock()
        watched = [run for run in runs if run.alive_at and run.status in lifecycle.OPEN]
        self._reports = {run.pk: self._last_report(run, now) for run in watched}
        self._noted = {pk: at for pk, at in self._noted.items() if pk in self._reports}
        self._of_token = {}
        for run in watched:
            if run.started_by_id is not None:
                self._of_token.setdefault(f"token {run.started_by_id}", []).append(run)
        return [run for run in watched if now - self._reports[run.pk][1] >= SILENT_RUN_SECONDS]

    def _last_report(self, run: TestRun, now: float) -> tuple[datetime | None, float]:
        before = self._reports.get(run.pk)
        return before if before is not None and before[0] == run.alive_at else (run.alive_at, now)

    def see(self, batches: Iterable[HistoryBatch]) -> None:
        """Take note of the tokens that have published, before `note` stores it."""
        if not self._of_token:
            return
        for batch in batches:
            for run in self._of_token.get(batch.owner, ()):
                if run.pk not in self._published and _has_source_of(run, batch):
                    self._published.add(run.pk)

    def note(self) -> None:
        """Store that the programs which have published are alive, every `lifecycle.ALIVE_SECONDS` at most."""
        now = self._clock()
        due = [pk for pk in self._published if now - self._noted.get(pk, -math.inf) >= lifecycle.ALIVE_SECONDS]
        if due:
            lifecycle.mark_alive(TestRun.objects.filter(pk__in=due))
            self._noted.update(dict.fromkeys(due, now))
            self._published.difference_update(due)


def _has_source_of(run: TestRun, batch: HistoryBatch) -> bool:
    return not run.sources or any(metric.source in run.sources for metric in batch.metrics)
