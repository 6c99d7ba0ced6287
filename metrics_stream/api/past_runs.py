"""`POST /api/runs/<slug>/metrics/`: programs record the metrics of a test that was over when they started its run.

The answer is that of `/api/metrics/`. It is 202 when all metrics are in the recording of the run; they are not
published, so no client gets them live.
"""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, JsonResponse

from metrics_stream.api.metrics import FORMATS, admit, make_answer, read_metrics
from metrics_stream.api.programs import Program, publishing_programs_of
from metrics_stream.api.requests import for_programs, make_publication_key, read_body, read_idempotency_key, reject
from metrics_stream.api.runs import find_run, query
from metrics_stream.core.errors import ItemError, RunError
from metrics_stream.core.formats.native import Terms, read_item
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.protocol.codes import ItemErrorCode, RequestErrorCode
from metrics_stream.models import AccessToken, TestRun
from metrics_stream.runs import past
from metrics_stream.runtime.runtime import get_runtime

_CODES = {"timestamp": ItemErrorCode.INVALID_TIMESTAMP, "source": ItemErrorCode.UNKNOWN_SOURCE}


@for_programs(AccessToken.Scope.PUBLISH)
async def record(request: HttpRequest, program: Program, slug: str) -> JsonResponse:
    """Record the metrics of a past run that this token has started."""
    runtime = get_runtime()
    programs = publishing_programs_of(runtime)
    key = read_idempotency_key(request)
    content_type, body = read_body(request, FORMATS)
    run = await query(find_run, program.pk, slug)
    if not run.is_past:
        message = (
            f"the test run {slug!r} records what is published at /api/metrics/; allowed: a run that was started with "
            "started_at and ended_at"
        )
        return reject(runtime, RequestErrorCode.INVALID_RUN, message)

    def read(item: Any, terms: Terms, now: float) -> Metric:
        if isinstance(item, dict) and item.get("timestamp") is None:
            message = "`timestamp` is missing; the metrics of a test that is over have their own times"
            raise ItemError(ItemErrorCode.INVALID_TIMESTAMP, "timestamp", message)
        metric = read_item(item, terms, now)
        if fault := past.fault_of(metric, run):
            raise ItemError(_CODES[fault[0]], *fault)
        return metric

    submission = await read_metrics(body, FORMATS[content_type], program, read)
    await admit(programs, program, submission)
    metrics = list(submission.valid.values())
    publication = make_publication_key(program, key, body)
    try:
        is_new = await query(_record, run, metrics, None if publication is None else publication.hex(), program.owner)
    except RunError as error:
        return reject(runtime, RequestErrorCode.UNKNOWN_RUN, str(error))
    return make_answer(submission, len(metrics), repeated=not is_new)


def _record(run: TestRun, metrics: list[Metric], key: str | None, token: str) -> bool:
    return past.record(run, metrics, key=key, token=token) if metrics else True
