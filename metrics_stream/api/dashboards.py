"""`/api/v1/dashboards/`: list dashboards, export one as a JSON document, and import a document.

A reader exports what the page of the dashboard shows them. People who may add or change dashboards and panels in the
admin import; the document is checked as its forms check it, and nothing is stored unless all of it is right.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import msgspec
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import Max
from django.http import Http404
from msgspec import Meta

from metrics_stream.access.visibility import (
    find_dashboard,
    find_preset,
    visible_dashboards,
    visible_panels,
    visible_preset_of,
)
from metrics_stream.api.methods import by_method
from metrics_stream.api.readers import Call, NoQuery, reads, writes
from metrics_stream.api.readers import is_editor as may_edit
from metrics_stream.api.requests import SLUG, read_body
from metrics_stream.audit.trail import Action
from metrics_stream.core.errors import RequestRefusedError
from metrics_stream.core.formats.dashboards import (
    SCHEMA_VERSION,
    DashboardDocument,
    PanelDocument,
    read_dashboard,
)
from metrics_stream.core.formatting import quote
from metrics_stream.core.protocol.codes import RequestErrorCode
from metrics_stream.models import Dashboard, Panel

KINDS = ("application/json",)

PANEL_COLUMNS = PanelDocument.__struct_fields__


class DashboardEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A dashboard in the list."""

    slug: str
    title: str
    kind: str
    description: str
    published: bool
    path: Annotated[str, Meta(description="The path of its page.")]


class DashboardsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The dashboards that the reader may open, in the order of the home page."""

    dashboards: list[DashboardEntry]


class ImportedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What an import has stored."""

    slug: str
    path: str
    panels: int


@reads(summary="List the dashboards.", tag="Dashboards", answer=DashboardsAnswer)
def list_dashboards(call: Call[NoQuery]) -> DashboardsAnswer:
    """Return the dashboards that the reader may open."""
    return DashboardsAnswer(
        dashboards=[
            DashboardEntry(
                slug=found.slug,
                title=found.title,
                kind=found.kind,
                description=found.description,
                published=found.published,
                path=found.page_address(),
            )
            for found in visible_dashboards(call.access)
        ]
    )


@reads(
    summary="Export a dashboard as a document.",
    tag="Dashboards",
    answer=DashboardDocument,
    errors=(RequestErrorCode.NOT_FOUND,),
)
def export_dashboard(call: Call[NoQuery], slug: str) -> DashboardDocument:
    """Return a dashboard as a document that can be imported: the visible part, or all of it for who may change it.

    Else whoever imports what they have exported would delete what they do not see; the admin shows them all of it.
    """
    is_editor = may_edit(call.request, "metrics_stream.change_dashboard")
    if not SLUG.fullmatch(slug):
        found = None
    elif is_editor:
        found = Dashboard.objects.select_related("preset").filter(slug=slug).first()
    else:
        found = find_dashboard(call.access, slug)
    if found is None:
        raise Http404(f"there is no dashboard {quote(slug)} that you may open")
    call.note(Action.EXPORT, f"dashboard {found.slug}")
    preset = found.preset
    if preset is not None and not is_editor:
        preset = visible_preset_of(call.access, found)
    return DashboardDocument(
        schema_version=SCHEMA_VERSION,
        slug=found.slug,
        title=found.title,
        kind=found.kind,
        description=found.description,
        preset=None if preset is None else preset.slug,
        published=found.published,
        panels=[
            PanelDocument(**{name: getattr(panel, name) for name in PANEL_COLUMNS})
            for panel in (found.panels.all() if is_editor else visible_panels(call.access, found))
        ],
    )


@writes(
    "metrics_stream.add_dashboard",
    "metrics_stream.add_panel",
    summary="Import a document as a new dashboard.",
    tag="Dashboards",
    bodies=(DashboardDocument,),
    answer=ImportedAnswer,
    status=201,
    errors=(RequestErrorCode.CONFLICT, RequestErrorCode.INVALID_DASHBOARD),
)
def create_dashboard(call: Call[NoQuery]) -> ImportedAnswer:
    """Store a document as a dashboard that did not exist."""
    document = read_dashboard(read_body(call.request, KINDS)[1])
    if Dashboard.objects.filter(slug=document.slug.replace("\0", "")).exists():
        raise _exists(document.slug)
    last = Dashboard.objects.aggregate(last=Max("order"))["last"] or 0
    return _store(call, Dashboard(order=last + 1), document)


