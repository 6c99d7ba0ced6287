"""Metrics as CSV: long, with one value per row, and wide, with one field per column."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, NamedTuple

import msgspec

from metrics_stream.conf import get_settings
from metrics_stream.core.metrics.annotations import annotations_of, stated_for
from metrics_stream.core.metrics.keys import AGENT_ID, parse_row
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.metrics.paths import MISSING, look_up
from metrics_stream.core.metrics.permission import Permit
from metrics_stream.core.metrics.summaries import SKETCHES
from metrics_stream.core.spreadsheets import without_formulas
from metrics_stream.models import SeriesGroup, TestRun

COLUMNS = ("timestamp", "metric_type", "source", "agent_id", "field", "value")
# They follow in the file of a run whose producers state units or windows.
STATED_COLUMNS = ("unit", "window_seconds")

WIDE_COLUMNS = ("timestamp", "metric_type", "source", "agent_id")

MAX_WIDE_FIELDS = 2_000
"""A file has at most so many columns of fields; spreadsheets take some thousands."""

# Of a type that is not known any more, the keys of so many rows are looked at.
_LOOKED_AT_ROWS = 100

# Values that are nested deeper are written as JSON.
_MAX_DEPTH = 50


class _Body(msgspec.Struct):
    timestamp: str
    data: Any
    key: tuple[str, ...] = ()
    units: dict[str, str] | None = None
    windows: dict[str, float] | None = None


_decode = msgspec.json.Decoder(_Body).decode


def key_columns(run: TestRun, permit: Permit, metric_type: str | None = None) -> tuple[str, ...]:
    """Return the parts of the keys of the visible rows in a run, or of those of one type.

    Agents have a column of their own.
    """
    groups = SeriesGroup.objects.filter(run=run)
    if metric_type is not None:
        groups = groups.filter(metric_type=metric_type)
    types = get_settings().catalogue().types
    visible = {
        slug: source
        for slug, source in groups.values_list("metric_type", "source").distinct()
        if permit.covers(slug, source)
    }
    parts: dict[str, None] = {}
    for slug, source in sorted(visible.items()):
        if slug in types:
            parts |= dict.fromkeys(types[slug].key)
            continue
        # A type that the settings do not have any more: what its rows have.
        for row in groups.filter(metric_type=slug, source=source).values_list("row", flat=True)[:_LOOKED_AT_ROWS]:
            parts |= dict.fromkeys(parse_row(row))
    return tuple(part for part in parts if part != AGENT_ID)


def csv_pieces(
    metrics: Iterable[Metric], *, rows: int, is_stated: bool = False, parts: Sequence[str] = ()
) -> Iterator[bytes]:
    """Yield the CSV file of metrics, `rows` rows at a time: one row per value, in the order of the metrics.

    A field inside an object is named by its dotted path, one inside a list by its index. Where a key with dots has the
    same name as a path, the row is what the name means everywhere else. Numbers stay as they are. A
    text that a spreadsheet would read as a formula gets an apostrophe in front. The value of null is empty. Sketches
    are left out. With `is_stated` the rows have the unit and the window of their field, if its producer stated them.
    `parts` are those of the keys of rows; each has a column at the end.
    """
    columns = (*COLUMNS, *(STATED_COLUMNS if is_stated else ()))
    found = (
        (*values[: len(columns)], *(_cell(entry.parts.get(part, "")) for part in parts))
        for metric in metrics
        for entry, values in _rows(metric)
    )
    yield from _written(chain([(*columns, *parts)], found), rows)


def fields_of(metrics: Iterable[Metric]) -> list[str]:
    """Return the fields of metrics in the order in which they come, at most MAX_WIDE_FIELDS."""
    fields: dict[str, None] = {}
    for metric in metrics:
        for entry in _entries(_decode(metric.body)):
            fields |= dict.fromkeys(field for field, _ in _fields(entry.data))
        if len(fields) > MAX_WIDE_FIELDS:
            break
    return list(fields)[:MAX_WIDE_FIELDS]


def wide_pieces(
    metrics: Iterable[Metric], fields: Sequence[str], *, rows: int, parts: Sequence[str] = ()
) -> Iterator[bytes]:
    """Yield a CSV file with a column for each field: one row for each metric, and for each agent or row in it.

    Everything else is as in `csv_pieces`.
    """
    columns = (*WIDE_COLUMNS, *parts)
    found = (
        (*before, _cell(entry.agent_id), *(_cell(entry.parts.get(part, "")) for part in parts), *cells)
        for metric in metrics
        for body in [_decode(metric.body)]
        for before in [(body.timestamp, metric.metric_type, _cell(metric.source))]
        for entry in _entries(body)
        for values in [dict(_fields(entry.data))]
        if values
        for cells in [[_cell(values.get(field)) for field in fields]]
    )
    yield from _written(chain([(*columns, *(_cell(field) for field in fields))], found), rows)


def _written(found: Iterator[Sequence[Any]], rows: int) -> Iterator[bytes]:
    while piece := list(islice(found, rows)):
        text = io.StringIO()
        csv.writer(text).writerows(piece)
        yield text.getvalue().encode()


class _Entry(NamedTuple):
    """An object in the data of a metric: the agent that it is of, or the parts of the key of a row."""

    agent_id: str
    parts: Mapping[str, Any]
    data: Any


def _rows(metric: Metric) -> Iterator[tuple[_Entry, tuple[Any, ...]]]:
    body = _decode(metric.body)
    annotations = annotations_of(body.units, body.windows)
    before = (body.timestamp, metric.metric_type, _cell(metric.source))
    for entry in _entries(body):
        agent = _cell(entry.agent_id)
        for field, value in _fields(entry.data):
            unit, window_seconds = stated_for(annotations, field)
            yield entry, (*before, agent, _cell(field), _cell(value), _cell(unit), window_seconds)


def _fields(data: Any) -> Iterator[tuple[str, Any]]:
    """Yield the fields of an object with their values, without sketches."""
    if isinstance(data, dict):
        data.pop(SKETCHES, None)
    leaves: Iterable[tuple[str, Any]] = _leaves(data, "", 0)
    if _has_dots(data, 0):
        leaves = {field: value for field, value in leaves if _is_named(data, field, value)}.items()
    yield from leaves


def _has_dots(data: Any, depth: int) -> bool:
    """Return whether a key contains a dot."""
    return (
        isinstance(data, dict)
        and depth <= _MAX_DEPTH
        and any("." in key or _has_dots(value, depth + 1) for key, value in data.items())
    )


def _is_named(data: Any, field: str, value: Any) -> bool:
    """Return whether the field names this value, and not another one; parts of lists have no names."""
    found = look_up(data, field)
    return found is value or found is MISSING


def _entries(body: _Body) -> Iterator[_Entry]:
    """Yield the objects in the data of a metric: first the one without an agent, then each agent; or each row."""
    data = body.data
    if isinstance(data, list):
        yield from _row_entries(data, body.key) if body.key else _agents(data)
        return
    agents = data.get("agents")
    if isinstance(agents, dict) and all(isinstance(entry, dict) for entry in agents.values()):
        agents = [{**entry, "agent_id": agent_id} for agent_id, entry in agents.items()]
    if isinstance(agents, list):
        yield _Entry("", {}, {name: value for name, value in data.items() if name != "agents"})
        yield from _agents(agents)
    else:
        yield _Entry("", {}, data)


def _agents(entries: list[Any]) -> Iterator[_Entry]:
    for entry in entries:
        if isinstance(entry, dict):
            yield _Entry(str(entry.pop(AGENT_ID, "")), {}, entry)
        else:
            yield _Entry("", {}, entry)


def _row_entries(entries: list[Any], key: Sequence[str]) -> Iterator[_Entry]:
    for entry in entries:
        if isinstance(entry, dict):
            yield _Entry("", {part: entry.pop(part, "") for part in key}, entry)
        else:
            yield _Entry("", {}, entry)


def _leaves(value: Any, path: str, depth: int) -> Iterator[tuple[str, Any]]:
    if depth > _MAX_DEPTH:
        yield path, msgspec.json.encode(value).decode()
        return
    match value:
        case dict():
            children: Iterable[tuple[Any, Any]] = value.items()
        case list():
            children = enumerate(value)
        case _:
            yield path, value
            return
    for key, item in children:
        yield from _leaves(item, f"{path}.{key}" if path else str(key), depth + 1)


def _cell(value: Any) -> Any:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return without_formulas(value)
        case _:
            return value
