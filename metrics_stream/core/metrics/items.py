"""One metric as producers hand it over: how it names its type and its data, the same at every door."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from metrics_stream.core.errors import MetricError

DATA = "data"
OTHER_NAME_OF_DATA = "metrics"
"""What the original calls the data of a metric."""


def slug_of(metric_type: Any) -> str | None:
    """Return the slug of a metric type; None if the value cannot be one.

    Capitals do not matter, and a member of an enum stands for its value or, if that is no text, for its name: the
    original's types are an enum.
    """
    if isinstance(metric_type, Enum):
        metric_type = metric_type.value if isinstance(metric_type.value, str) else metric_type.name
    return metric_type.lower() if isinstance(metric_type, str) else None


def rename_data(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an item whose data is under the key `data`; raise MetricError if it has both names of it."""
    if OTHER_NAME_OF_DATA not in item:
        return item
    if DATA in item:
        raise MetricError(f"`{DATA}` and `{OTHER_NAME_OF_DATA}` are both given; allowed: one of them")
    return {DATA if key == OTHER_NAME_OF_DATA else key: value for key, value in item.items()}
