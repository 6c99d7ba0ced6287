"""What an access shows of dashboards, presets, test runs and the catalogue; its permits narrow metrics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet

from metrics_stream.access.grants import Access
from metrics_stream.conf import get_settings
from metrics_stream.core.metrics.catalogue import ALL, Catalogue
from metrics_stream.core.metrics.permission import Permit
from metrics_stream.models import ClientPreset, Dashboard, Panel, RunSource, TestRun
from metrics_stream.models.dashboard_content import grant_from, grants_of, is_readable, preset_of
from metrics_stream.models.key_filters import read_terms, write_terms
from metrics_stream.models.panel_kinds import PANEL_KINDS

# --- dashboards ---


def visible_dashboards(access: Access) -> QuerySet[Dashboard]:
    """Return the published dashboards that the access opens."""
    published = Dashboard.objects.filter(published=True)
    return published if access.dashboards is None else published.filter(pk__in=access.dashboards)


def find_dashboard(access: Access, slug: str) -> Dashboard | None:
    """Return the dashboard that `slug` names, None if the access does not open it; drafts exist for staff only."""
    found = Dashboard.objects.select_related("preset").filter(slug=slug).first()
    if found is None or not (found.published or access.sees_drafts):
        return None
    return found if access.opens(found.pk) else None


def visible_panels(access: Access, dashboard: Dashboard) -> list[Panel]:
    """Return the panels of which the access shows something, with the fields that it shows.

    What a share link opens has no panel that was added after the link was made.
    """
    panels = list(dashboard.panels.all())
    if dashboard.pk in access.shared_dashboards:
        panels = [panel for panel in panels if panel.pk in access.shared_panels]
    if access.page_permit.grants is None:
        return panels
    shown = access.page_permit.overlap(Permit(frozenset(grants_of(dashboard))))
    return [part for panel in panels if (part := _visible_part(panel, shown)) is not None]


def _visible_part(panel: Panel, shown: Permit) -> Panel | None:
    if panel.problem:  # its words name what is stored
        return None
    kind = PANEL_KINDS[panel.kind]
    if not kind.shows_metrics:
        return panel
    read = kind.read_fields(panel.fields)
    visible = set(shown.visible_fields(read, panel.metric_type))
    part = copy(panel)
    part.fields = [path for path in panel.fields if shown.visible_fields([kind.path_of(path)], panel.metric_type)]
    part.options = _visible_options(panel, shown)
    if read_terms(part.options.get("keys", ())).keys() != read_terms(panel.options.get("keys", ())).keys():
        return None  # of the rows that it is about, none is visible
    return part if visible and (part.fields or not panel.fields) else None


def _visible_options(panel: Panel, shown: Permit) -> dict[str, Any]:
    """Return the options of a panel without names that the permit does not show."""
    options = dict(panel.options)
    if (by := options.get("by")) and not shown.visible_fields([by], panel.metric_type):
        del options["by"]
    if (other := options.get("sources_with")) and not shown.metric_types([other]):
        del options["sources_with"]
    if keys := options.get("keys"):
        options["keys"] = write_terms(shown.visible_keys(read_terms(keys)))
    return options


# --- presets ---


def visible_presets(access: Access) -> Iterator[ClientPreset]:
    """Yield the visible part of each preset that the access shows."""
    for preset in ClientPreset.objects.all():
        if (part := _visible_preset(access, preset)) is not None:
            yield part


def find_preset(access: Access, slug: str) -> ClientPreset | None:
    """Return the visible part of the preset that `slug` names, None if the access does not show it."""
    found = ClientPreset.objects.filter(slug=slug).first()
    return None if found is None else _visible_preset(access, found)


def visible_preset_of(access: Access, dashboard: Dashboard) -> ClientPreset | None:
    """Return the visible part of the preset of a dashboard, None without one."""
    found = preset_of(dashboard)
    return None if found is None else _visible_preset(access, found)


def _visible_preset(access: Access, preset: ClientPreset) -> ClientPreset | None:
    """Return a preset with the names that the access shows, not to be saved; None if nothing is left of a list."""
    permit = access.page_permit
    if access.is_shared and not _is_used(preset, visible_dashboards(access)):
        return None
    if permit.grants is None:
        return preset
    if not is_readable(preset) or not isinstance(preset.metric_types, list):
        return None
    part = copy(preset)
    part.metric_types = [item for item in preset.metric_types if item == ALL or item in access.metric_types]
    part.sources = permit.visible_sources(preset.sources)
    part.agent_ids = permit.visible_agents(preset.agent_ids)
    keys = read_terms(preset.keys)
    part.keys = write_terms(permit.visible_keys(keys))
    part.fields = permit.visible_fields(preset.fields)
    names = ("metric_types", "sources", "agent_ids", "fields")
    if (
        any(getattr(preset, name) and not getattr(part, name) for name in names)
        or read_terms(part.keys).keys() != keys.keys()
    ):
        return None
    types = access.metric_types if not part.metric_types or ALL in part.metric_types else part.metric_types
    wanted = grant_from(part, types, frozenset(part.fields))
    return part if permit.overlap(Permit(frozenset({wanted}))).grants else None


def _is_used(preset: ClientPreset, dashboards: QuerySet[Dashboard]) -> bool:
    return dashboards.filter(Q(preset=preset) | Q(preset=None) if preset.is_default else Q(preset=preset)).exists()


# --- test runs ---


def visible_runs(access: Access) -> QuerySet[TestRun]:
    """Return the test runs that the access may list, replay and export; the permit narrows what each of them shows."""
    if access.permit.runs is None:
        return TestRun.objects.all()
    shown = Q(pk__in=access.run_ids)
    for allowed in access.permit.runs:
        own = RunSource.objects.filter(run=OuterRef("pk"))
        shown |= Q(Exists(own) & ~Exists(own.exclude(name__in=allowed)))
    return TestRun.objects.filter(shown)


# --- names of metrics ---


def visible_catalogue(access: Access, catalogue: Catalogue | None = None) -> list[dict[str, Any]]:
    """Return the metric types that are visible and their visible fields, as data that JSON can hold.

    They are those of `catalogue`, by default of the present one.
    """
    permit = access.page_permit
    found = []
    for described in (catalogue or get_settings().catalogue()).describe():
        if (slug := described["slug"]) in access.metric_types:
            names = set(permit.visible_fields((field["name"] for field in described["fields"]), slug))
            found.append({**described, "fields": [field for field in described["fields"] if field["name"] in names]})
    return found


def visible_statistics(statistics: dict[str, Any], permit: Permit) -> dict[str, Any]:
    """Return the statistics of a server process without names that the permit does not show."""
    clients = [
        {**client, "subscription": visible_subscription(client["subscription"], permit)}
        for client in statistics["clients"]
    ]
    types, wrong_clocks = statistics["metric_types"], statistics["sources_with_wrong_clock"]
    return {
        **statistics,
        "metric_types": _with_hidden(types, permit.metric_types(types)),
        "sources_with_wrong_clock": {name: wrong_clocks[name] for name in permit.visible_sources(wrong_clocks)},
        "sources_with_several_producers": [
            item
            for item in statistics["sources_with_several_producers"]
            if permit.covers(item["metric_type"], item["source"])
        ],
        "clients": clients,
    }


def visible_subscription(subscription: dict[str, Any], permit: Permit) -> dict[str, Any]:
    """Return the subscription of a client, with the number of hidden names instead of these names."""
    visible = {"sources": permit.visible_sources, "agent_ids": permit.visible_agents, "fields": permit.visible_fields}
    filters = subscription["filters"]
    types = subscription["metric_types"]
    shown: dict[str, Any] = {
        name: _with_hidden(terms, visible[name](terms)) for name, terms in filters.items() if name != "keys"
    }
    if keys := filters.get("keys"):
        shown["keys"] = {part: _with_hidden(terms, permit.visible_values(part, terms)) for part, terms in keys.items()}
    return {**subscription, "metric_types": _with_hidden(types, permit.metric_types(types)), "filters": shown}


def _with_hidden(names: Sequence[str], visible: Sequence[str]) -> list[str]:
    hidden = len(names) - len(visible)
    return [*visible, f"({hidden} hidden)"] if hidden else list(names)
