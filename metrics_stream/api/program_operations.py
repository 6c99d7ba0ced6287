"""What the addresses for programs take and return, for the OpenAPI document; the views read bodies themselves.

They read more than a schema can say, such as instants in many forms, and explain faults item by item.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from metrics_stream.api import comparison, metrics, past_runs, runs
from metrics_stream.core.formats.operations import JSON, NDJSON, describes
from metrics_stream.core.protocol.codes import RequestErrorCode
from metrics_stream.models import AccessToken

Scope = AccessToken.Scope

_RUN_ERRORS = (RequestErrorCode.INVALID_RUN, RequestErrorCode.UNKNOWN_RUN)

_TIME = "ISO 8601, or seconds or milliseconds since 1970."

Values = dict[str, Any]
Percent = Annotated[float, Meta(ge=0, le=100)]


class MetricBody(msgspec.Struct, frozen=True, kw_only=True):
    """A metric; without `timestamp` it is of now, without `source` of the token."""

    metric_type: str
    data: Values | list[Values]
    timestamp: Annotated[str | float | UnsetType, Meta(description=_TIME)] = UNSET
    source: str | UnsetType = UNSET
    units: dict[str, str] | UnsetType = UNSET
    windows: dict[str, float] | UnsetType = UNSET


class MetricsBody(msgspec.Struct, frozen=True, kw_only=True):
    """Several metrics."""

    metrics: list[MetricBody]


class ItemFault(msgspec.Struct, frozen=True, kw_only=True):
    """Why one metric was not accepted: its place in the body, the path to the value, and what is allowed."""

    index: int
    path: str
    code: str
    message: str


class AcceptedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """How many metrics were accepted, and why others were not; 207 if only some were, 422 if none was."""

    accepted: int
    repeated: bool | UnsetType = UNSET
    errors: list[ItemFault] | UnsetType = UNSET


class PhaseBody(msgspec.Struct, frozen=True, kw_only=True):
    """A phase of a test that is over."""

    name: str
    start: str
    end: str | None


class StartBody(msgspec.Struct, frozen=True, kw_only=True):
    """What a test run says of itself; with `started_at` and `ended_at` the test is over."""

    name: str
    test: str | UnsetType = UNSET
    sources: list[str] | UnsetType = UNSET
    target_tps: float | UnsetType | None = UNSET
    tags: list[str] | UnsetType = UNSET
    notes: str | UnsetType = UNSET
    parameters: dict[str, str | float | bool] | UnsetType = UNSET
    started_at: Annotated[str | float | UnsetType, Meta(description=_TIME)] = UNSET
    ended_at: Annotated[str | float | UnsetType, Meta(description=_TIME)] = UNSET
    phases: list[PhaseBody] | UnsetType = UNSET


class StateAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a test run."""

    slug: str
    status: str
    started_at: str | None
    ended_at: str | None


class StartedAnswer(StateAnswer, frozen=True, kw_only=True):
    """A test run that was started; its program reports to be alive every `alive_seconds`."""

    test: str
    sources: list[str]
    parameters: dict[str, str | float | bool]
    alive_seconds: float
    silent_seconds: float
    repeated: bool | UnsetType = UNSET


class AliveAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The run goes on; report again after `alive_seconds`."""

    slug: str
    alive_seconds: float


class StopBody(msgspec.Struct, frozen=True, kw_only=True):
    """How the run ended; the note is added to its notes."""

    status: Literal["completed", "failed", "cancelled"] | UnsetType = UNSET
    note: str | UnsetType = UNSET


class PhasesBody(msgspec.Struct, frozen=True, kw_only=True):
    """The phase that begins, null for none; or all phases of the run."""

    name: str | UnsetType | None = UNSET
    seconds_ago: float | UnsetType = UNSET
    phases: list[PhaseBody] | UnsetType = UNSET


class PhasesAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """All phases of the run."""

    slug: str
    phases: list[PhaseBody]


class CompareQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The parameters of a comparison."""

    format: Annotated[str | None, Meta(description="The tool of the file; without it, it is recognised.")] = None
    tolerance: Annotated[Percent | None, Meta(description="How many per cent figures may differ.")] = None


class ComparedFigure(msgspec.Struct, frozen=True, kw_only=True):
    """One figure of the run and of the tool."""

    figure: str
    unit: str
    run: float | None
    tool: float | None
    difference: float | None
    percent: float | None
    may_differ: float | None
    equal: bool | None


class ComparisonAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A run beside the result file of the tool that made its load."""

    run: str
    format: str
    tolerance_percent: float
    equal: bool
    figures: list[ComparedFigure]
    run_rules: list[str]
    tool_rules: list[str]


_OF_PROGRAM: dict[str, Any] = {"takes_session": False}
_PUBLISHING: dict[str, Any] = {
    **_OF_PROGRAM,
    "tag": "Publishing",
    "scope": Scope.PUBLISH,
    "bodies": (MetricBody, list[MetricBody], MetricsBody),
    "kinds": (JSON, NDJSON),
    "answer": AcceptedAnswer,
    "status": 202,
}
_RUNS: dict[str, Any] = {**_OF_PROGRAM, "tag": "Test runs", "scope": Scope.RUNS}
_OWN_RUN: dict[str, Any] = {**_RUNS, "errors": (*_RUN_ERRORS, RequestErrorCode.RUN_ENDED)}

_PUBLISHING_ERRORS = (RequestErrorCode.INVALID_KEY, RequestErrorCode.TOO_MANY_METRICS)
_START_ERRORS = (
    RequestErrorCode.INVALID_KEY,
    RequestErrorCode.INVALID_RUN,
    RequestErrorCode.TOO_MANY_RUNS,
    RequestErrorCode.RUNS_OFF,
)

describes(summary="Publish metrics.", errors=_PUBLISHING_ERRORS, **_PUBLISHING)(metrics.publish)
describes(
    summary="Record the metrics of a test that is over.", errors=(*_RUN_ERRORS, *_PUBLISHING_ERRORS), **_PUBLISHING
)(past_runs.record)
describes(
    summary="Start a test run.",
    bodies=(StartBody,),
    answer=StartedAnswer,
    status=201,
    errors=_START_ERRORS,
    **_RUNS,
)(runs.start)
describes(summary="Report that the program of a test run still runs.", answer=AliveAnswer, **_OWN_RUN)(runs.keep_alive)
describes(summary="End a test run.", bodies=(StopBody,), answer=StateAnswer, **_OWN_RUN)(runs.stop)
describes(
    summary="Mark a phase of a test run, or set all of its phases.",
    bodies=(PhasesBody,),
    answer=PhasesAnswer,
    **_OWN_RUN,
)(runs.phases)
describes(
    summary="Compare a test run with the result file of its load tool.",
    tag="Test runs",
    scope=Scope.SUBSCRIBE,
    query=CompareQuery,
    bodies=(bytes,),
    kinds=comparison.KINDS,
    answer=ComparisonAnswer,
    errors=(RequestErrorCode.UNKNOWN_RUN,),
    **_OF_PROGRAM,
)(comparison.compare_run)
