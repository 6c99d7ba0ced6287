"""Start, change and end test runs, for commands, admin, the HTTP address and blocks of programs.

The database is the truth, and its clock is the clock of all runs. The history has the active runs too, so that each
metric is assigned to its runs when it is published; when a crash leaves a difference, the recorder corrects the history
within a second.
"""

from __future__ import annotations

import logging
import secrets
import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db import Error as DjangoDatabaseError
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils.text import slugify

from metrics_stream import native_threads
from metrics_stream.conf import get_settings
from metrics_stream.core.errors import (
    BusError,
    MetricsStreamError,
    NotRecordedError,
    RunError,
    RunOverError,
    RunStorageError,
)
from metrics_stream.core.formatting import quote
from metrics_stream.core.run_values import (
    MAX_TEST_LENGTH,
    arrange_phases,
    read_parameters,
    read_phases,
    read_span,
    read_test,
)
from metrics_stream.history import ActiveRun, open_history
from metrics_stream.models import AccessToken, RunPhase, TestRun
from metrics_stream.models.validators import MAX_TEXT_LENGTH
from metrics_stream.runs.clock import database_now, database_now_within

logger = logging.getLogger(__name__)

Status = TestRun.Status

OPEN = (Status.RUNNING, Status.PAUSED)
ENDED = (Status.COMPLETED, Status.FAILED, Status.CANCELLED)

# So many characters of the name come into the slug, so that it stays readable in a link.
_NAME_IN_SLUG = 60
# How much longer than the timeout of its calls a start or stop waits for the history.
_SPARE_SECONDS = 2.0

# How often a program reports that it still runs. A run whose program was silent for `liveness.SILENT_RUN_SECONDS` ends
# as failed.
ALIVE_SECONDS = 5.0

# --- starting and changing ---


def start(
    name: str,
    *,
    test: str | None = None,
    sources: Iterable[str] = (),
    target_tps: float | None = None,
    tags: Iterable[str] = (),
    notes: str = "",
    parameters: Mapping[str, Any] | None = None,
    started_at: Any = None,
    ended_at: Any = None,
    phases: Iterable[Any] = (),
    watched: bool = False,
    started_by: AccessToken | None = None,
    start_key: str | None = None,
) -> TestRun:
    """Start a test run and return it; from now on the metrics of its sources belong to it.

    Without `sources`, those of every source do. `test` is the slug of the test that was run; by default it is made of
    the name. With `started_at` and `ended_at`, the test is over: the run is completed at once, `past.record` records
    its metrics, and `phases` are its phases (`core.run_values.read_phases`).

    A `watched` run ends as failed when `keep_alive` is no longer called. `started_by` is the token of the program, and
    `start_key` identifies its request, which starts only one run. Raises RunError naming the value that is wrong.
    """
    check_recordable()
    with translate_errors():
        now = database_now()
    span = read_span(started_at, ended_at, now)
    given = read_phases(phases)
    if given and span is None:
        raise RunError("phases is given without started_at and ended_at; mark the phases of a run that goes on")
    arranged = [] if span is None else arrange_phases(given, *span)
    run = TestRun(
        slug=make_slug(name, now if span is None else span[0]),
        name=name,
        test=make_test(name) if test is None else read_test(test),
        parameters=read_parameters({} if parameters is None else parameters),
        status=Status.RUNNING,
        started_at=now,
        alive_at=now if watched else None,
        target_tps=target_tps,
        tags=_read_texts("tags", tags),
        sources=_read_texts("sources", sources),
        notes=notes,
        started_by=started_by,
        start_key=start_key,
    )
    if span is not None:
        # Nothing of it is in the history, so there is nothing to wait for.
        run.is_past, run.status, run.alive_at, run.recording_ended_at = True, Status.COMPLETED, None, now
        run.started_at, run.ended_at = span
    try:
        run.clean_fields(exclude={"started_by"})  # It would query the token again, which was just read.
    except ValidationError as error:
        texts = (f"{column}: {' '.join(messages)}" for column, messages in error.message_dict.items())
        raise RunError(f"the test run cannot be started; {'; '.join(texts)}") from error
    with translate_errors(), transaction.atomic():
        run.save()
        RunPhase.objects.bulk_create(RunPhase(run=run, **phase._asdict()) for phase in arranged)
        if span is None:
            transaction.on_commit(tell_history)
    return run


def stop(run: TestRun, status: str = Status.COMPLETED, *, note: str = "", ended_at: datetime | None = None) -> TestRun:
    """End a test run and return its new state; `note` is added to its notes. Raises RunError when it has ended.

    A run that was over when it was started gets the status and the note, and keeps its end.
    """
    if status not in ENDED:
        raise RunError(f"a test run cannot end as {quote(status)}; allowed: {', '.join(ENDED)}")
    return _change(run, OPEN, status, note=note, ended_at=ended_at, ends=True)


def fail(run: TestRun, note: str) -> TestRun:
    """End a test run as failed, and add the reason to its notes."""
    return stop(run, Status.FAILED, note=note)


def cancel(run: TestRun) -> TestRun:
    """End a test run as cancelled."""
    return stop(run, Status.CANCELLED)


def pause(run: TestRun) -> TestRun:
    """Pause a test run: metrics published until `resume` do not belong to it."""
    return _change(run, (Status.RUNNING,), Status.PAUSED)


def resume(run: TestRun) -> TestRun:
    """Resume a paused test run."""
    return _change(run, (Status.PAUSED,), Status.RUNNING)


