"""The native format of HTTP ingest: read metrics from a body, or errors with their path in the item.

A body is one JSON item, a list of items, `{"metrics": [...]}`, or one line of JSON for each item (NDJSON). It is not
trusted: everything is decoded and encoded again, and each step has a limit.
"""

from __future__ import annotations

import math
import re
import zlib
from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from metrics_stream.core.errors import BodyError, ItemError, MetricError, MetricTooBigError
from metrics_stream.core.formatting import quote
from metrics_stream.core.metrics.annotations import UNITS, WINDOWS
from metrics_stream.core.metrics.catalogue import MetricType
from metrics_stream.core.metrics.encoding import encode_metric, epoch_seconds
from metrics_stream.core.metrics.items import rename_data, slug_of
from metrics_stream.core.metrics.keys import ALLOWED_NAME, agents_of, is_name
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.protocol.codes import ItemErrorCode, RequestErrorCode
from metrics_stream.core.protocol.parsing import describe_malformed
from metrics_stream.core.series.folding import readings

Format = Literal["json", "ndjson"]

# The depth of nested objects and lists in the data of one metric; metrics of the catalogue need five.
MAX_DEPTH = 20

KEYS = ("metric_type", "data", "timestamp", "source", UNITS, WINDOWS, "key")

# Integers that do not fit 64 bits: Python can read them, most other programs cannot.
_LONG_NUMBER = re.compile(rb"\d{19}")
_WHOLE = (-(2**63), 2**64 - 1)

# Numbers that can be too large for a float: with an exponent, or hundreds of digits. Reads each digit only once.
_NUMBER = re.compile(rb"(?<![\d.])-?(?:\d++(?:\.\d++)?[eE]\+?\d++|\d{309,}+(?:\.\d++)?)")

_decode = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True)
class Terms:
    """What a token may publish: types by slug, sources (an empty set means all), and the source if an item has none."""

    types: Mapping[str, MetricType]
    sources: frozenset[str]
    default_source: str
    max_metric_bytes: int
    max_fields: int = 500


# --- from bytes to items ---


def inflate(body: bytes, *, max_bytes: int) -> bytes:
    """Return the content of a gzip; raise BodyError if it is malformed, or as soon as it exceeds `max_bytes`."""
    inflater = zlib.decompressobj(wbits=31)
    try:
        # One byte more than allowed; 0 would mean no limit.
        unpacked = inflater.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise BodyError(RequestErrorCode.NOT_A_DOCUMENT, f"the body is not gzip: {error}") from error
    if len(unpacked) > max_bytes:
        raise BodyError(
            RequestErrorCode.TOO_LARGE,
            f"the body has more than {max_bytes:,} bytes unpacked; send it in several requests",
        )
    if not inflater.eof or inflater.unused_data:
        fault = "continues after its end" if inflater.eof else "ends too early"
        raise BodyError(RequestErrorCode.NOT_A_DOCUMENT, f"the gzip {fault}; allowed: one complete member")
    return unpacked


def items_in(body: bytes, form: Format, *, max_items: int) -> Iterator[Any]:
    """Yield the items of a body, an ItemError for a line that is not JSON; raise BodyError if the body is malformed."""
    return _lines(body, max_items) if form == "ndjson" else iter(_document(body, max_items))


def decode_json(body: bytes) -> Any:
    """Return the decoded body; raise BodyError if it is not JSON."""
    try:
        return _decode(body.removeprefix(BOM_UTF8))
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise BodyError(RequestErrorCode.NOT_A_DOCUMENT, f"the body is not JSON: {_reason(error, body)}") from error


def _document(body: bytes, max_items: int) -> list[Any]:
    items = document = decode_json(body)
    if isinstance(document, dict):
        items = [document]
        if "metrics" in document and "metric_type" not in document:
            items = document["metrics"]
            if unknown := next((key for key in document if key != "metrics"), None):
                raise BodyError(
                    RequestErrorCode.NOT_A_DOCUMENT, f"unknown key {quote(unknown)} beside `metrics`; allowed: none"
                )
    if not isinstance(items, list):
        raise BodyError(
            RequestErrorCode.NOT_A_DOCUMENT,
            f'the body is {_kind(items)}; allowed: a metric, a list of metrics, or {{"metrics": [...]}}',
        )
    if len(items) > max_items:
        raise _too_many(max_items)
    return items


