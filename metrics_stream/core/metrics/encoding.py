"""Convert, check and encode a producer's value into the JSON bytes of a metric, once.

Dataclasses, dicts, msgspec structs, pydantic models and plain objects become objects. Datetimes, enums, Decimals, UUIDs
and numpy scalars are converted. NaN and infinities become null.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import msgspec

from metrics_stream.core.errors import MetricError, MetricTooBigError
from metrics_stream.core.formatting import format_timestamp, quote
from metrics_stream.core.metrics.annotations import check_annotations
from metrics_stream.core.metrics.catalogue import MetricType
from metrics_stream.core.metrics.metric import MAX_TERM_LENGTH, Metric
from metrics_stream.core.metrics.projection import agent_ids_in

_NOT_DATA = (type, FunctionType, BuiltinFunctionType, MethodType, ModuleType)


def encode_metric(
    metric_type: MetricType,
    data: Any,
    *,
    timestamp: float,
    source: str,
    max_bytes: int,
    units: Any = None,
    windows: Any = None,
) -> Metric:
    """Return `data` as a metric; raise MetricError with the path to a value that cannot be part of one.

    `timestamp` is in seconds since the epoch, UTC. `units` and `windows` are what the producer states about fields.
    """
    if not source or len(source) > MAX_TERM_LENGTH:
        raise MetricError(f"source is {quote(source)}; it must have 1 to {MAX_TERM_LENGTH} characters")
    if metric_type.has_entries and not isinstance(data, list | tuple):
        # A producer may pass one agent without a list.
        data = list(data) if _is_iterable(data) else [data]
    body = encode_value(data)
    agent_ids = agent_ids_in(body)
    _check_shape(metric_type, body, agent_ids)
    document = {
        "metric_type": metric_type.slug,
        "timestamp": format_timestamp(timestamp),
        "source": source,
        "data": msgspec.Raw(body),
        **check_annotations(units, windows),
    }
    try:
        encoded = msgspec.json.encode(document)
    except UnicodeEncodeError as error:
        raise MetricError(f"source is {source!r}; it must be valid Unicode") from error
    if len(encoded) > max_bytes:
        raise MetricTooBigError(
            f"{metric_type.slug}: the metric has {len(encoded)} bytes as JSON; allowed: {max_bytes}"
        )
    return Metric(metric_type.slug, source, timestamp, agent_ids, encoded)


def _check_shape(metric_type: MetricType, body: bytes, agent_ids: tuple[str, ...]) -> None:
    if body.startswith(b"{") and not metric_type.has_entries:
        return
    if metric_type.has_entries:
        if body != b"[]" and not agent_ids:
            raise MetricError(
                f"{metric_type.slug}: data must be a list of objects with an `agent_id`, got {_abbreviate(body)}"
            )
        return
    raise MetricError(f"{metric_type.slug}: data must be an object, got {_abbreviate(body)}")


def _abbreviate(body: bytes) -> str:
    text = body[:80].decode(errors="replace")
    return text if len(body) <= 80 else text + "…"


def _is_iterable(data: Any) -> bool:
    return isinstance(data, Iterable) and not isinstance(data, Mapping | str | bytes)


def encode_value(data: Any) -> bytes:
    """Return `data` as JSON; raise MetricError with the path to a value that cannot be converted."""
    try:
        body = _encode(data)
        if b"NaN" in body or b"Infinity" in body or b"nan" in body:
            # It may be part of a text, or a Decimal that is NaN, which the encoder does not convert.
            body = _encode(_without_nan(msgspec.to_builtins(data, enc_hook=_convert, builtin_types=(Decimal,))))
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        path, value = _find_fault(data, "data", depth=0)
        message = f"`{path}` is {_describe(value)}, which cannot be sent as JSON"
        raise MetricError(message, path=path) from error
    return body


def _without_nan(value: Any) -> Any:
    if isinstance(value, Decimal):
        return value if value.is_finite() else None
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return value


def _convert(value: Any) -> Any:
    """Return a value that JSON can hold for one that it cannot; raise TypeError if there is none."""
    match value:
        case bool() | int() | float() | str():  # subclasses, np.float64 among them
            return next(kind(value) for kind in (int, float, str) if isinstance(value, kind))
        case _ if isinstance(value, _NOT_DATA):
            pass
        case _ if callable(getattr(value, "model_dump", None)):  # pydantic
            return value.model_dump()
        case _ if callable(getattr(value, "tolist", None)):  # numpy scalars and arrays
            return value.tolist()
        case Mapping():
            return dict(value)
        case _ if public := {key: item for key, item in getattr(value, "__dict__", {}).items() if key[:1] != "_"}:
            return public
    raise TypeError(f"no JSON for {type(value).__qualname__}")


_encode = msgspec.json.Encoder(enc_hook=_convert, decimal_format="number").encode

# The end of the year 9999, beyond which no datetime exists.
_END_OF_TIME = 253_402_300_800

# Deeper than any metric; ends the search in a cycle before the recursion limit does.
_MAX_DEPTH = 50


def _find_fault(value: Any, path: str, depth: int) -> tuple[str, Any]:
    """Return the path to the innermost value that cannot be encoded, and the value."""
    children: Iterable[tuple[str, Any]] = ()
    if isinstance(value, list | tuple):
        children = ((f"{path}[{index}]", item) for index, item in enumerate(value))
    else:
        fields = value if isinstance(value, Mapping) else getattr(value, "__dict__", None)
        if isinstance(fields, Mapping) and not isinstance(value, _NOT_DATA):
            children = ((f"{path}.{key}", item) for key, item in fields.items())
    if depth < _MAX_DEPTH:
        for child_path, child in children:
            try:
                _encode(child)
            except (TypeError, ValueError, RecursionError, OverflowError):
                return _find_fault(child, child_path, depth + 1)
    return path, value


def _describe(value: Any) -> str:
    if isinstance(value, dict | list | tuple) and value:
        return f"a {type(value).__name__} that is nested too deeply or has keys that are no texts"
    try:
        text = repr(value)
    except Exception:  # a producer's own __repr__ can raise anything
        text = "a value"
    return f"{text[:80].encode(errors='backslashreplace').decode()} ({type(value).__qualname__})"


def epoch_seconds(instant: datetime | float | None, now: float) -> float:
    """Return a producer's timestamp in seconds since the epoch; a naive datetime is UTC, None means `now`."""
    if instant is None:
        return now
    if isinstance(instant, datetime):
        return (instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)).timestamp()
    if isinstance(instant, bool) or not isinstance(instant, int | float):
        raise MetricError(f"timestamp is {instant!r}; it must be a datetime or a number of seconds since 1970")
    if not 0 <= instant < _END_OF_TIME:
        raise MetricError(f"timestamp is {instant!r}; it must be in seconds (not milliseconds) since 1970")
    return float(instant)
