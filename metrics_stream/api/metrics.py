"""`POST /api/metrics/`: programs publish with a token, and the answer says what became of each metric.

The answer is 202 only when all metrics are in the history and on the channel layer. An error concerns the whole request
(4xx) or single metrics (207, and 422 when none was accepted).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.http import HttpRequest, JsonResponse

from metrics_stream.access.refusals import unlogged_response
from metrics_stream.api.programs import Program, PublishingPrograms, publishing_programs_of
from metrics_stream.api.requests import (
    for_programs,
    make_publication_key,
    read_body,
    read_idempotency_key,
    reject,
)
from metrics_stream.audit.trail import address_of
from metrics_stream.conf import get_settings
from metrics_stream.core.errors import BusError, ItemError
from metrics_stream.core.formats.native import Format, Terms, items_in, read_item
from metrics_stream.core.metrics.budget import count_rows
from metrics_stream.core.metrics.metric import MAX_TERM_LENGTH, Metric
from metrics_stream.core.protocol.codes import RequestErrorCode
from metrics_stream.models import AccessToken
from metrics_stream.pacing import Pace
from metrics_stream.program import PROGRAM_HEADER
from metrics_stream.runtime.runtime import Runtime, get_runtime

FORMATS: dict[str, Format] = {"application/json": "json", "application/x-ndjson": "ndjson"}


@dataclass(slots=True)
class Submission:
    """The content of a request: its valid metrics, and the errors of the others, by their index."""

    metrics: dict[int, Metric] = field(default_factory=dict)
    errors: dict[int, ItemError] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """What the program should know of metrics that were accepted."""

    @property
    def valid(self) -> dict[int, Metric]:
        """The metrics without an error."""
        if not self.errors:
            return self.metrics
        return {index: metric for index, metric in self.metrics.items() if index not in self.errors}

    def describe_errors(self) -> list[dict[str, Any]]:
        """Return the errors as the answer lists them."""
        return [
            {"index": index, "path": error.path, "code": error.code, "message": str(error)}
            for index, error in sorted(self.errors.items())
        ]


async def admit(programs: PublishingPrograms, program: Program, submission: Submission) -> None:
    """Take a submission from the rate of its program, and note as errors the types and names that it may not have.

    Raises RequestRefusedError.
    """
    await programs.take_metrics(program, len(submission.metrics) + len(submission.errors))
    submission.errors |= await programs.admit_types(program, submission.metrics)
    submission.errors |= await programs.admit_names(program, submission.valid)
    for error in submission.errors.values():
        get_runtime().telemetry.ingest_metrics_refused[error.code] += 1


@for_programs(AccessToken.Scope.PUBLISH)
async def publish(request: HttpRequest, program: Program) -> JsonResponse:
    """Publish the metrics that a program sends."""
    runtime = get_runtime()
    programs = publishing_programs_of(runtime)
    key = read_idempotency_key(request)
    content_type, body = read_body(request, FORMATS)
    submission = await read_metrics(body, FORMATS[content_type], program)
    await admit(programs, program, submission)
    metrics, overflows = programs.fold_rows(program, submission.valid)
    submission.notes += map(str, overflows)
    runtime.telemetry.rows_folded += count_rows(overflows)
    runtime.clocks.sources.observe(metrics.values(), time.time())
    publication = make_publication_key(program, key, body)
    repeated = publication is not None and programs.is_published(program, publication)
    if not repeated:
        origin = _origin_of(request, program)
        if (rejection := await _publish_metrics(runtime, metrics, program, publication, origin)) is not None:
            return rejection
        if publication is not None:
            programs.note_published(program, publication)
    return make_answer(submission, len(metrics), repeated=repeated)


def _origin_of(request: HttpRequest, program: Program) -> str:
    """Return the name of the program that sent a request, for people: as it says itself, else its address."""
    named = request.headers.get(PROGRAM_HEADER, "")
    name = named if 0 < len(named) <= MAX_TERM_LENGTH and named.isprintable() else address_of(request)
    return f"{name} ({program.name})"


def make_answer(submission: Submission, accepted: int, *, repeated: bool) -> JsonResponse:
    """Return the answer that says what became of each metric."""
    content: dict[str, Any] = {"accepted": accepted}
    if repeated:
        content["repeated"] = True
    if submission.notes:
        content["notes"] = submission.notes
    if not submission.errors:
        return JsonResponse(content, status=202)
    content["errors"] = submission.describe_errors()
    return unlogged_response(content, 207 if accepted else 422)


async def read_metrics(
    body: bytes, form: Format, program: Program, read: Callable[[Any, Terms, float], Metric] = read_item
) -> Submission:
    """Return the content of a body, of which `read` makes metrics; raise BodyError."""
    submission = Submission()
    now, pace = time.time(), Pace()
    for index, item in enumerate(items_in(body, form, max_items=get_settings().ingest_max_metrics)):
        await pace.pause_if_due()
        try:
            submission.metrics[index] = read(item, program.terms, now)
        except ItemError as error:
            submission.errors[index] = error
    return submission


async def _publish_metrics(
    runtime: Runtime, metrics: dict[int, Metric], program: Program, publication: bytes | None, origin: str
) -> JsonResponse | None:
    """Publish metrics; when that fails, return a rejection that says which of them were published nevertheless."""
    sent: set[int] = set()

    def note(batch: Sequence[Metric]) -> None:
        sent.update(map(id, batch))
        runtime.telemetry.metrics_ingested += len(batch)

    try:
        name = None if publication is None else f"http.{publication.hex()}"
        await runtime.publishing.publish(
            list(metrics.values()), owner=program.owner, origin=origin, idempotency_key=name, on_sent=note
        )
    except BusError as error:
        runtime.telemetry.bus_failures += 1
        unpublished = [index for index, metric in metrics.items() if id(metric) not in sent]
        accepted = {"accepted": len(sent), "unpublished": unpublished} if sent else {"accepted": 0}
        return reject(runtime, RequestErrorCode.UNAVAILABLE, str(error), retry_seconds=2, **accepted)
    return None
