"""`/api/v1/catalogue/` and `/api/v1/presets/`: which metric types, fields and presets a reader may ask for."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from metrics_stream.access.visibility import visible_catalogue, visible_presets
from metrics_stream.api.methods import by_method
from metrics_stream.api.readers import Call, NoQuery, reads
from metrics_stream.models import ClientPreset
from metrics_stream.models.dashboard_content import is_readable
from metrics_stream.models.key_filters import read_terms


class FieldAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A field of a metric type."""

    name: str
    label: str
    unit: str
    kind: str


class MetricTypeAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A metric type and the fields that the catalogue knows; metrics may have further ones."""

    slug: str
    label: str
    has_entries: bool
    key: Annotated[list[str], Meta(description="The parts of the key of its rows; empty for a type without rows.")]
    fields: list[FieldAnswer]


class CatalogueAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The metric types that the reader may see, at least in part."""

    metric_types: list[MetricTypeAnswer]


class PresetAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a client gets that connects with `?preset=<slug>`, as far as the reader may see it."""

    slug: str
    name: str
    description: str
    metric_types: list[str]
    filters: dict[str, Any]
    interval_seconds: float
    batch_size: int
    batch_timeout_seconds: float
    mode: str
    sends_newest: bool
    is_default: bool


class PresetsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The presets that the reader may see, by name."""

    presets: list[PresetAnswer]


@reads(summary="Read the metric types and their fields.", tag="Names", answer=CatalogueAnswer)
def read_catalogue(call: Call[NoQuery]) -> dict[str, Any]:
    """Return the visible part of the catalogue."""
    return {"metric_types": visible_catalogue(call.access)}


@reads(summary="Read the presets for clients.", tag="Names", answer=PresetsAnswer)
def read_presets(call: Call[NoQuery]) -> PresetsAnswer:
    """Return the visible presets."""
    return PresetsAnswer(presets=[_describe(preset) for preset in visible_presets(call.access)])


def _describe(preset: ClientPreset) -> PresetAnswer:
    plain = (name for name in PresetAnswer.__struct_fields__ if name not in ("filters", "metric_types"))
    return PresetAnswer(
        **{name: getattr(preset, name) for name in plain},
        metric_types=preset.metric_types,
        filters={name: terms for name, terms in _filters_of(preset).items() if terms},
    )


def _filters_of(preset: ClientPreset) -> dict[str, Any]:
    """Return the filters of a preset as clients have them; none of one that a client could not use."""
    if not is_readable(preset):
        return {}
    lists = {name: getattr(preset, name) for name in ("agent_ids", "fields", "sources")}
    return {**lists, "keys": read_terms(preset.keys)}


catalogue = by_method(GET=read_catalogue)
presets = by_method(GET=read_presets)