@writes(
    "metrics_stream.change_dashboard",
    "metrics_stream.add_panel",
    "metrics_stream.change_panel",
    "metrics_stream.delete_panel",
    summary="Import a document in place of a dashboard.",
    tag="Dashboards",
    bodies=(DashboardDocument,),
    answer=ImportedAnswer,
    errors=(RequestErrorCode.NOT_FOUND, RequestErrorCode.CONFLICT, RequestErrorCode.INVALID_DASHBOARD),
)
def replace_dashboard(call: Call[NoQuery], slug: str) -> ImportedAnswer:
    """Change a dashboard, and its panels one by one, to what a document says."""
    document = read_dashboard(read_body(call.request, KINDS)[1])
    with transaction.atomic():
        # The admin shows every dashboard to those who may change some.
        found = Dashboard.objects.select_for_update().filter(slug=slug).first() if SLUG.fullmatch(slug) else None
        if found is None:
            raise Http404(f"there is no dashboard {quote(slug)}")
        return _store(call, found, document)


def _store(call: Call[NoQuery], dashboard: Dashboard, document: DashboardDocument) -> ImportedAnswer:
    """Check and store a dashboard; a panel keeps its place in share links as long as it keeps its place on the page."""
    with transaction.atomic():
        is_new = dashboard.pk is None
        for name in ("slug", "title", "kind", "description", "published"):
            setattr(dashboard, name, getattr(document, name))
        problems = list(_set_preset(call, dashboard, document.preset))
        known = [] if is_new else list(dashboard.panels.all())
        panels = []
        for place, wanted in enumerate(document.panels):
            panel = known[place] if place < len(known) else Panel()
            panel.order = place + 1
            for name in PANEL_COLUMNS:
                setattr(panel, name, getattr(wanted, name))
            problems += _problems_of(panel, f"panels[{place}].", exclude={"dashboard"})
            panels.append(panel)
        problems = [*_problems_of(dashboard, "", exclude={"preset"}), *problems]
        if problems:
            raise RequestRefusedError(RequestErrorCode.INVALID_DASHBOARD, "; ".join(problems))
        try:
            with transaction.atomic():
                dashboard.save()
        except IntegrityError as error:
            raise _exists(document.slug) from error
        for panel in panels:
            panel.dashboard = dashboard
            panel.save()
        for panel in known[len(panels) :]:
            panel.delete()
    call.note(Action.EXPORT, f"dashboard {dashboard.slug} imported")
    return ImportedAnswer(slug=dashboard.slug, path=dashboard.page_address(), panels=len(panels))


def _set_preset(call: Call[NoQuery], dashboard: Dashboard, slug: str | None) -> Iterator[str]:
    dashboard.preset = None
    if slug is None:
        return
    found = find_preset(call.access, slug) if SLUG.fullmatch(slug) else None
    if found is None:
        yield f"`preset` is {quote(slug)}, which is no preset of this server; allowed: the slug of one, or null"
    else:
        # It may be a part of the preset; only its key is stored.
        dashboard.preset = found


def _problems_of(item: Dashboard | Panel, path: str, *, exclude: set[str]) -> Iterator[str]:
    try:
        item.full_clean(exclude=exclude)
    except ValidationError as error:
        for name, texts in error.message_dict.items():
            yield f"`{path}{name}`: {' '.join(texts)}"


def _exists(slug: str) -> RequestRefusedError:
    message = (
        f"there is a dashboard {quote(slug)} already; allowed: another slug, or PUT at the address of the dashboard"
    )
    return RequestRefusedError(RequestErrorCode.CONFLICT, message)


dashboards = by_method(GET=list_dashboards, POST=create_dashboard)
dashboard = by_method(GET=export_dashboard, PUT=replace_dashboard)
