"""Convert, check and encode a producer's value into the JSON bytes of a metric, once.

`conversion` says what becomes an object and what a list. Datetimes, enums, Decimals, UUIDs and numpy scalars are
converted. NaN and infinities become null.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from metrics_stream.core.errors import MetricError, MetricTooBigError
from metrics_stream.core.formatting import format_timestamp, quote
from metrics_stream.core.instants import ALLOWED_INSTANTS, read_seconds
from metrics_stream.core.metrics.annotations import check_annotations
from metrics_stream.core.metrics.catalogue import MetricType
from metrics_stream.core.metrics.conversion import NOT_DATA, convert, spread
from metrics_stream.core.metrics.keys import AGENT_KEY, agent_row
from metrics_stream.core.metrics.metric import MAX_TERM_LENGTH, Metric
from metrics_stream.core.metrics.projection import agent_ids_in
from metrics_stream.core.metrics.rows import abbreviate, read_rows
from metrics_stream.core.metrics.time_bounds import check_time


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
    body = encode_value(data)
    key = metric_type.key
    if key and body.startswith(b"{"):
        body = b"[%b]" % body  # a producer may pass one row without a list
    if key:
        body, rows = read_rows(metric_type, body)
    elif not body.startswith(b"{"):
        raise MetricError(f"{metric_type.slug}: data must be an object, got {abbreviate(body)}")
    else:
        rows = tuple(map(agent_row, agent_ids_in(body)))
        key = AGENT_KEY if rows else ()
    document = {
        "metric_type": metric_type.slug,
        "timestamp": format_timestamp(timestamp),
        "source": source,
        "data": msgspec.Raw(body),
        **({} if key in _UNSTATED_KEYS else {"key": key}),
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
    return Metric(metric_type.slug, source, timestamp, rows, encoded, key)


def encode_metrics(metric_type: MetricType, data: Any, **beside: Any) -> list[Metric]:
    """Return `data` as one metric, or the rows of a large set as several of at most `max_bytes`, in order.

    The arguments and errors are those of `encode_metric`.
    """
    try:
        return [encode_metric(metric_type, data, **beside)]
    except MetricTooBigError:
        # A set that was an iterator is used up.
        rows = msgspec.json.decode(encode_value(data)) if metric_type.key and isinstance(data, Collection) else ()
        if not isinstance(rows, list) or len(rows) < 2:
            raise
    half = len(rows) // 2
    return [metric for part in (rows[:half], rows[half:]) for metric in encode_metrics(metric_type, part, **beside)]


# Readers know these without being told.
_UNSTATED_KEYS = ((), AGENT_KEY)


def encode_value(data: Any) -> bytes:
    """Return `data` as JSON; raise MetricError with the path to a value that cannot be converted."""
    try:
        data = spread(data)
        body = _encode(data)
        if b"NaN" in body or b"Infinity" in body or b"nan" in body:
            # It may be part of a text, or a Decimal that is NaN, which the encoder does not convert.
            body = _encode(_without_nan(msgspec.to_builtins(data, enc_hook=convert, builtin_types=(Decimal,))))
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        path, value = _find_fault(data, "data", depth=0)
        message = f"`{path}` is {_describe(value)}, which cannot be sent as JSON"
        raise MetricError(message, path=path) from error
    return body


def as_plain(data: Any) -> Any:
    """Return `data` as JSON can hold it: objects as dicts; raise MetricError as `encode_value` does."""
    return data if type(data) is dict else msgspec.json.decode(encode_value(data))


def _without_nan(value: Any) -> Any:
    if isinstance(value, Decimal):
        return value if value.is_finite() else None
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return value


_encode = msgspec.json.Encoder(enc_hook=convert, decimal_format="number").encode

# Deeper than any metric; ends the search in a cycle before the recursion limit does.
_MAX_DEPTH = 50


def _find_fault(value: Any, path: str, depth: int) -> tuple[str, Any]:
    """Return the path to the innermost value that cannot be encoded, and the value."""
    children: Iterable[tuple[str, Any]] = ()
    if isinstance(value, list | tuple):
        children = ((f"{path}[{index}]", item) for index, item in enumerate(value))
    else:
        fields = value if isinstance(value, Mapping) else getattr(value, "__dict__", None)
        if isinstance(fields, Mapping) and not isinstance(value, NOT_DATA):
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


def epoch_seconds(instant: Any, now: float) -> float:
    """Return a producer's timestamp, as `read_seconds` accepts it, in seconds since 1970; None means `now`.

    Every door where metrics come in calls this. Raises MetricError for what is no timestamp, and for one that
    `time_bounds` does not allow.
    """
    if instant is None:
        return now
    try:
        seconds = read_seconds(instant)
    except ValueError as error:
        raise MetricError(f"timestamp is {quote(instant)}; allowed: {ALLOWED_INSTANTS}", path="timestamp") from error
    return check_time(seconds, now, instant)
