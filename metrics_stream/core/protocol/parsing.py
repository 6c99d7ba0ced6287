"""Parse client messages and encode server messages; explain what is wrong with a message.

This is the only place where text becomes a message object, and a message object text. The classes are in `messages`.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
from msgspec import UNSET

from metrics_stream.core.errors import ProtocolError
from metrics_stream.core.formatting import quote
from metrics_stream.core.instants import read_instant
from metrics_stream.core.protocol.codes import ErrorCode
from metrics_stream.core.protocol.message_parts import Limits
from metrics_stream.core.protocol.messages import (
    MAX_REF_LENGTH,
    MAX_REF_NUMBER,
    MODES,
    AnyClientMessage,
    ClientMessage,
    Filters,
    MetricBatch,
    MetricUpdate,
    ServerMessage,
)
from metrics_stream.core.protocol.tolerance import KNOWN, describe_keys, tolerate

# Some programs begin every text with it (RFC 8259, 8.1, allows to ignore it).
BYTE_ORDER_MARK = "\ufeff"

_decoder = msgspec.json.Decoder(AnyClientMessage)
_encoder = msgspec.json.Encoder()


def encode(message: ServerMessage) -> str:
    """Return the text frame of `message`."""
    return _encoder.encode(message).decode()


def encode_metrics(bodies: list[bytes], *, position: str | None = None, replayed: bool = False) -> bytes:
    """Return the data frame for encoded metrics: a `metric_update` for one, a `metric_batch` for more."""
    place = UNSET if position is None else position
    past = True if replayed else UNSET
    if len(bodies) == 1:
        return _encoder.encode(MetricUpdate(data=msgspec.Raw(bodies[0]), position=place, replayed=past))
    raw = [msgspec.Raw(body) for body in bodies]
    return _encoder.encode(MetricBatch(count=len(bodies), data=raw, position=place, replayed=past))


def parse_instant(name: str, value: str | float) -> float:
    """Return an instant, as `read_instant` accepts it, in seconds since 1970.

    Raises ProtocolError; its message calls the value `name`.
    """
    try:
        return read_instant(value)
    except ValueError as error:
        raise ProtocolError(
            ErrorCode.INVALID_MESSAGE,
            f"`{name}` is {quote(value)}; it must be an instant in ISO 8601, such as 2026-01-31T12:00:00Z, or seconds "
            "or milliseconds since 1970",
        ) from error


def parse(text: str) -> AnyClientMessage:
    """Return the message in `text`; raise ProtocolError with the offending value and what is allowed."""
    text = text.removeprefix(BYTE_ORDER_MARK)
    try:
        message: AnyClientMessage = _decoder.decode(text)
    except msgspec.ValidationError as error:
        raise _explain(text, str(error)) from error
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        reason = describe_malformed(error, text)
        raise ProtocolError(ErrorCode.NOT_JSON, f"not a JSON document: {reason}; got {quote(text)}") from error
    if not _is_ref(message.ref):
        raise ProtocolError(ErrorCode.INVALID_MESSAGE, f"`ref` is {quote(message.ref)}; it must be {_REF}")
    return message


def read(text: str) -> tuple[AnyClientMessage, list[str]]:
    """Return the message in `text`, and what is wrong with keys that were ignored, if any.

    Clients of the original server and of later versions send keys that are not known here, and null for a key that
    they leave out. Raises ProtocolError as `parse` does.
    """
    try:
        return parse(text), []
    except ProtocolError:
        try:
            tolerated = tolerate(msgspec.json.decode(text))
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            tolerated = None
        if tolerated is None:
            raise
    document, ignored = tolerated
    return parse(msgspec.json.encode(document).decode()), ignored


def _is_ref(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= MAX_REF_LENGTH
    return value is UNSET or (type(value) is int and abs(value) <= MAX_REF_NUMBER)


_INVALID_BYTE = re.compile(r"invalid character \(byte (\d+)\)")
_NOT_FINITE = re.compile("-?(?:nan|inf)", re.IGNORECASE)


def describe_malformed(error: Exception, document: str | bytes) -> str:
    """Return why `document` is not JSON, with the text at the fault."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if not (match := _INVALID_BYTE.search(str(error))):
        return str(error)
    content = document.encode(errors="replace") if isinstance(document, str) else document
    rest = content[int(match[1]) :][:100].decode(errors="replace")
    hint = "; JSON has finite numbers only, and null" if _NOT_FINITE.match(rest) else ""
    return f"{error} at {quote(rest, limit=20)}{hint}"


_REF = f"a text of at most {MAX_REF_LENGTH} characters or a whole number within ±{MAX_REF_NUMBER}"
_WORDS = {
    "float": "a number",
    "int": "a whole number",
    "str": "a text",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
    "int | str | null": _REF,
    "int | str": _REF,
    "int | float | str": "an instant in ISO 8601, such as 2026-01-31T12:00:00Z, or seconds or milliseconds since 1970",
}
_BOUNDS = {item.name: item.default for item in msgspec.structs.fields(Limits) if isinstance(item.default, tuple)}
_EXPECTED = re.compile(r"Expected `([^`]+)`(?:, got `([^`]+)`)?")
_UNKNOWN_KEY = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING_KEY = re.compile(r"Object missing required field `(.*)`")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")


