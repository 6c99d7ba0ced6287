"""Read requests about test runs from HTTP bodies, or raise an error that names the value.

This module checks types and keys. The models check the characters and length of names, tags and notes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from metrics_stream.core.errors import BodyError, MetricsStreamError
from metrics_stream.core.formats.native import decode_json
from metrics_stream.core.formatting import quote
from metrics_stream.core.protocol.codes import RequestErrorCode

COMPLETED, FAILED, CANCELLED = ENDINGS = ("completed", "failed", "cancelled")
"""The status of a run that has ended."""

START_KEYS = ("name", "sources", "target_tps", "tags", "notes")
STOP_KEYS = ("status", "note")

# Larger than any target load, and within what every database and chart can hold.
MAX_TARGET_TPS = 1e12


@dataclass(frozen=True, slots=True)
class Start:
    """A request to start a test run; without sources it covers the metrics of all sources."""

    name: str
    sources: tuple[str, ...] = ()
    target_tps: float | None = None
    tags: tuple[str, ...] = ()
    notes: str = ""


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
        sources or tuple(sorted(own_sources)),
        _target(given.get("target_tps")),
        _texts(given, "tags"),
        _text(given, "notes"),
    )


def read_stop(body: bytes) -> Stop:
    """Return the request in a body; raise BodyError."""
    given = _object(body, STOP_KEYS)
    status = given.get("status", COMPLETED)
    if status not in ENDINGS:
        raise _invalid_run(f"status is {quote(status)}; allowed: {', '.join(ENDINGS)}")
    return Stop(status, _text(given, "note"))


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


def _invalid_run(message: str) -> MetricsStreamError:
    return BodyError(RequestErrorCode.INVALID_RUN, message)
