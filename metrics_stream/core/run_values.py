"""What a test run says of itself: its test, parameters, start and end, and phases.

Every `read_…` takes what a producer or a person gave, returns the value, and raises RunError naming what was given and
what is allowed. All doors use them: the helper, HTTP, commands, the admin and the models.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from metrics_stream.core import instants
from metrics_stream.core.errors import MetricError, RunError
from metrics_stream.core.formatting import format_timestamp, quote
from metrics_stream.core.metrics.encoding import encode_value

Parameter = str | int | float | bool
Parameters = dict[str, Parameter]

MAX_TEST_LENGTH = 100
# A page shows all parameters and phases of a run, and the list of runs searches all parameters.
MAX_PARAMETERS = 50
MAX_PARAMETER_NAME = 50
MAX_PARAMETER_TEXT = 500
MAX_PHASES = 100
MAX_PHASE_NAME = 60

# Larger whole numbers are not exact in every program that reads JSON.
_MAX_WHOLE = 2**53

# Clocks differ: what a producer says of a run may be this far outside its start and end.
OUTSIDE_SECONDS = 60.0

# No test was recorded before; a timestamp of 0 or of another unit would make a run of decades.
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)

_SLUG = re.compile(r"[-\w]+", re.ASCII)
# Control characters are never intended, and no database can store halves of surrogate pairs.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class Phase(NamedTuple):
    """A named part of a run; `ends_at` is None while it goes on."""

    name: str
    starts_at: datetime
    ends_at: datetime | None = None


# --- the test ---


def read_test(value: Any) -> str:
    """Return the slug of a test; empty for none."""
    if value in ("", None):
        return ""
    if not isinstance(value, str) or len(value) > MAX_TEST_LENGTH or not _SLUG.fullmatch(value):
        raise RunError(
            f"test is {quote(value)}; allowed: 1 to {MAX_TEST_LENGTH} letters from a to z, digits, '-' and '_'"
        )
    return value


# --- parameters ---


def read_parameters(value: Any) -> Parameters:
    """Return the parameters of a run; datetimes, enums, Decimals, UUIDs and numpy scalars are converted."""
    if not isinstance(value, Mapping):
        raise RunError(
            f"parameters is {quote(value)}; allowed: an object of texts, numbers and booleans, such as "
            '{"commit": "3f2a9c1"}'
        )
    if len(value) > MAX_PARAMETERS:
        raise RunError(f"parameters has {len(value):,} entries; allowed: at most {MAX_PARAMETERS}")
    return {_parameter_name(name): _parameter(name, item) for name, item in value.items()}


def _parameter_name(name: Any) -> str:
    if not is_line(name, MAX_PARAMETER_NAME):
        raise RunError(
            f"the name of a parameter is {quote(name)}; allowed: 1 to {MAX_PARAMETER_NAME} printable characters, "
            "without spaces at either end"
        )
    return str(name)


def _parameter(name: str, value: Any) -> Parameter:
    if not isinstance(value, str | int | float | bool):
        try:
            value = msgspec.json.decode(encode_value(value))
        except (MetricError, msgspec.DecodeError):
            raise _parameter_error(name, value) from None
    match value:
        case bool():
            return value
        case str() if len(value) <= MAX_PARAMETER_TEXT and not _UNPRINTABLE.search(value):
            return str(value)
        case int() if abs(value) <= _MAX_WHOLE:
            return int(value)
        case float() if math.isfinite(value):
            return float(value)
    raise _parameter_error(name, value)


def _parameter_error(name: str, value: Any) -> RunError:
    return RunError(
        f"the parameter {quote(name)} is {quote(value)}; allowed: a text of at most {MAX_PARAMETER_TEXT} printable "
        "characters, a finite number (whole numbers up to 2^53), true or false"
    )


def parameter_text(value: Parameter) -> str:
    """Return a parameter as people read and type it."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def parameter_of(text: str) -> Parameter:
    """Return what a person typed: a number, true or false if it is written as JSON writes it, else the text.

    So 1.10 stays a text, and a commit that has only digits looks as it was typed.
    """
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return text
    is_plain = isinstance(value, bool | int | float) and parameter_text(value) == text
    return value if is_plain and (isinstance(value, bool) or abs(value) <= _MAX_WHOLE) else text


def read_parameter_lines(lines: Iterable[str]) -> Parameters:
    """Return the parameters that a person typed as NAME=VALUE, one in each line; empty lines are skipped."""
    found: Parameters = {}
    for line in lines:
        name, is_given, text = line.partition("=")
        if not line.strip():
            continue
        if not is_given or not name.strip():
            raise RunError(f"the parameter {quote(line.strip())} has no value; allowed: NAME=VALUE")
        if name.strip() in found:
            raise RunError(f"the parameter {quote(name.strip())} is given more than once; allowed: each name once")
        found[name.strip()] = parameter_of(text.strip())
    return read_parameters(found)


# --- start and end ---


def read_instant(name: str, value: Any) -> datetime:
    """Return an instant that is given in one of the forms of core/instants.py; `name` is what it is called."""
    try:
        return datetime.fromtimestamp(instants.read_instant(value), UTC)
    except ValueError:
        raise RunError(f"{name} is {quote(value)}; allowed: {instants.ALLOWED_INSTANTS}") from None


