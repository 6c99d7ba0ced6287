"""Read the query of an address into a struct; what is wrong is told by name, with the value and what is allowed.

The struct declares the parameters: their types, bounds and descriptions. OpenAPI describes them from the same struct.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, inspect

from metrics_stream.core.errors import RequestRefusedError
from metrics_stream.core.formatting import quote
from metrics_stream.core.instants import read_instant
from metrics_stream.core.protocol.codes import RequestErrorCode

Query = TypeVar("Query", bound=msgspec.Struct)

READ = "read"
ALLOWED = "allowed"

# Texts of an address are compared with stored ones, none of which is longer.
MAX_TEXT_LENGTH = 2_000


def _read_instant(text: str) -> float:
    # The sign of a time zone that is not escaped in the address.
    return read_instant(text.replace(" ", "+") if "T" in text else text)


Instant = Annotated[
    float,
    Meta(
        description="ISO 8601 such as 2026-01-31T12:00:00Z, or seconds or milliseconds since 1970.",
        extra={READ: _read_instant, ALLOWED: "ISO 8601 such as 2026-01-31T12:00:00Z, or (milli)seconds since 1970"},
        extra_json_schema={"type": "string", "examples": ["2026-01-31T12:00:00Z"]},
    ),
]
"""A parameter that is an instant, in seconds since 1970."""

ShortText = Annotated[str, Meta(max_length=200)]

Format = Annotated[Literal["json", "csv"] | None, Meta(description="json or csv; the header Accept says it, too.")]


_decode_keys = msgspec.json.Decoder(dict[str, tuple[str, ...]]).decode


def _read_keys(text: str) -> dict[str, tuple[str, ...]]:
    if text.lstrip().startswith("{"):
        return _decode_keys(text)
    found: dict[str, tuple[str, ...]] = {}
    for term in text.split(","):
        part, equals, pattern = (item.strip() for item in term.partition("="))
        if not part or not equals:
            raise ValueError("a term names no part")
        found[part] = (*found.get(part, ()), pattern)
    return found


Keys = Annotated[
    dict[str, tuple[str, ...]],
    Meta(
        description="Patterns for the parts of the keys of rows: name=/api/*,method=GET. Patterns with commas as JSON:"
        ' {"name": ["/api/*"], "method": ["GET"]}.',
        extra={
            READ: _read_keys,
            ALLOWED: 'terms such as name=/api/*,method=GET, or as JSON an object of lists of texts: {"name": ["/a"]}',
        },
    ),
]
"""A parameter that filters rows by the parts of their keys."""


def read_query(given: Mapping[str, Sequence[str]], kind: type[Query]) -> Query:
    """Return the parameters of a query; an empty one counts as left out. Raise RequestRefusedError."""
    fields = {field.encode_name: field for field in _fields_of(kind)}
    if unknown := next((name for name in given if name not in fields), None):
        allowed = ", ".join(fields) or "none"
        raise _invalid(f"unknown parameter {quote(unknown)}; allowed: {allowed}")
    values = {}
    for name, field in fields.items():
        texts = [text for text in given.get(name, ()) if text]
        if texts:
            values[field.name] = _read(name, texts, field.type)
        elif field.required:
            raise _invalid(f"the parameter `{name}` is missing; allowed: {describe_allowed(field.type)}")
    return kind(**values)


@lru_cache(maxsize=100)
def _fields_of(kind: type[msgspec.Struct]) -> tuple[inspect.Field, ...]:
    described = inspect.type_info(kind)
    assert isinstance(described, inspect.StructType), "queries are structs"
    return described.fields


def _read(name: str, texts: Sequence[str], kind: inspect.Type) -> Any:
    kind, extra = _unwrap(kind)
    for text in texts:
        if "\0" in text or len(text) > MAX_TEXT_LENGTH:
            raise _invalid(
                f"`{name}` is {quote(text)}; allowed: at most {MAX_TEXT_LENGTH:,} characters, and no character NUL"
            )
    if isinstance(kind, inspect.VarTupleType):
        terms = [term.strip() for text in texts for term in text.split(",")]
        return tuple(_read_one(name, term, kind.item_type, {}) for term in terms if term)
    if len(texts) > 1:
        raise _invalid(f"`{name}` is given {len(texts)} times; allowed: once")
    return _read_one(name, texts[0], kind, extra)


def _read_one(name: str, text: str, kind: inspect.Type, extra: Mapping[str, Any]) -> Any:
    try:
        if READ in extra:
            return extra[READ](text)
        if isinstance(kind, inspect.StrType):
            if kind.max_length is not None and len(text) > kind.max_length:
                raise ValueError(f"more than {kind.max_length} characters")
            return text
        if isinstance(kind, inspect.LiteralType):
            if text not in kind.values:
                raise ValueError("not one of them")
            return text
        return msgspec.convert(text, _python_type(kind), strict=False)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise _invalid(f"`{name}` is {quote(text)}; allowed: {describe_allowed(kind, extra)}") from error


def _python_type(kind: inspect.Type) -> Any:
    match kind:
        case inspect.IntType():
            return Annotated[int, Meta(ge=kind.ge, le=kind.le)]
        case inspect.FloatType():
            return Annotated[float, Meta(ge=kind.ge, le=kind.le)]
        case inspect.BoolType():
            return bool
    raise TypeError(f"queries have no parameters of the type {kind}")


def _unwrap(kind: inspect.Type) -> tuple[inspect.Type, Mapping[str, Any]]:
    """Return a type without None and metadata, and the metadata."""
    extra: Mapping[str, Any] = {}
    while True:
        if isinstance(kind, inspect.Metadata):
            extra = {**(kind.extra or {}), **extra}
            kind = kind.type
        elif isinstance(kind, inspect.UnionType):
            kind = next(item for item in kind.types if not isinstance(item, inspect.NoneType))
        else:
            return kind, extra


def describe_allowed(kind: inspect.Type, extra: Mapping[str, Any] | None = None) -> str:
    """Return in words what a parameter of a type may be."""
    kind, found = _unwrap(kind)
    extra = extra or found
    if ALLOWED in extra:
        return str(extra[ALLOWED])
    words = "another value"
    match kind:
        case inspect.IntType() | inspect.FloatType():
            words = "a whole number" if isinstance(kind, inspect.IntType) else "a number"
            if kind.ge is not None and kind.le is not None:
                words += f" from {kind.ge:,} to {kind.le:,}"
        case inspect.LiteralType():
            words = ", ".join(map(str, kind.values))
        case inspect.BoolType():
            words = "true or false"
        case inspect.VarTupleType():
            words = "texts with commas between them"
        case inspect.StrType():
            words = "a text" if kind.max_length is None else f"a text of at most {kind.max_length:,} characters"
    return words


def _invalid(message: str) -> RequestRefusedError:
    return RequestRefusedError(RequestErrorCode.INVALID_PARAMETER, message)
