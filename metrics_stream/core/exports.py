"""Recorded metrics as files for other programs: CSV with one value a row, and NDJSON with one metric a line.

Room: core. Both come in pieces, so that nobody holds a whole run in memory.
"""

from __future__ import annotations

import csv
import io
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any

import msgspec

from metrics_stream.core.metrics.metric import Metric

COLUMNS = ("timestamp", "metric_type", "source", "agent_id", "field", "value")

# A spreadsheet takes a cell that begins with one of these for a formula, or trims it and then does.
_BEGINS_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")

# What is nested deeper is written as JSON.
_MAX_DEPTH = 50

# Beside the fields: what percentiles are merged from, no value that anybody reads.
_NO_FIELD = "sketches"


class _Body(msgspec.Struct):
    timestamp: str
    data: Any


_decode = msgspec.json.Decoder(_Body).decode


def csv_pieces(metrics: Iterable[Metric], *, rows: int) -> Iterator[bytes]:
    """Yield the CSV file of metrics, so many rows at a time: one for every value, in the order of the metrics.

    A field inside an object is named by its path with dots, one inside a list by its place. Numbers stay as they are;
    a text that a spreadsheet would take for a formula gets an apostrophe in front. The value of null is empty.
    """
    found = chain([COLUMNS], (row for metric in metrics for row in _rows(metric)))
    while piece := list(islice(found, rows)):
        text = io.StringIO()
        csv.writer(text).writerows(piece)
        yield text.getvalue().encode()


def _rows(metric: Metric) -> Iterator[tuple[Any, ...]]:
    body = _decode(metric.body)
    before = (body.timestamp, metric.metric_type, _cell(metric.source))
    for agent_id, data in _entries(body.data):
        agent = _cell(agent_id)
        if isinstance(data, dict):
            data.pop(_NO_FIELD, None)
        for field, value in _leaves(data, "", 0):
            yield (*before, agent, _cell(field), _cell(value))


def _entries(data: Any) -> Iterator[tuple[str, Any]]:
    """Yield a metric's data as (agent id, object): what belongs to no agent, then each agent's own."""
    if isinstance(data, list):
        yield from _agents(data)
        return
    agents = data.get("agents")
    if isinstance(agents, dict) and all(isinstance(entry, dict) for entry in agents.values()):
        agents = [{**entry, "agent_id": agent_id} for agent_id, entry in agents.items()]
    if isinstance(agents, list):
        yield "", {name: value for name, value in data.items() if name != "agents"}
        yield from _agents(agents)
    else:
        yield "", data


def _agents(entries: list[Any]) -> Iterator[tuple[str, Any]]:
    for entry in entries:
        if isinstance(entry, dict):
            yield str(entry.pop("agent_id", "")), entry
        else:
            yield "", entry


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
        case str() if value.startswith(_BEGINS_FORMULA):
            return f"'{value}"
        case _:
            return value


def ndjson_pieces(metrics: Iterable[Metric], *, lines: int) -> Iterator[bytes]:
    """Yield the NDJSON file of metrics, compressed with gzip: they are as clients got them, one a line."""
    # 16 + 15: a gzip file with the largest window. It has no time in it, so the same run is the same file.
    compressor = zlib.compressobj(6, zlib.DEFLATED, 31)
    bodies = (metric.body for metric in metrics)
    while piece := list(islice(bodies, lines)):
        # The compressor keeps what it takes until it has enough, and nothing is no piece.
        if ready := compressor.compress(b"\n".join([*piece, b""])):
            yield ready
    yield compressor.flush()
