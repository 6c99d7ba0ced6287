"""The configuration of a dashboard page, which the browser code in `static/metrics_stream/pages` reads as JSON."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from typing import Any

import msgspec
from django.conf import settings
from django.db.models import QuerySet
from django.shortcuts import resolve_url
from django.urls import NoReverseMatch, get_script_prefix, reverse

from metrics_stream.conf import get_settings
from metrics_stream.core.metrics.catalogue import Catalogue
from metrics_stream.core.metrics.labels import label_of
from metrics_stream.core.run_values import Phase, describe_phases
from metrics_stream.core.validity import RULES, SILENT_SECONDS
from metrics_stream.models import ClientPreset, Dashboard, Panel, RunPhase, TestRun
from metrics_stream.models.panel_kinds import PANEL_KINDS, TEXT

# Below the address of the first page.
SOCKET_PATH = "/ws/metrics/"

# The runs that a dashboard offers for a replay; the list of runs has the older ones.
MOST_RUNS = 50


def socket_path() -> str:
    """Return the path of the WebSocket for a page, with the root path of the site."""
    return get_script_prefix().rstrip("/") + mounted_at() + SOCKET_PATH


def mounted_at() -> str:
    """Return the path at which a project includes the URLs, without `/` at its end; empty at the root of the site."""
    try:
        return reverse("metrics_stream:index")[len(get_script_prefix()) - 1 :].rstrip("/")
    except NoReverseMatch:  # a project that has only the WebSocket
        return ""


def showable(panel: Panel) -> Panel:
    """Return `panel`, or an unsaved text panel that says why it cannot be shown."""
    problem = panel.problem
    if not problem:
        return panel
    return Panel(
        pk=panel.pk,
        dashboard_id=panel.dashboard_id,
        title=panel.title or "Untitled panel",
        kind=TEXT.slug,
        size=panel.size if panel.size in Panel.Size.values else Panel.Size.MEDIUM,
        order=panel.order,
        options={"text": f"This panel cannot be shown. {problem}\n\nAn admin can mend it under Dashboards."},
    )


def page_config(
    found: Dashboard,
    panels: list[Panel],
    preset: ClientPreset | None,
    *,
    is_live: bool = True,
    is_shared: bool = False,
) -> dict[str, Any]:
    """Return all that the browser code knows about a dashboard and its panels, ready for JSON.

    `panels` and `preset` are what the viewer may see of them.
    `is_live` says whether the viewer may see live metrics, `is_shared` whether a share link opened the page.
    """
    stream = get_settings()
    catalogue = stream.catalogue()
    shown_types = {panel.metric_type for panel in panels if panel.shows_metrics}
    kind = found.kind if found.kind in Dashboard.Kind.values else Dashboard.Kind.STANDARD
    return {
        "socket_path": socket_path(),
        "sign_in_path": None if is_shared else resolve_url(settings.LOGIN_URL),
        "is_live": is_live,
        "preset": preset.slug if preset else None,
        "metric_types": [slug for slug in catalogue.slugs if slug in shown_types],
        "stale_after_seconds": stream.stale_after_seconds,
        "history_seconds": stream.history_seconds,
        "dashboard": {"slug": found.slug, "title": found.title, "kind": kind},
        "panels": [_describe(panel, catalogue) for panel in panels],
        "validity": {"silent_seconds": SILENT_SECONDS, "rules": [msgspec.to_builtins(rule) for rule in RULES]},
    }


def shown_runs(visible: QuerySet[TestRun], named: str | None) -> list[dict[str, Any]]:
    """Return the test runs that a dashboard offers with their phases, the newest first, and the one that is named."""
    started = visible.filter(started_at__isnull=False)
    newest = started.order_by("-started_at").values("slug", "name", "status", "started_at", "ended_at")
    found = list(newest[:MOST_RUNS])
    # Databases refuse a NUL.
    if named and "\0" not in named and all(run["slug"] != named for run in found):
        found += newest.filter(slug=named)
    phases: dict[str, list[Phase]] = defaultdict(list)
    rows = RunPhase.objects.filter(run__slug__in=[run["slug"] for run in found])
    for slug, name, starts_at, ends_at in rows.values_list("run__slug", "name", "starts_at", "ends_at"):
        phases[slug].append(Phase(name, starts_at, ends_at))
    return [
        {
            "id": run["slug"],
            "name": run["name"],
            "status": run["status"],
            "started_at": _iso(run["started_at"]),
            "ended_at": _iso(run["ended_at"]),
            **({"phases": describe_phases(phases[run["slug"]])} if run["slug"] in phases else {}),
        }
        for run in found
    ]


def _iso(instant: datetime | None) -> str | None:
    return None if instant is None else instant.isoformat()


def _describe(panel: Panel, catalogue: Catalogue) -> dict[str, Any]:
    return {
        "id": panel.pk,
        "title": panel.title,
        "kind": panel.kind,
        "metric_type": panel.metric_type,
        "fields": [_describe_panel_field(panel, path, catalogue) for path in panel.fields or []],
        "unit": panel.unit,
        "decimals": panel.decimals,
        "warning_at": panel.warning_at,
        "critical_at": panel.critical_at,
        "size": panel.size,
        "options": panel.options or {},
        **({"by": describe_field(catalogue, panel.metric_type, by)} if (by := (panel.options or {}).get("by")) else {}),
    }


def _describe_panel_field(panel: Panel, path: str, catalogue: Catalogue) -> dict[str, Any]:
    kind = PANEL_KINDS[panel.kind]
    described = describe_field(catalogue, panel.metric_type, path)
    if kind.container:
        unit = catalogue.unit_of_sketch(panel.metric_type, path.rpartition(".")[2])
        described |= {"path": kind.path_of(path), "unit": unit}
        if kind.flat_path_of(path) != described["path"]:
            described["flat_path"] = kind.flat_path_of(path)
    return described


def describe_field(catalogue: Catalogue, metric_type: str, path: str) -> dict[str, Any]:
    """Return path, label, unit and kind of a field, its bounds if it has any, and the units within an object.

    All but the path and a label come from the catalogue: a name alone says nothing about a unit.
    """
    known = catalogue.find(metric_type, path)
    if known is None:
        return {"path": path, "label": label_of(path), "unit": ""}
    bounds = {"minimum": known.minimum, "maximum": known.maximum}
    units = catalogue.units_in(known)
    return {
        "path": path,
        "label": known.label,
        "unit": known.unit,
        "kind": known.kind,
        **{name: bound for name, bound in bounds.items() if bound is not None},
        **({"units": units} if units else {}),
    }
