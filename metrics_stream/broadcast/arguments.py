"""The arguments of the functions that publish, in every form in which producers give them.

The original calls the data `metrics`, `system_metrics` and so on, and passes one metric as a dict.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from metrics_stream.broadcast.transport import MetricInput
from metrics_stream.core.errors import MetricError
from metrics_stream.core.formatting import quote
from metrics_stream.core.metrics.items import DATA, OTHER_NAME_OF_DATA, rename_data

F = TypeVar("F", bound=Callable[..., Any])
Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def read_item(item: Any) -> MetricInput:
    """Return one metric with the keys of MetricInput; raise MetricError naming a key that is missing or unknown.

    An object with these attributes, such as a dataclass, stands for the mapping.
    """
    keys = tuple(MetricInput.__annotations__)
    if not isinstance(item, Mapping):
        names = (*keys, OTHER_NAME_OF_DATA)
        item = {name: getattr(item, name) for name in names if hasattr(item, name)}
    item = rename_data(item)
    if (unknown := next((key for key in item if key not in keys), None)) is not None:
        raise MetricError(f"unknown key {quote(unknown)}; allowed: {', '.join(keys)}")
    for key in ("metric_type", DATA):
        if key not in item:
            raise MetricError(f"`{key}` is missing; every metric has `metric_type` and `data`", path=key)
    return cast(MetricInput, dict(item))


def names_data(*other_names: str) -> Callable[[F], F]:
    """Let a function take its argument `data` under other names, too, and under `metrics`."""
    names = (OTHER_NAME_OF_DATA, *other_names)

    def rename(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
        found = [name for name in names if name in kwargs]
        if found and (len(found) > 1 or DATA in kwargs):
            raise TypeError(f"the data is given as {' and '.join(found)}; allowed: one of {', '.join((DATA, *names))}")
        return args, {DATA if key in found else key: value for key, value in kwargs.items()}

    return _change_arguments(rename)


def takes_item(function: F) -> F:
    """Let a function that takes `metric_type` and `data` take both in one item, as `read_item` accepts it."""
    takes_self = next(iter(inspect.signature(function).parameters)) == "self"

    def unpack(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
        own, rest = args[:takes_self], args[takes_self:]
        is_item = len(rest) == 1 and (isinstance(rest[0], Mapping) or hasattr(rest[0], "metric_type"))
        if is_item and DATA not in kwargs:
            return own, {**read_item(rest[0]), **kwargs}
        return args, kwargs

    return _change_arguments(unpack)(function)


def _change_arguments(change: Callable[[tuple[Any, ...], dict[str, Any]], Arguments]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def call_async(*args: Any, **kwargs: Any) -> Any:
                args, kwargs = change(args, kwargs)
                return await function(*args, **kwargs)

            return cast(F, call_async)

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            args, kwargs = change(args, kwargs)
            return function(*args, **kwargs)

        return cast(F, call)

    return decorate