def _lines(body: bytes, max_items: int) -> Iterator[Any]:
    # Empty lines are allowed, but each costs a little time.
    if body.count(b"\n") > 2 * max_items:
        raise _too_many(max_items)
    count = 0
    for text in body.split(b"\n"):
        # Joined files have one before each part.
        line = text.removeprefix(BOM_UTF8)
        if not line.strip():
            continue
        count += 1
        if count > max_items:
            raise _too_many(max_items)
        try:
            item = _decode(line)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            yield ItemError(ItemErrorCode.NOT_JSON, "", f"the line is not JSON: {_reason(error, line)}")
        else:
            yield item


def _too_many(max_items: int) -> BodyError:
    return BodyError(
        RequestErrorCode.TOO_LARGE, f"the request has more than {max_items:,} metrics; send them in several requests"
    )


def _reason(error: Exception, document: bytes) -> str:
    if isinstance(error, RecursionError):
        return f"it is nested too deeply; allowed: objects and lists at most {MAX_DEPTH} deep in the data of a metric"
    if isinstance(error, msgspec.ValidationError):  # the decoder accepts any type, so only a number can be invalid
        number = next((match[0] for match in _NUMBER.finditer(document) if _is_too_large(match[0])), b"a number in it")
        return f"{quote(msgspec.Raw(number))} does not fit 64 bits; {_FITTING}"
    return describe_malformed(error, document)


def _is_too_large(number: bytes) -> bool:
    return math.isinf(float(number))


def _kind(value: Any) -> str:
    return "null" if value is None else f"a {_KINDS.get(type(value), 'number')}"


_KINDS: dict[type, str] = {bool: "boolean", str: "text", list: "list", dict: "object"}


# --- from items to metrics ---


def read_item(item: Any, terms: Terms, now: float) -> Metric:
    """Return an item as a metric; raise ItemError. Without a timestamp it is of `now`, in seconds since 1970."""
    if isinstance(item, ItemError):
        raise item
    item = _check_keys(item)
    slug = item["metric_type"]
    metric_type = terms.types.get(slug_of(slug) or "")
    if metric_type is None:
        allowed = ", ".join(terms.types) or "none"
        raise ItemError(
            ItemErrorCode.UNKNOWN_METRIC_TYPE, "metric_type", f"unknown metric type {quote(slug)}; allowed: {allowed}"
        )
    if (key := item.get("key")) is not None and key != list(metric_type.key):
        allowed = f"{list(metric_type.key)}, or none" if metric_type.key else "none, since its data is an object"
        message = f"`key` is {quote(key)}; allowed for {metric_type.slug}: {allowed}"
        raise ItemError(ItemErrorCode.INVALID_ITEM, "key", message)
    source = _source(item.get("source"), terms)
    timestamp = _timestamp(item.get("timestamp"), now)
    if fault := _find_too_deep(item["data"], "data", MAX_DEPTH):
        raise ItemError(
            ItemErrorCode.NESTED_TOO_DEEPLY,
            fault,
            f"objects and lists are more than {MAX_DEPTH} deep; allowed: at most {MAX_DEPTH}",
        )
    try:
        metric = encode_metric(
            metric_type,
            item["data"],
            timestamp=timestamp,
            source=source,
            max_bytes=terms.max_metric_bytes,
            units=item.get(UNITS),
            windows=item.get(WINDOWS),
        )
    except MetricTooBigError as error:
        raise ItemError(ItemErrorCode.METRIC_TOO_BIG, "data", str(error)) from error
    except MetricError as error:
        raise ItemError(ItemErrorCode.INVALID_DATA, error.path or "data", str(error)) from error
    if _LONG_NUMBER.search(metric.body) and (too_large := _find_too_large(item["data"], "data")):
        raise ItemError(ItemErrorCode.INVALID_DATA, *too_large)
    _check_fields(metric.body, terms.max_fields)
    for agent_id in agents_of(metric.rows):
        if not is_name(agent_id):
            raise ItemError(ItemErrorCode.INVALID_DATA, "data", f"agent_id is {quote(agent_id)}; {_NAME}")
    return metric


