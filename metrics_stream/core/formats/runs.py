"""Read requests about test runs from HTTP bodies, or raise an error that names the value.

This module checks types and keys. The models check the characters and length of names, tags and notes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from metrics_stream.core.errors import BodyError, MetricsStreamError, RunError
from metrics_stream.core.formats.native import decode_json
from metrics_stream.core.formatting import quote
from metrics_stream.core.protocol.codes import RequestErrorCode
from metrics_stream.core.run_values import (
    Parameters,
    Phase,
    read_instant,
    read_parameters,
    read_phase_name,
    read_phases,
    read_test,
)

T = TypeVar("T")

COMPLETED, FAILED, CANCELLED = ENDINGS = ("completed", "failed", "cancelled")
"""The status of a run that has ended."""

START_KEYS = (
    *("name", "sources", "target_tps", "tags", "notes"),
    *("test", "parameters", "started_at", "ended_at", "phases"),
)
STOP_KEYS = ("status", "note")
PHASE_KEYS = ("name", "seconds_ago", "phases")

# A phase that began earlier than this is set with its start, not marked.
MAX_SECONDS_AGO = 3_600.0

# Larger than any target load, and within what every database and chart can hold.
MAX_TARGET_TPS = 1e12


@dataclass(frozen=True, slots=True)
class Start:
    """A request to start a test run; without sources it covers the metrics of all sources.

    With `started_at` and `ended_at` the test is over, and `phases` are its phases. `test` is None if none was given.
    """

    name: str
    test: str | None = None
    sources: tuple[str, ...] = ()
    target_tps: float | None = None
    tags: tuple[str, ...] = ()
    notes: str = ""
    parameters: Parameters = field(default_factory=dict)
    started_at: datetime | None = None
    ended_at: datetime | None = None
    phases: tuple[Phase, ...] = ()


@dataclass(frozen=True, slots=True)
class PhaseMark:
    """A request to begin a phase `seconds_ago`; without a name only the phase before ends."""

    name: str | None
    seconds_ago: float = 0.0


@dataclass(frozen=True, slots=True)
class Stop:
    """A request to end a test run, with a text to append to its notes."""

    status: str = COMPLETED
    note: str = ""


def read_start(body: bytes, own_sources: Collection[str]) -> Start:
    """Return the request in a body; raise BodyError. A token with `own_sources` starts runs of these sources only."""
    given = _object(body, START_KEYS)
    if "name" not in given:
        raise _invalid_run("`name` is missing; allowed: what is tested, a text of 1 to 100 characters")
    name = _text(given, "name")
    if not name.strip():
        raise _invalid_run(f"name is {quote(name)}; allowed: a text of 1 to 100 characters")
    sources = _texts(given, "sources")
    if own_sources and (foreign := next((source for source in sources if source not in own_sources), None)) is not None:
        raise _invalid_run(
            f"source {quote(foreign)} is not one of this token; allowed: {', '.join(sorted(own_sources))}"
        )
    return Start(
        name,
        test=None if given.get("test") is None else _read(read_test, given["test"]),
        sources=sources or tuple(sorted(own_sources)),
        target_tps=_target(given.get("target_tps")),
        tags=_texts(given, "tags"),
        notes=_text(given, "notes"),
        parameters=_read(read_parameters, given.get("parameters", {})),
        started_at=_instant(given, "started_at"),
        ended_at=_instant(given, "ended_at"),
        phases=tuple(_read(read_phases, given.get("phases", []))),
    )


def read_stop(body: bytes) -> Stop:
    """Return the request in a body; raise BodyError."""
    given = _object(body, STOP_KEYS)
    status = given.get("status", COMPLETED)
    if status not in ENDINGS:
        raise _invalid_run(f"status is {quote(status)}; allowed: {', '.join(ENDINGS)}")
    return Stop(status, _text(given, "note"))


def read_phase_request(body: bytes) -> PhaseMark | list[Phase]:
    """Return the phase that a body marks, or all phases of a run; raise BodyError."""
    given = _object(body, PHASE_KEYS)
    if "phases" in given:
        if len(given) > 1:
            raise _invalid_run("phases stands beside another key; allowed: `phases` alone, or `name` and `seconds_ago`")
        return _read(read_phases, given["phases"])
    if "name" not in given:
        raise _invalid_run("`name` is missing; allowed: the name of the phase that begins, or null for none")
    seconds = given.get("seconds_ago", 0)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= MAX_SECONDS_AGO:
        raise _invalid_run(f"seconds_ago is {quote(seconds)}; allowed: a number from 0 to {MAX_SECONDS_AGO:g}")
    return PhaseMark(None if given["name"] is None else _read(read_phase_name, given["name"]), float(seconds))


def read_alive(body: bytes) -> None:
    """Raise BodyError unless the body is empty or an empty object."""
    _object(body, ())


def _object(body: bytes, keys: Collection[str]) -> Mapping[str, Any]:
    given = decode_json(body) if body.strip() else {}
    if not isinstance(given, dict):
        raise BodyError(RequestErrorCode.NOT_A_DOCUMENT, f"the body is {quote(given)}; allowed: an object")
    if (unknown := next((key for key in given if key not in keys), None)) is not None:
        raise _invalid_run(f"unknown key {quote(unknown)}; allowed: {', '.join(keys) or 'none'}")
    return given


def _text(given: Mapping[str, Any], key: str) -> str:
    value = given.get(key, "")
    if not isinstance(value, str):
        raise _invalid_run(f"{key} is {quote(value)}; allowed: a text")
    return value


def _texts(given: Mapping[str, Any], key: str) -> tuple[str, ...]:
    values = given.get(key, [])
    if not (isinstance(values, list) and all(isinstance(value, str) for value in values)):
        raise _invalid_run(f'{key} is {quote(values)}; allowed: a list of texts, such as ["one", "two"]')
    return tuple(dict.fromkeys(values))


def _target(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_TARGET_TPS:
        raise _invalid_run(f"target_tps is {quote(value)}; allowed: a number from 0 to {MAX_TARGET_TPS:g}, or null")
    return float(value)


def _instant(given: Mapping[str, Any], key: str) -> datetime | None:
    value = given.get(key)
    return None if value is None else _read(lambda item: read_instant(key, item), value)


def _read(read: Callable[[Any], T], value: Any) -> T:
    """Return what `read` makes of a value; raise BodyError for a RunError."""
    try:
        return read(value)
    except RunError as error:
        raise _invalid_run(str(error)) from error


def _invalid_run(message: str) -> MetricsStreamError:
    return BodyError(RequestErrorCode.INVALID_RUN, message)
