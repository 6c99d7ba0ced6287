"""`/api/v1/runs/<slug>/summary/`: the file with the totals and series of a run, answered as the API answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from django.http import HttpResponse
from msgspec import Meta

from metrics_stream.api.methods import by_method
from metrics_stream.api.readers import HIGH_COST, Call, reads
from metrics_stream.api.run_list import find_run
from metrics_stream.api.series import End, Start, check_span
from metrics_stream.core.protocol.codes import RequestErrorCode
from metrics_stream.reports.run_tables import ErrorRow, RequestRow


class SummaryQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The parameters of a summary."""

    from_: Start = msgspec.field(name="from", default=None)
    to: End = None


class SummaryAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The totals of a run or of a span of it, and the summary of each series."""

    run: str
    from_: str | None = msgspec.field(name="from")
    until: str | None
    rule: Annotated[str, Meta(description="How percentiles are counted.")]
    totals: dict[str, Any] | None
    requests: list[RequestRow]
    errors: list[ErrorRow]
    series: list[dict[str, Any]]


def summary_at(page: Callable[..., Any]) -> Callable[..., Any]:
    """Return the view of the summary; `page` returns its file to a viewer."""

    @reads(
        summary="Read the totals of a test run, or of a span of it.",
        tag="Test runs",
        query=SummaryQuery,
        answer=SummaryAnswer,
        errors=(RequestErrorCode.NOT_FOUND,),
        cost=HIGH_COST,
    )
    def read_summary(call: Call[SummaryQuery], slug: str) -> HttpResponse:
        check_span(call.query.from_, call.query.to)
        find_run(call.access, slug)
        response: HttpResponse = page(call.request, slug)
        return response

    return by_method(GET=read_summary)
