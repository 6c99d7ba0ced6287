"""`/api/v1/runs/` and one run: list, read and delete test runs.

Programs start and change runs at the same addresses, with a token (`api/runs.py`).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import Http404
from msgspec import Meta

from metrics_stream.access.grants import Access
from metrics_stream.access.run_lookup import search
from metrics_stream.access.visibility import visible_runs
from metrics_stream.api import program_operations as _described  # noqa: F401  it declares what `start` does
from metrics_stream.api import runs as programs_runs
from metrics_stream.api.methods import by_method
from metrics_stream.api.readers import Call, NoQuery, reads, writes
from metrics_stream.api.requests import SLUG
from metrics_stream.api.responses import Next, PageQuery, wrong_cursor
from metrics_stream.audit.trail import Action
from metrics_stream.core.errors import RequestRefusedError
from metrics_stream.core.formats.operations import CSV, JSON
from metrics_stream.core.formats.queries import Instant, ShortText
from metrics_stream.core.formatting import quote
from metrics_stream.core.protocol.codes import RequestErrorCode
from metrics_stream.models import TestRun
from metrics_stream.reports.run_description import describe
from metrics_stream.runs import lifecycle

Status = Literal["not_started", "running", "paused", "completed", "failed", "cancelled"]


class PhaseAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A phase of a test run; one that goes on has no end."""

    name: str
    start: str
    end: str | None


class RunAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A test run: what it says of itself, and what is recorded of it. Instants are ISO 8601 in UTC."""

    slug: str
    name: str
    test: str
    status: Status
    started_at: str | None
    ended_at: str | None
    target_tps: float | None
    tags: list[str]
    parameters: dict[str, str | float | bool]
    phases: list[PhaseAnswer]
    sources: Annotated[list[str], Meta(description="The sources of the run that the reader may see.")]
    every_source: Annotated[bool, Meta(description="Whether the metrics of every source belong to the run.")]
    notes: str
    metrics_recorded: int
    is_recording: Annotated[bool, Meta(description="Whether metrics of the run are still being recorded.")]


class RunsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A page of test runs, the newest first."""

    runs: list[RunAnswer]
    next: Next

    def table(self) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        """Return the runs as a table; phases, tags and parameters are JSON."""
        columns = RunAnswer.__struct_fields__
        return columns, ([msgspec.to_builtins(getattr(run, name)) for name in columns] for run in self.runs)


class RunsQuery(PageQuery, frozen=True, kw_only=True):
    """The parameters of the list of runs."""

    q: Annotated[
        ShortText | None,
        Meta(description="Words of the name, test, tags, parameters or notes; commit=3f2a finds one."),
    ] = None
    test: Annotated[ShortText | None, Meta(description="The slug of the test.")] = None
    status: Status | None = None
    from_: Annotated[Instant | None, Meta(description="Only runs that were started at or after this instant.")] = (
        msgspec.field(name="from", default=None)
    )
    to: Annotated[Instant | None, Meta(description="Only runs that were started before this instant.")] = None


@reads(
    summary="List test runs, the newest first.",
    tag="Test runs",
    query=RunsQuery,
    answer=RunsAnswer,
    answers_with=(JSON, CSV),
)
def list_runs(call: Call[RunsQuery]) -> RunsAnswer:
    """Return a page of the visible runs."""
    query = call.query
    found = search(call.access, query.q or "")
    if query.test is not None:
        found = found.filter(test=query.test)
    if query.status is not None:
        found = found.filter(status=query.status)
    if query.from_ is not None:
        found = found.filter(started_at__gte=_instant(query.from_))
    if query.to is not None:
        found = found.filter(started_at__lt=_instant(query.to))
    page = list(_after(found, query.cursor)[: query.limit + 1])
    call.note(Action.RUN, "the list of test runs")
    shown = page[: query.limit]
    return RunsAnswer(
        runs=[describe_run(run, call.access) for run in shown],
        next=_cursor_of(shown[-1]) if len(page) > len(shown) else None,
    )


def _instant(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, tz=UTC)


def _cursor_of(run: TestRun) -> str:
    text = f"{run.created_at.isoformat()} {run.pk}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _after(found: QuerySet[TestRun], cursor: str | None) -> QuerySet[TestRun]:
    """Return the runs that follow the one of a cursor; runs that are started or deleted meanwhile move none."""
    if cursor is None:
        return found
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        created_at, _, pk = text.partition(" ")
        at, number = datetime.fromisoformat(created_at), int(pk)
    except (ValueError, binascii.Error) as error:
        raise wrong_cursor(cursor) from error
    if at.tzinfo is None or not 0 <= number < 2**63:
        raise wrong_cursor(cursor)
    return found.filter(Q(created_at__lt=at) | Q(created_at=at, pk__lt=number))


def describe_run(run: TestRun, access: Access) -> RunAnswer:
    """Return what a reader may know of a run."""
    described = describe(run, access.permit.visible_sources(map(str, run.sources)))
    return RunAnswer(
        **{**described, "phases": [PhaseAnswer(**phase) for phase in described["phases"]]},
        metrics_recorded=run.metrics_recorded,
        is_recording=run.recording_ended_at is None,
    )


def find_run(access: Access, slug: str) -> TestRun:
    """Return the visible run with this slug; raise Http404."""
    found = visible_runs(access).filter(slug=slug).first() if SLUG.fullmatch(slug) else None
    if found is None:
        raise Http404(f"there is no test run {quote(slug)} that you may see")
    return found


@reads(summary="Read one test run.", tag="Test runs", answer=RunAnswer, errors=(RequestErrorCode.NOT_FOUND,))
def read_run(call: Call[NoQuery], slug: str) -> RunAnswer:
    """Return a visible run."""
    run = find_run(call.access, slug)
    call.note(Action.RUN, run.slug)
    return describe_run(run, call.access)


@writes(
    "metrics_stream.delete_testrun",
    summary="Delete a test run that has ended, with its recording.",
    tag="Test runs",
    status=204,
    errors=(RequestErrorCode.NOT_FOUND, RequestErrorCode.CONFLICT),
)
def delete_run(call: Call[NoQuery], slug: str) -> None:
    """Delete a visible run."""
    with transaction.atomic():
        run = find_run(call.access, slug)
        if run.status in lifecycle.OPEN:
            message = f"the test run {run.slug!r} goes on: it is {run.status}; allowed: runs that have ended"
            raise RequestRefusedError(RequestErrorCode.CONFLICT, message)
        run.delete()
        transaction.on_commit(lifecycle.tell_history)
    call.note(Action.RUN, f"{slug} deleted")


runs = by_method(GET=list_runs, POST=programs_runs.start)
run = by_method(GET=read_run, DELETE=delete_run)
