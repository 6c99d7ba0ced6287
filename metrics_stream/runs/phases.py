"""Mark the phases of a test run while it goes on, or set all of them at once.

Both lock the run: programs, people and the recorder change it at the same time.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import transaction

from metrics_stream.core.errors import RunError, RunOverError
from metrics_stream.core.run_values import MAX_PHASES, Phase, arrange_phases, read_phase_name
from metrics_stream.models import RunPhase, TestRun
from metrics_stream.runs import lifecycle
from metrics_stream.runs.clock import database_now


def mark(run: TestRun, name: str | None, *, seconds_ago: float = 0.0) -> list[Phase]:
    """Begin a phase of a run that goes on, which ends the phase before; return all of its phases.

    With None as the name, the phase before ends and none begins. A phase with the name of the one that goes on begins
    nothing, so that a request may be repeated. `seconds_ago` is how long ago the phase began. A program that marks a
    phase is alive. Raises RunOverError when the run has ended, RunError for what is not allowed.
    """
    if name is not None:
        name = read_phase_name(name)
    with lifecycle.translate_errors(), transaction.atomic():
        found = _lock(run)
        if found.status not in lifecycle.OPEN:
            raise RunOverError(f"the test run {found.slug!r} has already ended: it is {found.status}")
        now = database_now()
        if found.alive_at is not None:
            TestRun.objects.filter(pk=found.pk).update(alive_at=now)
        phases = list(found.phases.all())
        last = phases[-1] if phases else None
        is_open = last is not None and last.ends_at is None
        if not (is_open and last is not None and last.name == name):
            begins_at = _begin(found, phases, now - timedelta(seconds=seconds_ago))
            if is_open and last is not None:
                last.ends_at = begins_at
                last.save(update_fields=["ends_at"])
            if name is not None:
                if len(phases) >= MAX_PHASES:
                    raise RunError(
                        f"the test run {found.slug!r} has {len(phases)} phases; allowed: at most {MAX_PHASES}"
                    )
                RunPhase.objects.create(run=found, name=name, starts_at=begins_at)
        return of(found)


def _begin(run: TestRun, phases: Sequence[RunPhase], at: datetime) -> datetime:
    """Return the instant at which a phase can begin: not before the run, nor before what is there of other phases."""
    least = [phase.ends_at or phase.starts_at + timedelta(microseconds=1) for phase in phases[-1:]]
    return max(filter(None, (at, run.started_at, *least)))


def put(run: TestRun, phases: Sequence[Phase]) -> list[Phase]:
    """Set all phases of a run, which goes on or has ended; return them as they are stored. Raises RunError."""
    with lifecycle.translate_errors(), transaction.atomic():
        found = _lock(run)
        if found.started_at is None:
            raise RunError(f"the test run {found.slug!r} is {found.status}; allowed: a run that has started")
        arranged = arrange_phases(phases, found.started_at, found.ended_at)
        found.phases.all().delete()
        RunPhase.objects.bulk_create(RunPhase(run=found, **phase._asdict()) for phase in arranged)
        return of(found)


def of(run: TestRun) -> list[Phase]:
    """Return the phases of a run in the order of time."""
    return [phase.value for phase in run.phases.all()]


def _lock(run: TestRun) -> TestRun:
    found = TestRun.objects.select_for_update().filter(pk=run.pk).first()
    if found is None:
        raise RunOverError(f"the test run {run.slug!r} no longer exists")
    return found
