"""What the fields of an object amount to over an interval. Room: core.

What a field becomes depends on its kind: the mean of a gauge or rate, the last value of a counter, the highest of a
maximum. Percentiles are never averaged: they come from merged sketches, or are the worst of the interval.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from metrics_stream.core.errors import SketchError
from metrics_stream.core.metrics.catalogue import BUILTIN_TYPES, FieldKind
from metrics_stream.core.metrics.projection import IDENTITY_FIELDS, Row, agents_by_id, are_agents
from metrics_stream.core.metrics.sketch import Sketch, decode_sketch

# The key of an object under which its sketches stand, by the name that the percentiles have behind their `p99_`.
SKETCHES = "sketches"

# What a summarised field and a bin of a sketch take in memory and in a frame, roughly; for the bounds of a view.
FIELD_BYTES = 150
BIN_BYTES = 16

# Objects that are nested deeper are taken as they came last. No metric that people read goes this deep.
MAX_DEPTH = 8

NaturalKind = FieldKind | Literal["minimum"]

_PERCENTILE = re.compile(r"p(\d{2,5})_(.+)")
# How fields of unknown names are taken; the first that fits, else gauges.
_NAME_RULES: tuple[tuple[NaturalKind, re.Pattern[str]], ...] = (
    ("percentile", re.compile(r"(.+_)?p\d{2,5}(_.+)?")),
    ("maximum", re.compile(r"max(_.+)?|.+_max|peak_.+|.+_peak")),
    ("minimum", re.compile(r"min(_.+)?|.+_min")),
    ("counter", re.compile(r"total(_.+)?|.+_total|count(_.+)?|.+_count")),
)
_KINDS = {field.name: field.kind for metric_type in BUILTIN_TYPES for field in metric_type.fields}


@lru_cache(maxsize=10_000)
def kind_of(name: str) -> NaturalKind:
    """Return what kind of number a field holds: as the catalogue says, in which types agree, or by a rule."""
    known = _KINDS.get(name)
    if known not in (None, "text", "object"):
        return known
    return next((kind for kind, pattern in _NAME_RULES if pattern.fullmatch(name)), "gauge")


def is_percentile(path: str) -> bool:
    """Return whether the field at a dotted path holds a percentile, of which no mean says anything."""
    return kind_of(path.rpartition(".")[2]) == "percentile"


class Numbers:
    """What the numbers of one field amount to."""

    __slots__ = ("count", "last", "least", "most", "total")

    def __init__(self, value: float) -> None:
        self.count = 1
        self.least = self.most = self.last = value
        self.total = float(value)

    def copy(self) -> Numbers:
        """Return one that others do not change."""
        copy = Numbers(self.last)
        copy.count, copy.total, copy.least, copy.most = self.count, self.total, self.least, self.most
        return copy

    def merge(self, later: Numbers) -> None:
        """Take in the numbers of the same field that came later."""
        self.count += later.count
        self.total += later.total
        self.least = min(self.least, later.least)
        self.most = max(self.most, later.most)
        self.last = later.last

    @property
    def mean(self) -> float:
        """The mean; never outside of what it is the mean of, however the additions were rounded."""
        if self.least == self.most:
            return self.last
        return min(self.most, max(self.least, self.total / self.count))


class Tally(NamedTuple):
    """The merged sketches of one name, and in how many metrics they came."""

    sketch: Sketch
    metrics: int


class Fields:
    """The fields of an object over an interval: Numbers, Fields of an object in it, or what came last of all else.

    A field that held numbers once is numeric, whatever else it held; one that held objects is an object.
    """

    __slots__ = ("fields", "has_numbers", "is_list", "last", "tallies")

    def __init__(self) -> None:
        self.fields: dict[str, Any] = {}
        self.tallies: dict[str, Tally] = {}
        self.last: Row = {}
        self.has_numbers = False
        self.is_list = False
        """Whether these are agents by their ids, which came in a list."""

    def fold(self, row: Row, depth: int = 0) -> int:
        """Take one object in; return by how many bytes that made this grow."""
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
                    continue  # an integer that no float can hold, which JSON has, is no number to anyone
            elif kind is dict and depth < MAX_DEPTH:
                grown += self._fold_sketches(value) if name == SKETCHES else self._fold_object(name, value, depth)
            elif kind is list and depth < MAX_DEPTH and are_agents(value):
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
                continue  # the percentiles that came with it are counted without it, which tells
            sketch, metrics = self.tallies.get(name) or Tally(Sketch(), 0)
            before = sketch.bin_count
            sketch.merge(encoded)
            self.tallies[name] = Tally(sketch, metrics + 1)
            grown += (sketch.bin_count - before) * BIN_BYTES + (0 if metrics else FIELD_BYTES)
        return grown

    def merge(self, later: Fields) -> None:
        """Take in what came later, and leave that as it is."""
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

    def render(self, summary: Row, worst: list[str], path: str = "", *, keeps_sketches: bool = False) -> Any:
        """Return the object that stands for the interval; write what its numbers amount to into `summary`, by path.

        The percentiles that no sketch tells are named in `worst`.
        """
        data = self.last
        # An object within that has no numbers is one value, which came last; `data` itself and agents are many.
        if self.has_numbers or not path:
            data = {}
            for name, node in self.fields.items():
                if name in IDENTITY_FIELDS and name in self.last:
                    data[name] = self.last[name]
                elif type(node) is Numbers:
                    data[name] = self._render_numbers(name, node, summary, worst, path + name)
                elif type(node) is Fields:
                    data[name] = node.render(summary, worst, f"{path}{name}.", keeps_sketches=keeps_sketches)
                else:
                    data[name] = node
        elif SKETCHES in data and isinstance(data[SKETCHES], dict):
            data = {name: value for name, value in data.items() if name != SKETCHES}
        if keeps_sketches and self.tallies:
            data = {**data, SKETCHES: {name: tally.sketch.encode() for name, tally in self.tallies.items()}}
        return list(data.values()) if self.is_list else data

    def _render_numbers(self, name: str, numbers: Numbers, summary: Row, worst: list[str], path: str) -> float:
        kind = kind_of(name)
        summed = summary[path] = {"count": numbers.count, "min": numbers.least, "max": numbers.most}
        if kind != "percentile":
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
                return self._percentile(name, numbers, worst, path)
        return numbers.mean

    def _percentile(self, name: str, numbers: Numbers, worst: list[str], path: str) -> float:
        if numbers.count == 1:
            return numbers.last
        tally = None
        if match := _PERCENTILE.fullmatch(name):
            tally = self.tallies.get(match[2])
        # A metric whose sketch is missing or malformed is not in the merged one, which would tell too little.
        if match and tally and tally.metrics >= numbers.count:
            found = tally.sketch.quantile(share_of(match[1]))
            if found is not None:
                return found
        worst.append(path)
        return numbers.most


def share_of(digits: str) -> float:
    """Return the share that the digits of a percentile's name mean: 95 → 0.95, 999 → 0.999."""
    return int(digits) / 100 if len(digits) < 3 or digits == "100" else float(f"0.{digits}")
