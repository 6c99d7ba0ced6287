"""What a dashboard shows, as grants; and the form in which a share link keeps what its dashboard showed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from django.core.exceptions import ValidationError

from metrics_stream.core.metrics.keys import Terms
from metrics_stream.core.metrics.permission import Grant
from metrics_stream.models.dashboards import ClientPreset, Dashboard
from metrics_stream.models.key_filters import terms_of
from metrics_stream.models.panel_kinds import PANEL_KINDS

NARROWINGS = ("sources", "agent_ids", "fields", "keys")
_SETS = ("metric_types", "sources", "agent_ids", "fields")


def preset_of(dashboard: Dashboard) -> ClientPreset | None:
    """Return the preset of a dashboard, the default preset if it has none, None if there is no default."""
    return dashboard.preset or ClientPreset.objects.filter(is_default=True).first()


def is_readable(preset: ClientPreset) -> bool:
    """Return whether the filters of a preset are lists of texts."""
    others = {field.name for field in preset._meta.get_fields() if field.name not in NARROWINGS}
    try:
        preset.clean_fields(exclude=others)
    except ValidationError:
        return False
    return True


def grants_of(dashboard: Dashboard) -> Iterator[Grant]:
    """Yield a grant for each metric type on a dashboard: the fields that its panels read, narrowed by its preset.

    A broken panel or preset grants nothing.
    """
    preset = preset_of(dashboard) or ClientPreset()
    if is_readable(preset):
        yield from grants_from(preset, [panel for panel in dashboard.panels.all() if not panel.problem])


def grants_from(preset: Any, panels: Iterable[Any]) -> Iterator[Grant]:
    """Yield the grants for panels that are sound; for rows of a migration, too, which have the columns only."""
    kept = frozenset(preset.fields)
    shown: defaultdict[str, set[str]] = defaultdict(set)
    for panel in panels:
        if panel.kind in PANEL_KINDS and PANEL_KINDS[panel.kind].shows_metrics:
            shown[panel.metric_type] |= PANEL_KINDS[panel.kind].read_fields(panel.fields)
    for metric_type, found in shown.items():
        fields = frozenset(found & kept if kept else found)
        if fields:  # a grant without fields would show every field
            yield grant_from(preset, {metric_type}, fields)


def grant_from(narrowed: Any, metric_types: Iterable[str], fields: frozenset[str]) -> Grant:
    """Return a grant for metric types with the sources, agents and key filters of a preset or policy.

    A migration may pass rows of a time without key filters.
    """
    keys = terms_of(getattr(narrowed, "keys", ()))
    return Grant(frozenset(metric_types), frozenset(narrowed.sources), frozenset(narrowed.agent_ids), fields, keys)


# --- what a share link keeps ---


def content_of(dashboard: Dashboard) -> dict[str, Any]:
    """Return what a dashboard shows now as data for JSON: its grants, and the ids of its panels."""
    return pack_content(grants_of(dashboard), dashboard.panels.all())


def pack_content(grants: Iterable[Grant], panels: Iterable[Any]) -> dict[str, Any]:
    """Return grants and the ids of panels as data for JSON."""
    packed = [_pack_grant(grant) for grant in grants]
    return {"grants": packed, "panels": [panel.pk for panel in panels]}


def _pack_grant(grant: Grant) -> dict[str, Any]:
    keys = sorted(term.sorted for term in grant.keys)
    return {**{name: sorted(getattr(grant, name)) for name in _SETS}, **({"keys": keys} if keys else {})}


def _unpack_grant(packed: dict[str, Any]) -> Grant:
    keys = frozenset(Terms(part, frozenset(patterns)) for part, patterns in packed.get("keys", ()))
    return Grant(**{name: frozenset(packed[name]) for name in _SETS}, keys=keys)


def grants_in(content: dict[str, Any]) -> frozenset[Grant]:
    """Return the grants that `content_of` has packed."""
    return frozenset(_unpack_grant(packed) for packed in content.get("grants", ()))


def panels_in(content: dict[str, Any]) -> frozenset[int]:
    """Return the ids of the panels that `content_of` has packed."""
    return frozenset(content.get("panels", ()))
