"""docs/metrics.md lists the metric types, fields, units and functions of the helper that the code has."""

import re
from typing import Any

from metrics_stream import broadcast
from metrics_stream.bus.publication import MAX_BATCH_BYTES
from metrics_stream.conf import StreamSettings
from metrics_stream.core.metrics.catalogue import BUILTIN_TYPES
from metrics_stream.core.units import scale_of
from tests.support.documents import METRICS, STATIC, named, names, table


def test_every_metric_type_and_field():
    headings = re.findall(r"^## `(\w+)`: (.+)$", METRICS.read_text(), re.MULTILINE)
    assert headings == [(item.slug, item.label) for item in BUILTIN_TYPES]
    for item in BUILTIN_TYPES:
        rows = table(METRICS, f"`{item.slug}`: {item.label}", "field")
        documented = [(*names(row["field"]), row["label"], row["unit"], row["bounds"]) for row in rows]
        assert documented == [
            (field.name, field.label, f"`{field.unit}`" if field.unit else field.kind, bounds(field))
            for field in item.fields
        ]


def bounds(field: Any) -> str:
    if field.minimum is None:
        return ""
    return f"{field.minimum:g} or more" if field.maximum is None else f"{field.minimum:g} to {field.maximum:g}"


def test_every_unit():
    documented = named(table(METRICS, "Metric types and their fields", "unit"))
    suffixes = re.search(r"SUFFIXES = new Map\((.*?)\);", (STATIC / "client/format.js").read_text(), re.DOTALL)
    assert documented == re.findall(r'\["([^"]+)", "[^"]*"\]', suffixes[1])
    used = {field.unit for item in BUILTIN_TYPES for field in item.fields} - {""}
    # Those of bytes and bits are described below the table.
    assert {unit for unit in used if scale_of(1, unit) is None} <= set(documented)


def test_every_function_of_the_helper():
    documented = named(
        [{"name": row["function and method"]} for row in table(METRICS, "What the helper takes", "function and method")]
    )
    functions = [name for name in broadcast.__all__ if name.startswith("broadcast")]
    assert sorted(documented) == sorted(functions)
    assert all(hasattr(broadcast.Broadcaster, name) for name in documented)
    assert MAX_BATCH_BYTES > StreamSettings().max_metric_bytes == 256 * 1024
