"""Turn the values of producers into those that JSON can hold: objects, lists, texts, numbers, true, false and null.

Objects come from mappings, dataclasses, attrs classes, msgspec structs, pydantic models, named tuples and plain
objects. Lists come from tuples, sets, deques, dict views, numpy arrays, generators and other collections.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from itertools import islice
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any
from uuid import UUID

import msgspec

NOT_DATA = (type, FunctionType, BuiltinFunctionType, MethodType, ModuleType)

# More than any metric can hold. It ends a generator that would never end.
MAX_GENERATED_ITEMS = 1_000_000

# Types that hold nothing else and that the encoder knows.
_SIMPLE = frozenset({str, int, float, bool, type(None), bytes, datetime, date, time, timedelta, Decimal, UUID})
_LISTS = (list, tuple, set, frozenset)
# Collections that are one value, and classes that look like collections.
_WHOLE = (str, bytes, bytearray, memoryview, Enum, *NOT_DATA)


def spread(value: Any) -> Any:
    """Return the value with objects for named tuples and lists for iterators and collections, at any depth.

    The encoder would write a named tuple as a list, and would read a generator only once. A value without any of these
    is returned itself. Raises TypeError for a generator of more than MAX_GENERATED_ITEMS.
    """
    kind = type(value)
    # Most metrics are one object of numbers and texts; look at the types of all its values at once.
    if kind is dict:
        return value if _SIMPLE.issuperset(map(type, value.values())) else _spread_object(value)
    if kind in _LISTS:
        return value if _SIMPLE.issuperset(map(type, value)) else [spread(item) for item in value]
    return value if kind in _SIMPLE else _spread_other(value)


def _spread_other(value: Any) -> Any:
    names = _names_of(type(value))  # type: ignore[arg-type]  # mypy takes classes for not hashable
    if names is not None:
        found = {name: getattr(value, name) for name in names}
        # The encoder knows dataclasses and attrs classes, but not that a named tuple is an object.
        is_known = _SIMPLE.issuperset(map(type, found.values())) and not isinstance(value, tuple)
        return value if is_known else _spread_object(found)
    if isinstance(value, _WHOLE) or _converter_of(value) is not None:
        return value
    if isinstance(value, msgspec.Struct):
        return _spread_struct(value)
    if isinstance(value, Mapping):
        return _spread_object(value)
    if isinstance(value, Iterator):
        return _spread_generated(value)
    return [spread(item) for item in value] if isinstance(value, Collection) else value


def convert(value: Any) -> Any:
    """Return a value that the encoder knows for one that it does not know; raise TypeError if there is none."""
    match value:
        case bool() | int() | float() | str():  # subclasses, np.float64 among them
            return next(kind(value) for kind in (int, float, str) if isinstance(value, kind))
        case _ if isinstance(value, NOT_DATA):
            pass
        case _ if (converter := _converter_of(value)) is not None:
            return spread(converter())
        case _ if (other := spread(value)) is not value:
            return other
        case _ if public := {key: item for key, item in getattr(value, "__dict__", {}).items() if key[:1] != "_"}:
            return spread(public)
        case Iterable():
            return _spread_generated(value)
    raise TypeError(f"no JSON for {type(value).__qualname__}")


def _converter_of(value: Any) -> Callable[[], Any] | None:
    """Return the method with which a value of a library converts itself."""
    for name in ("model_dump", "tolist"):  # pydantic; numpy scalars and arrays
        if callable(method := getattr(value, name, None)):
            return method  # type: ignore[no-any-return]
    if hasattr(value, "__fields__") and callable(method := getattr(value, "dict", None)):  # pydantic before version 2
        return method  # type: ignore[no-any-return]
    return None


@lru_cache(maxsize=1_000)
def _names_of(kind: type) -> tuple[str, ...] | None:
    """Return the fields of a dataclass, an attrs class or a named tuple, None for any other class."""
    if issubclass(kind, tuple):
        names = getattr(kind, "_fields", None)
        return names if isinstance(names, tuple) else None
    if is_dataclass(kind):
        return tuple(item.name for item in fields(kind))
    if (attributes := getattr(kind, "__attrs_attrs__", None)) is not None:
        # As the encoder does it.
        return tuple(item.name for item in attributes if item.name[:1] != "_")
    return None


def _spread_struct(value: msgspec.Struct) -> Any:
    config = value.__struct_config__
    items = [getattr(value, name) for name in value.__struct_fields__]
    # Written as a list, or without what `omit_defaults` leaves out: only the encoder knows.
    if config.array_like or _SIMPLE.issuperset(map(type, items)):
        return value
    found = {} if config.tag_field is None else {config.tag_field: config.tag}
    pairs = zip(value.__struct_encode_fields__, items, strict=True)
    return {**found, **{name: spread(item) for name, item in pairs if item is not msgspec.UNSET}}


def _spread_object(value: Mapping[Any, Any]) -> dict[Any, Any]:
    return {key: spread(item) for key, item in value.items()}


def _spread_generated(value: Iterable[Any]) -> list[Any]:
    items = [spread(item) for item in islice(value, MAX_GENERATED_ITEMS + 1)]
    if len(items) > MAX_GENERATED_ITEMS:
        raise TypeError(f"{type(value).__qualname__} yields more than {MAX_GENERATED_ITEMS:,} items")
    return items