def _check_keys(item: Any) -> Mapping[str, Any]:
    """Return an item that has the keys of a metric, and no others; raise ItemError."""
    if not isinstance(item, dict):
        raise ItemError(ItemErrorCode.INVALID_ITEM, "", f"the item is {_kind(item)}; allowed: an object")
    try:
        item = rename_data(item)
    except MetricError as error:
        raise ItemError(ItemErrorCode.INVALID_ITEM, "", str(error)) from error
    if unknown := next((key for key in item if key not in KEYS), None):
        raise ItemError(ItemErrorCode.INVALID_ITEM, "", f"unknown key {quote(unknown)}; allowed: {', '.join(KEYS)}")
    for key in ("metric_type", "data"):
        if key not in item:
            raise ItemError(
                ItemErrorCode.INVALID_ITEM, key, f"`{key}` is missing; every metric has `metric_type` and `data`"
            )
    return dict(item)


# A field with a number takes at least so many bytes of JSON: `"":1,`.
_FIELD_BYTES = 5


def _check_fields(body: bytes, allowed: int) -> None:
    """Raise ItemError if the data of a metric, or a row in it, has more fields with numbers than are allowed."""
    if len(body) <= allowed * _FIELD_BYTES:
        return
    count = max((len(values) - values.count(None) for _, _, values in readings(body)), default=0)
    if count > allowed:
        raise ItemError(
            ItemErrorCode.TOO_MANY_FIELDS,
            "data",
            f"the data, or a row in it, has {count:,} numbers; allowed: at most {allowed:,}",
        )


_NAME = f"it must have {ALLOWED_NAME}"


def _source(given: Any, terms: Terms) -> str:
    if given is not None and not (isinstance(given, str) and is_name(given)):
        raise ItemError(ItemErrorCode.INVALID_SOURCE, "source", f"source is {quote(given)}; {_NAME}")
    source = terms.default_source if given is None else given
    if terms.sources and source not in terms.sources:
        fault = "source is missing" if given is None else f"source {quote(given)} is not one of this token"
        raise ItemError(ItemErrorCode.UNKNOWN_SOURCE, "source", f"{fault}; allowed: {', '.join(sorted(terms.sources))}")
    return source


def _timestamp(given: Any, now: float) -> float:
    if given is None:
        return now
    try:
        return epoch_seconds(given, now)
    except MetricError as error:
        raise ItemError(ItemErrorCode.INVALID_TIMESTAMP, "timestamp", str(error)) from error


def _find_too_deep(value: Any, path: str, left: int) -> str | None:
    """Return the path to a value nested deeper than `left` levels, or None."""
    if not isinstance(value, dict | list):
        return None
    if not left:
        return path
    for step, child in _children(value):
        if isinstance(child, dict | list) and (found := _find_too_deep(child, path + step, left - 1)):
            return found
    return None


_FITTING = f"allowed: whole numbers from {_WHOLE[0]} to {_WHOLE[1]}, others up to ±1.8e308"


def _find_too_large(value: Any, path: str) -> tuple[str, str] | None:
    """Return the path to a number that does not fit 64 bits, with an error message, or None."""
    if isinstance(value, dict | list):
        # Most values are floats and texts, and some bodies have millions of them; skip these without a call.
        pairs = ((step, child) for step, child in _children(value) if not isinstance(child, float | str))
        return next((found for step, child in pairs if (found := _find_too_large(child, path + step))), None)
    if isinstance(value, int) and not _WHOLE[0] <= value <= _WHOLE[1]:
        return path, f"`{path}` is {quote(value)}, a number that does not fit 64 bits; {_FITTING}"
    return None


def _children(value: dict[str, Any] | list[Any]) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        return ((f".{key}", child) for key, child in value.items())
    return ((f"[{index}]", child) for index, child in enumerate(value))