def read_span(started_at: Any, ended_at: Any, now: datetime) -> tuple[datetime, datetime] | None:
    """Return the start and the end of a run that is over; None if neither is given: the run begins now."""
    if started_at is None and ended_at is None:
        return None
    if started_at is None or ended_at is None:
        missing = "started_at" if started_at is None else "ended_at"
        raise RunError(f"{missing} is missing; allowed: both started_at and ended_at, for a test that is over, or none")
    start, end = read_instant("started_at", started_at), read_instant("ended_at", ended_at)
    if start < EARLIEST:
        raise RunError(f"started_at is {_iso(start)}; allowed: an instant from the year 2000 on")
    if end <= start:
        raise RunError(f"ended_at is {_iso(end)}; allowed: an instant after started_at, which is {_iso(start)}")
    if end > now + timedelta(seconds=OUTSIDE_SECONDS):
        raise RunError(f"ended_at is {_iso(end)}; allowed: an instant that is over, and it is {_iso(now)}")
    return start, end


def is_within(seconds_since_1970: float, start: datetime, end: datetime) -> bool:
    """Return whether a metric of this time can belong to a run, with OUTSIDE_SECONDS of tolerance."""
    return start.timestamp() - OUTSIDE_SECONDS <= seconds_since_1970 <= end.timestamp() + OUTSIDE_SECONDS


# --- phases ---


def read_phase_name(value: Any) -> str:
    """Return the name of a phase."""
    if not is_line(value, MAX_PHASE_NAME):
        raise RunError(
            f"the name of a phase is {quote(value)}; allowed: 1 to {MAX_PHASE_NAME} printable characters, without "
            "spaces at either end, such as 'steady'"
        )
    return str(value)


def read_phases(value: Any) -> list[Phase]:
    """Return phases that were given as objects with `name`, `start` and `end`, which is null while a phase goes on."""
    if isinstance(value, str | Mapping) or not isinstance(value, Iterable):
        raise RunError(
            f"phases is {quote(value)}; allowed: a list of objects such as "
            '{"name": "steady", "start": "2026-01-31T12:00:00Z", "end": "2026-01-31T12:30:00Z"}'
        )
    return [_read_phase(item) for item in value]


def _read_phase(item: Any) -> Phase:
    if isinstance(item, Phase):
        return item
    if not isinstance(item, Mapping) or not {"name", "start"} <= item.keys() <= {"name", "start", "end"}:
        raise RunError(f"a phase is {quote(item)}; allowed: an object with name, start and end")
    end = item.get("end")
    return Phase(
        read_phase_name(item["name"]),
        read_instant("the start of a phase", item["start"]),
        None if end is None else read_instant("the end of a phase", end),
    )


def arrange_phases(phases: Sequence[Phase], start: datetime, end: datetime | None) -> list[Phase]:
    """Return the phases of a run in the order of time, cut to its start and end; `end` is None while it goes on.

    Phases follow one another; there may be time between them. An instant that is up to OUTSIDE_SECONDS outside the run
    becomes its start or end. Only the last phase of a run that goes on may be without an end.
    """
    if len(phases) > MAX_PHASES:
        raise RunError(f"phases has {len(phases):,} entries; allowed: at most {MAX_PHASES}")
    arranged: list[Phase] = []
    for phase in sorted(phases, key=lambda item: item.starts_at):
        before = arranged[-1] if arranged else None
        if before is not None and (before.ends_at is None or before.ends_at > phase.starts_at):
            raise RunError(
                f"the phase {quote(phase.name)} begins before {quote(before.name)} ends; allowed: phases that follow "
                "one another"
            )
        arranged.append(_cut(phase, start, end))
    return arranged


def _cut(phase: Phase, start: datetime, end: datetime | None) -> Phase:
    name, starts_at, ends_at = phase
    slack = timedelta(seconds=OUTSIDE_SECONDS)
    if ends_at is not None and ends_at <= starts_at:
        raise RunError(f"the phase {quote(name)} ends at {_iso(ends_at)}; allowed: an instant after {_iso(starts_at)}")
    is_outside = starts_at < start - slack or (ends_at is not None and ends_at <= start)
    if end is not None:
        ends_at = end if ends_at is None else ends_at
        is_outside = is_outside or ends_at > end + slack or starts_at >= end
        ends_at = min(ends_at, end)
    if is_outside:
        until = "" if end is None else f" to {_iso(end)}"
        raise RunError(f"the phase {quote(name)} is outside its run; allowed: from {_iso(start)}{until}")
    return Phase(name, max(starts_at, start), ends_at)


def describe_phases(phases: Iterable[Phase]) -> list[dict[str, str | None]]:
    """Return phases as data that JSON can hold."""
    return [
        {"name": name, "start": _iso(starts_at), "end": None if ends_at is None else _iso(ends_at)}
        for name, starts_at, ends_at in phases
    ]


# --- what they share ---


def is_line(value: Any, limit: int) -> bool:
    """Return whether a value is a text of one line, not empty, without spaces at its ends."""
    return (
        isinstance(value, str) and 0 < len(value) <= limit and value == value.strip() and not _UNPRINTABLE.search(value)
    )


def _iso(instant: datetime) -> str:
    return format_timestamp(instant.timestamp())