def _explain(text: str, reason: str) -> ProtocolError:
    """Turn msgspec's reason into an error of this protocol: path, value and what is allowed."""
    reason, _, path = reason.partition(" - at `")
    path = path.rstrip("`")
    try:
        document = _decode_as_sent(text)
    except (ValueError, RecursionError):  # msgspec stopped at the first fault; the text behind it is not JSON
        return ProtocolError(ErrorCode.INVALID_MESSAGE, _explain_unreadable(reason, path))
    sent = document if isinstance(document, dict) else {}
    ref = sent.get("ref", UNSET)
    if not _is_ref(ref):
        ref = UNSET
    if path == "$.type":
        allowed = ", ".join(KNOWN)
        wrong = quote(sent.get("type"))
        return ProtocolError(ErrorCode.UNKNOWN_MESSAGE_TYPE, f"unknown message type {wrong}; allowed: {allowed}", ref)
    if match := _MISSING_KEY.match(reason):
        return ProtocolError(ErrorCode.INVALID_MESSAGE, f"the key `{match[1]}` is missing in {quote(text)}", ref)
    if match := _UNKNOWN_KEY.match(reason):
        # `type` is a text here, unless the key came twice.
        owner = Filters if path == "$.filters" else KNOWN.get(str(sent.get("type")), ClientMessage)
        return ProtocolError(ErrorCode.INVALID_MESSAGE, f"unknown key {quote(match[1])}; {describe_keys(owner)}", ref)
    # For a number beyond all bounds msgspec does not say what it expects there.
    expected = match[1] if (match := _EXPECTED.match(reason)) else _expected_at(path, sent)
    allowed = _describe_allowed(path, expected)
    value = quote(_value_at(document, path))
    return ProtocolError(ErrorCode.INVALID_MESSAGE, f"`{_format_path(path)}` is {value}; {allowed}", ref)


def _explain_unreadable(reason: str, path: str) -> str:
    """Return what msgspec knows of a document that cannot be read to its end: neither its type nor the value."""
    if match := _UNKNOWN_KEY.match(reason):
        allowed = describe_keys(Filters) if path == "$.filters" else "allowed are those of its `type`"
        return f"unknown key {quote(match[1])}; {allowed}"
    if match := _EXPECTED.match(reason):
        value = _WORDS.get(match[2], match[2]) if match[2] else "something else"
        return f"`{_format_path(path)}` is {value}; {_describe_allowed(path, match[1])}"
    return f"`{_format_path(path)}` is wrong: {reason}"


def _format_path(path: str) -> str:
    return path.removeprefix("$").removeprefix(".") or "message"


def _describe_allowed(path: str, expected: str) -> str:
    """Return what is allowed at `path`, where msgspec expects a value of the type `expected`."""
    if path == "$.mode":
        return f"allowed: {', '.join(MODES)}"
    words = _WORDS.get(expected, expected)
    if bounds := _BOUNDS.get(path.removeprefix("$.")):
        words += f" from {bounds[0]:.15g} to {bounds[1]:.15g}"
    return f"it must be {words}"


def _decode_as_sent(text: str) -> Any:
    """Return the document in `text` with its numbers as they are written, even those that no number type can hold.

    Raises ValueError or RecursionError if the text is not JSON.
    """
    document = json.loads(text, parse_int=_keep_long_integer, parse_float=_keep_number, parse_constant=_keep_number)
    # Only Python accepts half a surrogate pair as JSON; an error message could not contain it.
    msgspec.json.encode(document)
    return document


def _keep_number(text: str) -> msgspec.Raw:
    return msgspec.Raw(text.encode())


def _keep_long_integer(text: str) -> int | msgspec.Raw:
    # So many digits fit 64 bits in any case.
    return int(text) if len(text) < 19 else _keep_number(text)


def _expected_at(path: str, sent: dict[str, Any]) -> str:
    """Return what msgspec expects at `path`, found by converting a null at that place."""
    probe: Any = None
    for key, index in reversed(_STEP.findall(path)):
        probe = [probe] if index else {key: probe}
    if isinstance(probe, dict):
        probe["type"] = sent.get("type")
    try:
        msgspec.convert(probe, AnyClientMessage)
    except msgspec.ValidationError as error:
        if match := _EXPECTED.match(str(error)):
            return match[1]
    return "another value"


def _value_at(document: Any, path: str) -> Any:
    try:
        for key, index in _STEP.findall(path):
            document = document[int(index)] if index else document[key]
    except (KeyError, IndexError, TypeError):  # a repeated key: here the last one counts, but another one was wrong
        return "…"
    return document
