"""What a program sends over HTTP to be published: a body becomes metrics, or errors that name item and path.

Room: core. A body is one JSON item, a list of them, `{"metrics": [...]}`, or a line of JSON for each (NDJSON). It comes
from outside, so everything is decoded and encoded anew, and no step does more than its limit allows.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from metrics_stream.core.errors import BodyError, ItemError, MetricError, MetricTooBigError
from metrics_stream.core.formatting import quote
from metrics_stream.core.metrics.catalogue import MetricType
from metrics_stream.core.metrics.encoding import encode_metric, epoch_seconds
from metrics_stream.core.metrics.metric import MAX_TERM_LENGTH, Metric
from metrics_stream.core.protocol.codes import ItemErrorCode, RequestErrorCode
from metrics_stream.core.protocol.parsing import describe_malformed

Format = Literal["json", "ndjson"]

# Objects and lists within each other in the data of one metric; those of the catalogue need five.
MAX_DEPTH = 20

KEYS = ("metric_type", "data", "timestamp", "source")

# What no database stores, and what makes a line of a log two.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

# Whole numbers that do not fit 64 bits are left to Python, and to nobody else who reads them.
_LONG_NUMBER = re.compile(rb"\d{19}")
_WHOLE = (-(2**63), 2**64 - 1)

# Numbers that may be too large for a float: with an exponent, or with hundreds of digits. No digit is looked at twice.
_NUMBER = re.compile(rb"(?<![\d.])-?(?:\d++(?:\.\d++)?[eE]\+?\d++|\d{309,}+(?:\.\d++)?)")

_decode = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True)
class Terms:
    """What a token may publish: types by slug, sources (an empty set is every one), and whose metrics they are else."""

    types: Mapping[str, MetricType]
    sources: frozenset[str]
    default_source: str
    max_metric_bytes: int


# --- from bytes to items ---


def inflate(body: bytes, *, max_bytes: int) -> bytes:
    """Return what a gzip holds; raise BadBody when it is none, or as soon as it has more than `max_bytes`."""
    inflater = zlib.decompressobj(wbits=31)
    try:
        # Never 0, which would mean no limit.
        unpacked = inflater.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise BodyError(RequestErrorCode.NOT_A_DOCUMENT, f"the body is no gzip: {error}") from error
    if len(unpacked) > max_bytes:
        raise BodyError(
            RequestErrorCode.TOO_LARGE,
            f"the body has more than {max_bytes:,} bytes unpacked; send it in several requests",
        )
    if not inflater.eof or inflater.unused_data:
        what = "goes on after its end" if inflater.eof else "ends too early"
        raise BodyError(RequestErrorCode.NOT_A_DOCUMENT, f"the gzip {what}; allowed: one complete member")
    return unpacked


def items_in(body: bytes, form: Format, *, max_items: int) -> Iterator[Any]:
    """Yield the items of a body, and for a line that is no JSON a BadItem; raise BadBody for what is no document."""
    return _lines(body, max_items) if form == "ndjson" else iter(_document(body, max_items))


def decode_json(body: bytes) -> Any:
    """Return what a body is; raise BadBody when it is no JSON."""
    try:
        return _decode(body)
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
    # Lines that are empty cost little, but not nothing.
    if body.count(b"\n") > 2 * max_items:
        raise _too_many(max_items)
    count = 0
    for line in body.split(b"\n"):
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
    if isinstance(error, msgspec.ValidationError):  # of what may be anything, only a number can be wrong
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
    """Return the metric that an item is; raise BadItem. `now`, in seconds since 1970, is when it has no timestamp."""
    if isinstance(item, ItemError):
        raise item
    if not isinstance(item, dict):
        raise ItemError(ItemErrorCode.INVALID_ITEM, "", f"the item is {_kind(item)}; allowed: an object")
    if unknown := next((key for key in item if key not in KEYS), None):
        raise ItemError(ItemErrorCode.INVALID_ITEM, "", f"unknown key {quote(unknown)}; allowed: {', '.join(KEYS)}")
    for key in ("metric_type", "data"):
        if key not in item:
            raise ItemError(
                ItemErrorCode.INVALID_ITEM, key, f"`{key}` is missing; every metric has `metric_type` and `data`"
            )
    slug = item["metric_type"]
    metric_type = terms.types.get(slug) if isinstance(slug, str) else None
    if metric_type is None:
        allowed = ", ".join(terms.types) or "none"
        raise ItemError(
            ItemErrorCode.UNKNOWN_METRIC_TYPE, "metric_type", f"unknown metric type {quote(slug)}; allowed: {allowed}"
        )
    source = _source(item.get("source"), terms)
    timestamp = _timestamp(item.get("timestamp"), now)
    if fault := _too_deep(item["data"], "data", MAX_DEPTH):
        raise ItemError(
            ItemErrorCode.NESTED_TOO_DEEPLY,
            fault,
            f"objects and lists are more than {MAX_DEPTH} deep; allowed: at most {MAX_DEPTH}",
        )
    try:
        metric = encode_metric(
            metric_type, item["data"], timestamp=timestamp, source=source, max_bytes=terms.max_metric_bytes
        )
    except MetricTooBigError as error:
        raise ItemError(ItemErrorCode.METRIC_TOO_BIG, "data", str(error)) from error
    except MetricError as error:
        raise ItemError(ItemErrorCode.INVALID_DATA, error.path or "data", str(error)) from error
    if _LONG_NUMBER.search(metric.body) and (too_large := _too_large(item["data"], "data")):
        raise ItemError(ItemErrorCode.INVALID_DATA, *too_large)
    for agent_id in metric.agent_ids:
        if not _is_name(agent_id):
            raise ItemError(ItemErrorCode.INVALID_DATA, "data", f"agent_id is {quote(agent_id)}; {_NAME}")
    return metric


_NAME = f"it must have 1 to {MAX_TERM_LENGTH} characters, none of them a control character"


def _is_name(text: str) -> bool:
    return 0 < len(text) <= MAX_TERM_LENGTH and not _UNPRINTABLE.search(text)


def _source(given: Any, terms: Terms) -> str:
    if given is not None and not (isinstance(given, str) and _is_name(given)):
        raise ItemError(ItemErrorCode.INVALID_SOURCE, "source", f"source is {quote(given)}; {_NAME}")
    source = terms.default_source if given is None else given
    if terms.sources and source not in terms.sources:
        what = "source is missing" if given is None else f"source {quote(given)} is not one of this token"
        raise ItemError(ItemErrorCode.UNKNOWN_SOURCE, "source", f"{what}; allowed: {', '.join(sorted(terms.sources))}")
    return source


def _timestamp(given: Any, now: float) -> float:
    try:
        if isinstance(given, str):
            instant = datetime.fromisoformat(given)
            given = (instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)).timestamp()
        return epoch_seconds(given, now)
    except (ValueError, OverflowError, MetricError) as error:
        raise ItemError(
            ItemErrorCode.INVALID_TIMESTAMP,
            "timestamp",
            f"timestamp is {quote(given)}; allowed: ISO 8601 such as 2026-01-31T12:00:00Z, or seconds (not "
            "milliseconds) since 1970",
        ) from error


def _too_deep(value: Any, path: str, left: int) -> str | None:
    """Return the path to what is nested deeper than `left` levels, None when nothing is."""
    if not isinstance(value, dict | list):
        return None
    if not left:
        return path
    for step, child in _children(value):
        if isinstance(child, dict | list) and (found := _too_deep(child, path + step, left - 1)):
            return found
    return None


_FITTING = f"allowed: whole numbers from {_WHOLE[0]} to {_WHOLE[1]}, others up to ±1.8e308"


def _too_large(value: Any, path: str) -> tuple[str, str] | None:
    """Return the path to a number that does not fit 64 bits and what is wrong with it, None when there is none."""
    if isinstance(value, dict | list):
        # Most of what there is needs no look, and some bodies have millions of it.
        pairs = ((step, child) for step, child in _children(value) if not isinstance(child, float | str))
        return next((found for step, child in pairs if (found := _too_large(child, path + step))), None)
    if isinstance(value, int) and not _WHOLE[0] <= value <= _WHOLE[1]:
        return path, f"`{path}` is {quote(value)}, a number that does not fit 64 bits; {_FITTING}"
    return None


def _children(value: dict[str, Any] | list[Any]) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        return ((f".{key}", child) for key, child in value.items())
    return ((f"[{index}]", child) for index, child in enumerate(value))
