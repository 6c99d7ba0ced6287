"""Read and check the rows in the data of a keyed metric type, where metrics are made."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec

from metrics_stream.core.errors import MetricError
from metrics_stream.core.formatting import quote
from metrics_stream.core.metrics.catalogue import MetricType
from metrics_stream.core.metrics.keys import (
    AGENT_KEY,
    ALLOWED_NAME,
    MAX_ROW_BYTES,
    OTHER,
    SEPARATOR,
    is_name,
    make_row,
    text_of,
)
from metrics_stream.core.metrics.metric import MAX_TERM_LENGTH

_encode = msgspec.json.Encoder().encode
_decode_entries = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode


@lru_cache(maxsize=1_000)
def _decoder_of(key: tuple[str, ...]) -> msgspec.json.Decoder[Any]:
    """Return a decoder for the parts of a key in a list of rows, which skips their fields."""
    row = msgspec.defstruct(
        "_Row",
        [(f"part_{place}", Any, None) for place in range(len(key))],
        gc=False,
        rename={f"part_{place}": part for place, part in enumerate(key)},
    )
    return msgspec.json.Decoder(list[row])  # type: ignore[valid-type]


def read_rows(metric_type: MetricType, body: bytes) -> tuple[bytes, tuple[str, ...]]:
    """Return the data of a keyed metric type and the texts of its rows; raise MetricError with the path to a fault.

    `body` is the data as JSON. The parts of a key come back as texts; only an `agent_id` may stay a number.
    """
    key = metric_type.key
    try:
        found = _decoder_of(key).decode(body)
    except msgspec.ValidationError as error:
        raise MetricError(
            f"{metric_type.slug}: data must be a list of objects with {_words(metric_type)}, got {abbreviate(body)}"
        ) from error
    values = list(map(msgspec.structs.astuple, found))
    rows = []
    has_numbers = False
    for index, own in enumerate(values):
        row = _join_texts(metric_type, own)
        if row is None:
            row = _read_row(metric_type, own, index)
            has_numbers = has_numbers or any(type(value) in {int, float} for value in own)
        rows.append(row)
    if has_numbers and key != AGENT_KEY:
        body = _with_texts(body, key, values)
    return body, tuple(rows)


def _join_texts(metric_type: MetricType, values: Sequence[Any]) -> str | None:
    """Return the text of a row quickly; None if it needs a closer look."""
    parts = []
    size = 0
    for part, value in zip(metric_type.key, values, strict=True):
        # Printable texts have neither control characters nor the separator.
        if type(value) is str and 0 < len(value) <= MAX_TERM_LENGTH and value.isprintable():
            parts.append(f"{part}={value}")
            size += len(value)
        elif value is not None or part not in metric_type.optional_parts:
            return None
    return SEPARATOR.join(parts) if size <= _SAFE_LENGTH else None


# With the names of the parts, so many characters cannot exceed MAX_ROW_BYTES in UTF-8.
_SAFE_LENGTH = MAX_ROW_BYTES // 8


def _read_row(metric_type: MetricType, values: Sequence[Any], index: int) -> str:
    """Return the text of a row; raise MetricError with the path to a fault."""
    is_other = values[0] == OTHER
    parts = []
    for part, value in zip(metric_type.key, values, strict=True):
        text = text_of(value)
        may_lack = part in metric_type.optional_parts or is_other
        if not is_name(text) and not (may_lack and value in (None, "")):
            path = f"data[{index}].{part}"
            given = "is missing" if value is None else f"is {quote(value)}"
            raise MetricError(f"`{path}` {given}; it must be a text or a number of {ALLOWED_NAME}", path=path)
        parts.append((part, text))
    row = make_row(parts)
    if len(row) > MAX_ROW_BYTES // 4 and (size := len(row.encode())) > MAX_ROW_BYTES:
        path = f"data[{index}]"
        message = f"the key of `{path}` has {size:,} bytes; allowed: at most {MAX_ROW_BYTES:,}"
        raise MetricError(message, path=path)
    return row


def _words(metric_type: MetricType) -> str:
    required = [f"`{part}`" for part in metric_type.key if part not in metric_type.optional_parts]
    return " and ".join([", ".join(required[:-1]), required[-1]]) if len(required) > 1 else f"an {required[0]}"


def _with_texts(body: bytes, key: tuple[str, ...], values: Sequence[Sequence[Any]]) -> bytes:
    entries = _decode_entries(body)
    for entry, own in zip(entries, values, strict=True):
        for part, value in zip(key, own, strict=True):
            if type(value) in {int, float}:
                entry[part] = msgspec.Raw(_encode(text_of(value)))
    return _encode(entries)


def abbreviate(body: bytes) -> str:
    """Return the beginning of a JSON text, for messages."""
    text = body[:80].decode(errors="replace")
    return text if len(body) <= 80 else text + "…"
