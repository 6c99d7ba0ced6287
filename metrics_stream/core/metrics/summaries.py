"""Summarise the fields of an object over an interval.

The kind of a field decides what becomes of it: the mean of a gauge or rate, the last value of a counter, the highest
value of a maximum. Percentiles are never averaged: they come from merged sketches, or are the worst of the interval.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, NamedTuple

from metrics_stream.core.errors import SketchError
from metrics_stream.core.metrics.catalogue import BUILTIN_TYPES, FieldKind
from metrics_stream.core.metrics.percentiles import percentile_in
from metrics_stream.core.metrics.projection import IDENTITY_FIELDS, Row, agents_by_id, are_agents
from metrics_stream.core.metrics.sketch import Sketch, decode_sketch

# The key of an object that holds its sketches. The name of a sketch is that of its percentiles without `p99_`.
SKETCHES = "sketches"

# About what a summarised field and a bin of a sketch take in memory and in a frame; for the bounds of a view.
FIELD_BYTES = 150
BIN_BYTES = 16

# Of objects nested deeper only the last value is kept. No metric that people read is nested this deep.
MAX_SUMMARISED_DEPTH = 8

# The kinds of fields that the catalogue does not know, by their names: the first rule that fits, else gauge. What names
# a percentile is none of them.
_NAME_RULES: tuple[tuple[FieldKind, re.Pattern[str]], ...] = (
    ("maximum", re.compile(r"max(_.+)?|.+_max|peak_.+|.+_peak")),
    ("minimum", re.compile(r"min(_.+)?|.+_min")),
    ("counter", re.compile(r"total(_.+)?|.+_total|count(_.+)?|.+_count")),
)
_KINDS = {field.name: field.kind for metric_type in BUILTIN_TYPES for field in metric_type.fields}


@lru_cache(maxsize=10_000)
def kind_of(path: str) -> FieldKind:
    """Return the kind of the field at a dotted path: the catalogue's, else the one that its name gives.

    All types of the catalogue agree on the kind of a field.
    """
    name = path.rpartition(".")[2]
    known = _KINDS.get(name)
    if known not in (None, "text", "object"):
        return known
    if percentile_in(path) is not None:
        return "percentile"
    return next((kind for kind, pattern in _NAME_RULES if pattern.fullmatch(name)), "gauge")


def is_percentile(path: str) -> bool:
    """Return whether the field at a dotted path holds a percentile, whose mean would be meaningless."""
    return kind_of(path) == "percentile"


class Numbers:
    """The summary of the numbers of one field."""

    __slots__ = ("count", "last", "least", "most", "total")

    def __init__(self, value: float) -> None:
        self.count = 1
        self.least = self.most = self.last = value
        self.total = float(value)

    def copy(self) -> Numbers:
        """Return a copy."""
        copy = Numbers(self.last)
        copy.count, copy.total, copy.least, copy.most = self.count, self.total, self.least, self.most
        return copy

    def merge(self, later: Numbers) -> None:
        """Add the numbers of the same field that came later."""
        self.count += later.count
        self.total += later.total
        self.least = min(self.least, later.least)
        self.most = max(self.most, later.most)
        self.last = later.last

    @property
    def mean(self) -> float:
        """The mean, kept within the least and the highest number even if additions were rounded."""
        if self.least == self.most:
            return self.last
        return min(self.most, max(self.least, self.total / self.count))


class Tally(NamedTuple):
    """The merged sketches of one name, and the number of metrics that they came in."""

    sketch: Sketch
    metrics: int


class Rendered:
    """How the numbers of an interval came about, by path: the summary of each, and where percentiles are from.

    `merged` are percentiles from the merged sketches of the interval, `worst` those that are the worst of the interval,
    because sketches were missing.
    """

    def __init__(self) -> None:
        self.summary: Row = {}
        self.merged: list[str] = []
        self.worst: list[str] = []


class Fields:
    """The fields of an object over an interval: Numbers, Fields for a nested object, or the last value of any other.

    A field that held a number once stays numeric, whatever else comes; one that held an object stays an object.
    """

    __slots__ = ("fields", "has_numbers", "is_list", "last", "tallies")

    def __init__(self) -> None:
        self.fields: dict[str, Any] = {}
        self.tallies: dict[str, Tally] = {}
        self.last: Row = {}
        self.has_numbers = False
        self.is_list = False
        """Whether these are agents by their ids that came as a list."""

    def fold(self, row: Row, depth: int = 0) -> int:
        """Fold one object in; return by about how many bytes the summary grew."""
        fields, grown = self.fields, 0
        self.last = row
        for name, value in row.items():
            node = fields.get(name)
            kind = type(value)
            if kind is float or kind is int:
                try:
                    if type(node) is Numbers:
                        node.total += value
                        node.count += 1
                        node.last = value
                        if value > node.most:
                            node.most = value
                        elif value < node.least:
                            node.least = value
                    else:
                        fields[name] = Numbers(value)
                        self.has_numbers = True
                        grown += FIELD_BYTES
                except OverflowError:
                    continue  # JSON allows integers that no float can hold
            elif kind is dict and depth < MAX_SUMMARISED_DEPTH:
                grown += self._fold_sketches(value) if name == SKETCHES else self._fold_object(name, value, depth)
            elif kind is list and depth < MAX_SUMMARISED_DEPTH and are_agents(value):
                grown += self._fold_object(name, agents_by_id(value), depth, is_list=True)
            elif type(node) is not Numbers and type(node) is not Fields and (value is not None or node is None):
                grown += 0 if name in fields else FIELD_BYTES
                fields[name] = value
        return grown

    def _fold_object(self, name: str, value: Row, depth: int, *, is_list: bool = False) -> int:
        node = self.fields.get(name)
        grown = 0
        if type(node) is Numbers:
            return 0
        if type(node) is not Fields:
            node = self.fields[name] = Fields()
            grown = FIELD_BYTES
        node.is_list = is_list
        grown += node.fold(value, depth + 1)
        self.has_numbers = self.has_numbers or node.has_numbers
        return grown

    def _fold_sketches(self, sketches: Row) -> int:
        grown = 0
        for name, value in sketches.items():
            try:
                encoded = decode_sketch(value)
            except SketchError:
                continue  # its percentiles count without a sketch, so `_render_percentile` does not use the merged one
            sketch, metrics = self.tallies.get(name) or Tally(Sketch(), 0)
            before = sketch.bin_count
            sketch.merge(encoded)
            self.tallies[name] = Tally(sketch, metrics + 1)
            grown += (sketch.bin_count - before) * BIN_BYTES + (0 if metrics else FIELD_BYTES)
        return grown

    def merge(self, later: Fields) -> None:
        """Fold in the fields of a later part, without changing that part."""
        fields = self.fields
        for name, node in later.fields.items():
            mine = fields.get(name)
            if type(node) is Numbers:
                if type(mine) is Numbers:
                    mine.merge(node)
                else:
                    fields[name] = node.copy()
            elif type(mine) is Numbers:
                continue
            elif type(node) is Fields:
                if type(mine) is not Fields:
                    mine = fields[name] = Fields()
                mine.merge(node)
            elif type(mine) is not Fields and (node is not None or mine is None):
                fields[name] = node
        for name, tally in later.tallies.items():
            sketch, metrics = self.tallies.get(name) or Tally(Sketch(), 0)
            sketch.merge(tally.sketch)
            self.tallies[name] = Tally(sketch, metrics + tally.metrics)
        self.last = later.last
        self.has_numbers = self.has_numbers or later.has_numbers
        self.is_list = later.is_list

    def render(self, found: Rendered, path: str = "", *, keeps_sketches: bool = False) -> Any:
        """Return the object that represents the interval, and note in `found` how its numbers came about."""
        data = self.last
        # A nested object without numbers counts as one value: the last one. `data` itself never does.
        if self.has_numbers or not path:
            data = {}
            fields = self.fields
            if any("." in name for name in fields):
                # A path may have the same name as a key with dots: the summary of the longest key is written last.
                fields = dict(sorted(fields.items(), key=lambda field: len(field[0])))
            for name, node in fields.items():
                if name in IDENTITY_FIELDS and name in self.last:
                    data[name] = self.last[name]
                elif type(node) is Numbers:
                    data[name] = self._render_numbers(name, node, found, path + name)
                elif type(node) is Fields:
                    data[name] = node.render(found, f"{path}{name}.", keeps_sketches=keeps_sketches)
                else:
                    data[name] = node
        elif SKETCHES in data and isinstance(data[SKETCHES], dict):
            data = {name: value for name, value in data.items() if name != SKETCHES}
        if keeps_sketches and self.tallies:
            data = {**data, SKETCHES: {name: tally.sketch.encode() for name, tally in self.tallies.items()}}
        return list(data.values()) if self.is_list else data

    def _render_numbers(self, name: str, numbers: Numbers, found: Rendered, path: str) -> float:
        kind = kind_of(path)
        summed = found.summary[path] = {"count": numbers.count, "min": numbers.least, "max": numbers.most}
        if kind not in {"percentile", "counter"}:
            summed["mean"] = numbers.mean
        summed["last"] = numbers.last
        match kind:
            case "counter":
                return numbers.last
            case "maximum":
                return numbers.most
            case "minimum":
                return numbers.least
            case "percentile":
                return self._render_percentile(name, numbers, found, path)
        return numbers.mean

    def _render_percentile(self, name: str, numbers: Numbers, found: Rendered, path: str) -> float:
        if numbers.count == 1:
            return numbers.last
        named = percentile_in(name)
        tally = None if named is None else self.tallies.get(named.base)
        # If the sketch of one metric is missing or malformed, the merged sketch lacks its values.
        if named and named.share is not None and tally and tally.metrics >= numbers.count:
            value = tally.sketch.quantile(named.share)
            if value is not None:
                found.merged.append(path)
                return value
        found.worst.append(path)
        return numbers.most