def keep_alive(run: TestRun) -> bool:
    """Note that the program of a watched run still runs; return False when the run has ended."""
    return mark_alive(TestRun.objects.filter(pk=run.pk))


def mark_alive(runs: QuerySet[TestRun]) -> bool:
    """Note that the programs of the runs that have not ended still run; return whether there are any."""
    with translate_errors():
        return bool(runs.filter(status__in=OPEN).update(alive_at=database_now_within()))


def current() -> list[TestRun]:
    """Return the runs that have not ended, including paused ones, the oldest first."""
    with translate_errors():
        return list(TestRun.objects.filter(status__in=OPEN).order_by("started_at", "pk"))


def _change(
    run: TestRun,
    allowed: Iterable[str],
    status: str,
    *,
    note: str = "",
    ended_at: datetime | None = None,
    ends: bool = False,
) -> TestRun:
    with translate_errors(), transaction.atomic():
        found = TestRun.objects.select_for_update().filter(pk=run.pk).first()
        if found is None:
            raise RunOverError(f"the test run {run.slug!r} no longer exists")
        if found.status not in allowed and not (found.is_past and ends):
            words = " or ".join(allowed)
            kind = RunOverError if found.status in ENDED else RunError
            raise kind(f"the test run {run.slug!r} is {found.status}, not {words}; it cannot become {status}")
        found.status = status
        if ends and not found.is_past:
            # A clock may be set back; a run never ends before its start.
            ended_at = max(filter(None, (ended_at or database_now(), found.started_at)))
            _end_phases(found, ended_at)
            found.ended_at = ended_at
        found.notes = _add_note(found.notes, note)
        found.save(update_fields=["status", "ended_at", "notes"])
        transaction.on_commit(tell_history)
    return found


def _end_phases(run: TestRun, ended_at: datetime) -> None:
    """End the phase that goes on; a run may end earlier than it was told, at the last sign of life of its program."""
    run.phases.filter(starts_at__gte=ended_at).delete()
    run.phases.filter(Q(ends_at__isnull=True) | Q(ends_at__gt=ended_at)).update(ends_at=ended_at)


def make_test(name: str) -> str:
    """Return the slug of the test whose runs have this name; empty for a name without letters from a to z or digits."""
    return slugify(name)[:MAX_TEST_LENGTH].strip("-")


def make_slug(name: str, started_at: datetime) -> str:
    """Return a slug that no other run has: from the name, the time of the start and four random letters."""
    letters = "".join(secrets.choice(string.ascii_lowercase) for _ in range(4))
    return f"{slugify(name)[:_NAME_IN_SLUG].strip('-') or 'run'}-{started_at:%Y%m%d-%H%M%S}-{letters}"


def _read_texts(name: str, values: Any) -> list[str]:
    if isinstance(values, str):
        raise RunError(f"{name} is {quote(values)}; it must be a list of texts, such as [{quote(values)}]")
    return list(dict.fromkeys(values))


def _add_note(notes: str, note: str) -> str:
    """Return the notes with one more paragraph, without unprintable characters, cut to the longest text allowed."""
    clean = "".join(char if char.isprintable() or char == "\n" else " " for char in note).strip()
    return f"{notes}\n\n{clean}".strip()[:MAX_TEXT_LENGTH] if clean else notes


@contextmanager
def translate_errors() -> Iterator[None]:
    """Raise RunStorageError for an error of the database."""
    try:
        yield
    except (DjangoDatabaseError, ImproperlyConfigured) as error:
        reason = str(error).strip().partition("\n")[0]
        raise RunStorageError(
            f"test runs are stored in the server's database, and this program's database fails: {reason}. "
            "Give this program the server's DATABASE_URL; if it has that already, run `manage.py migrate`"
        ) from error


# --- the active runs in the history ---


def check_recordable() -> None:
    """Raise NotRecordedError when there is no history from which to record."""
    if open_history(get_settings()) is None:
        raise NotRecordedError(
            "test runs are recorded from the history, and there is none: set METRICS_STREAM['HISTORY_SECONDS'] above "
            "0, and use Redis or the in-memory channel layer"
        )


def active() -> tuple[ActiveRun, ...]:
    """Return the runs to which metrics belong now, as the database has them, the oldest first."""
    running = TestRun.objects.filter(status=Status.RUNNING).order_by("started_at", "pk")
    return tuple(ActiveRun(slug, tuple(sources)) for slug, sources in running.values_list("slug", "sources"))


def tell_history() -> None:
    """Set the active runs of the history; when it cannot be reached, the recorder does so later.

    Two processes that do this at the same time can overtake each other, so it repeats until nothing has changed.
    """
    runs = None
    try:
        while runs != (now := active()):
            runs = now
            _set_active_runs(runs)
    except (MetricsStreamError, DjangoDatabaseError) as error:
        logger.warning("metrics are not assigned to test runs yet: %s", error)


def _set_active_runs(runs: Sequence[ActiveRun]) -> None:
    """Call the history from code that may run in a greenlet or in a thread with a running event loop."""
    settings = get_settings()
    # Outside the native thread, since this imports: see native_threads.
    history = open_history(settings)
    if history is None:
        return

    async def call() -> None:
        try:
            await history.set_active_runs(runs)
        finally:
            await history.close()

    limit = settings.bus_timeout_seconds + _SPARE_SECONDS
    try:
        native_threads.result_of(call, "metrics-runs", limit)
    except TimeoutError as error:
        raise BusError(f"the history took more than {limit:g} s") from error
