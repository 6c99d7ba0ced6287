"""What a producer states about its fields beside `data`: their units, and the windows over which they were measured.

`units` has a unit by field, `windows` has seconds by field. A field is named as in the series of a metric: by its key,
or by its dotted path where objects are nested; for agents by the path below the entry of the agent. A metric without
them has neither key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypedDict

import msgspec

from metrics_stream.core.errors import MetricError
from metrics_stream.core.formatting import quote
from metrics_stream.core.metrics.metric import MAX_TERM_LENGTH

UNITS, WINDOWS = "units", "windows"

# The longest unit of the catalogue has seven characters; pages show a unit beside every number.
MAX_UNIT_LENGTH = 20
# A year: longer than any test.
MAX_WINDOW_SECONDS = 31_536_000
# More fields than a metric of a test has. The size of a metric is bounded anyway.
MAX_ANNOTATED_FIELDS = 2_000


class Beside(TypedDict, total=False):
    """What a producer can state beside the data of a metric; `source` is where the metric comes from."""

    source: str | None
    units: Mapping[str, str] | None
    windows: Mapping[str, float] | None


class Annotation(NamedTuple):
    """What is known of one field: its unit, and the seconds over which each value was measured; None if unstated."""

    unit: str | None = None
    window_seconds: float | None = None


UNSTATED = Annotation()


class _Stated(msgspec.Struct, gc=False):
    units: dict[str, str] | None = None
    windows: dict[str, float] | None = None


_decode = msgspec.json.Decoder(_Stated).decode


def check_annotations(units: Any, windows: Any) -> dict[str, dict[str, Any]]:
    """Return the keys to put beside `data`; raise MetricError for what cannot be a unit or a window."""
    return {
        **_check(UNITS, units, _is_unit, f"a text of 1 to {MAX_UNIT_LENGTH} printable characters"),
        **_check(WINDOWS, windows, _is_window, f"a number of seconds over 0, up to {MAX_WINDOW_SECONDS:,}"),
    }


def _check(key: str, stated: Any, is_allowed: Callable[[Any], bool], allowed: str) -> dict[str, dict[str, Any]]:
    if stated is None:
        return {}
    if not isinstance(stated, Mapping):
        raise MetricError(f"`{key}` is {quote(stated)}; allowed: an object with {allowed} for each field", path=key)
    if len(stated) > MAX_ANNOTATED_FIELDS:
        raise MetricError(f"`{key}` names {len(stated):,} fields; allowed: {MAX_ANNOTATED_FIELDS:,}", path=key)
    for field, value in stated.items():
        if not isinstance(field, str) or not 0 < len(field) <= MAX_TERM_LENGTH or not field.isprintable():
            message = f"`{key}` names the field {quote(field)}; allowed: 1 to {MAX_TERM_LENGTH} printable characters"
            raise MetricError(message, path=key)
        if not is_allowed(value):
            raise MetricError(f"`{key}.{field}` is {quote(value)}; allowed: {allowed}", path=f"{key}.{field}")
    return {key: dict(stated)} if stated else {}


def _is_unit(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_UNIT_LENGTH and value.isprintable()


def _is_window(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= MAX_WINDOW_SECONDS


def annotations_in(body: bytes) -> dict[str, Annotation]:
    """Return what the body of a metric states, by field; empty for most metrics, and for a malformed one."""
    if b'"units":{' not in body and b'"windows":{' not in body:
        return {}
    try:
        stated = _decode(body)
    except (msgspec.DecodeError, RecursionError):
        return {}
    return annotations_of(stated.units, stated.windows)


def annotations_of(units: Mapping[str, str] | None, windows: Mapping[str, float] | None) -> dict[str, Annotation]:
    """Return what is stated by field."""
    units, windows = units or {}, windows or {}
    return {field: Annotation(units.get(field), windows.get(field)) for field in dict.fromkeys([*units, *windows])}


def keep_shown(stated: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return the part of `units` or `windows` that is about the fields `names` of a projection."""
    shown = frozenset(names)
    return {field: value for field, value in stated.items() if field in shown or field.partition(".")[0] in shown}
