"""`POST /api/metrics/`: programs publish from outside, with a token, and hear what became of each metric.

202 is answered only when all of it is in the history and on the channel layer. What cannot be read is the fault of a
request (4xx) or of one metric (207, and 422 when it is all of them).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.http import HttpRequest, JsonResponse

from metrics_stream.api.programs import Program, publishing_programs_of
from metrics_stream.api.requests import body_of, for_programs, idempotency_key, key_of, quiet, refuse
from metrics_stream.conf import get_settings
from metrics_stream.core.errors import BusError, ItemError
from metrics_stream.core.formats.native import Format, items_in, read_item
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.protocol.codes import RequestErrorCode
from metrics_stream.models import AccessToken
from metrics_stream.runtime.runtime import Runtime, get_runtime

FORMATS: dict[str, Format] = {"application/json": "json", "application/x-ndjson": "ndjson"}

# How many metrics are read before others get their turn: a few milliseconds of work.
SLICE = 50


@dataclass(slots=True)
class Submission:
    """What one request brings: its metrics by their place in it, and what is wrong with the others."""

    metrics: dict[int, Metric] = field(default_factory=dict)
    errors: dict[int, ItemError] = field(default_factory=dict)

    def describe_errors(self) -> list[dict[str, Any]]:
        """Return the errors as they are answered."""
        return [
            {"index": index, "path": bad.path, "code": bad.code, "message": str(bad)}
            for index, bad in sorted(self.errors.items())
        ]


@for_programs(AccessToken.Scope.PUBLISH)
async def publish(request: HttpRequest, program: Program) -> JsonResponse:
    """Publish what a program sends."""
    runtime = get_runtime()
    publishers = publishing_programs_of(runtime)
    key = key_of(request)
    kind, body = body_of(request, FORMATS)
    submission = await _read(body, FORMATS[kind], program)
    publishers.take_metrics(program, len(submission.metrics) + len(submission.errors))
    submission.errors |= await publishers.admit_names(program, submission.metrics)
    for bad in submission.errors.values():
        runtime.telemetry.ingest_metrics_refused[bad.code] += 1
    metrics = {index: metric for index, metric in submission.metrics.items() if index not in submission.errors}
    once = idempotency_key(program, key, body)
    repeated = once is not None and publishers.is_done(program, once)
    if not repeated:
        if (unavailable := await _send(runtime, metrics, once)) is not None:
            return unavailable
        if once is not None:
            publishers.note_done(program, once)
    return _answer(submission, len(metrics), repeated=repeated)


def _answer(submission: Submission, accepted: int, *, repeated: bool) -> JsonResponse:
    content: dict[str, Any] = {"accepted": accepted}
    if repeated:
        content["repeated"] = True
    if not submission.errors:
        return JsonResponse(content, status=202)
    content["errors"] = submission.describe_errors()
    return quiet(content, 207 if accepted else 422)


async def _read(body: bytes, form: Format, program: Program) -> Submission:
    submission = Submission()
    now = time.time()
    for index, item in enumerate(items_in(body, form, max_items=get_settings().ingest_max_metrics)):
        if index % SLICE == SLICE - 1:
            await asyncio.sleep(0)
        try:
            submission.metrics[index] = read_item(item, program.terms, now)
        except ItemError as bad:
            submission.errors[index] = bad
    return submission


# --- publishing ---


async def _send(runtime: Runtime, metrics: dict[int, Metric], once: bytes | None) -> JsonResponse | None:
    """Publish metrics; return the answer when that does not work, which says what has been published all the same."""
    sent: set[int] = set()

    def note(batch: Sequence[Metric]) -> None:
        sent.update(map(id, batch))
        runtime.telemetry.metrics_ingested += len(batch)

    try:
        name = None if once is None else f"http.{once.hex()}"
        await runtime.bus.publish(list(metrics.values()), idempotency_key=name, on_sent=note)
    except BusError as error:
        runtime.telemetry.bus_failures += 1
        unpublished = [index for index, metric in metrics.items() if id(metric) not in sent]
        left = {"accepted": len(sent), "unpublished": unpublished} if sent else {"accepted": 0}
        return refuse(runtime, RequestErrorCode.UNAVAILABLE, str(error), retry_seconds=2, **left)
    return None
