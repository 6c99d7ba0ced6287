"""Which dashboards and test runs an access shows; metrics are narrowed by its permit instead."""

from __future__ import annotations

from django.db.models import Exists, OuterRef, Q, QuerySet

from metrics_stream.access.grants import Access
from metrics_stream.models import Dashboard, RunSource, TestRun


def visible_dashboards(access: Access) -> QuerySet[Dashboard]:
    """Return the published dashboards that the access opens."""
    published = Dashboard.objects.filter(published=True)
    return published if access.dashboards is None else published.filter(pk__in=access.dashboards)


def find_dashboard(access: Access, slug: str) -> Dashboard | None:
    """Return the dashboard that `slug` names, None if the access does not open it; drafts exist for staff only."""
    found = Dashboard.objects.select_related("preset").filter(slug=slug).first()
    if found is None or not (found.published or access.sees_drafts):
        return None
    return found if access.dashboards is None or found.pk in access.dashboards else None


def visible_runs(access: Access) -> QuerySet[TestRun]:
    """Return the test runs that the access may list, replay and export; the permit narrows what each of them shows."""
    if access.run_sources is None:
        return TestRun.objects.all()
    shown = Q(pk__in=access.run_ids)
    for allowed in access.run_sources:
        own = RunSource.objects.filter(run=OuterRef("pk"))
        shown |= Q(Exists(own) & ~Exists(own.exclude(name__in=allowed)))
    return TestRun.objects.filter(shown)
