"""`seed` creates the presets and dashboards that a new installation starts with.

Each is created once in the life of a database: the history of changes remembers every slug, so what an admin changed,
renamed or deleted stays that way. Without that app, what was renamed or deleted is created again.
"""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import Max

from metrics_stream.defaults.dashboards import DASHBOARD_SEEDS, DashboardSeed
from metrics_stream.defaults.presets import preset_seeds
from metrics_stream.models import ClientPreset, Dashboard, Panel
from metrics_stream.models.changes import changes_are_recorded


@transaction.atomic
def seed() -> list[str]:
    """Create the presets and dashboards that this database never had; return their names for people."""
    created = [f"preset {columns['slug']}" for columns in preset_seeds() if _seed_preset(columns)]
    created += [f"dashboard {wanted.slug}" for wanted in DASHBOARD_SEEDS if _seed_dashboard(wanted)]
    return created


def _seed_preset(columns: dict[str, Any]) -> bool:
    slug, name = columns["slug"], columns["name"]
    if _ever_had(ClientPreset, slug) or ClientPreset.objects.filter(name=name).exists():
        return False
    preset = ClientPreset(**columns)
    preset.is_default = preset.is_default and not ClientPreset.objects.filter(is_default=True).exists()
    _save_checked(preset)
    return True


def _seed_dashboard(wanted: DashboardSeed) -> bool:
    if _ever_had(Dashboard, wanted.slug):
        return False
    last = Dashboard.objects.aggregate(last=Max("order"))["last"] or 0
    dashboard = Dashboard(
        slug=wanted.slug,
        title=wanted.title,
        description=wanted.description,
        kind=wanted.kind,
        preset=ClientPreset.objects.filter(slug=wanted.preset).first(),
        order=last + 1,
    )
    _save_checked(dashboard)
    for order, columns in enumerate(wanted.panels, start=1):
        _save_checked(Panel(dashboard=dashboard, order=order, **columns))
    return True


def _ever_had(model: type[ClientPreset | Dashboard], slug: str) -> bool:
    """Return whether a row had this slug; without a history of changes, whether one has it now."""
    if changes_are_recorded() and model.history.filter(slug=slug).exists():
        return True
    return model._default_manager.filter(slug=slug).exists()


def _save_checked(item: ClientPreset | Dashboard | Panel) -> None:
    item.full_clean()
    item._change_reason = "Seeded"  # type: ignore[union-attr]  # simple_history reads it
    item.save()
