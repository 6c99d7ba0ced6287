"""The Django admin of presets, dashboards and panels."""

from __future__ import annotations

from typing import Any, TypeVar

from django.contrib import admin, messages
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html

from metrics_stream.admin.base import StreamAdmin
from metrics_stream.admin.forms import ClientPresetForm, DashboardForm, PanelForm
from metrics_stream.admin.sorting import CAN_DRAG, ORDER_FIELDS, SortedInline, SortedList, last_order
from metrics_stream.models import ClientPreset, Dashboard, Panel, ShareLink

Item = TypeVar("Item", ClientPreset, Dashboard, Panel)

PANEL_FIELDSETS: list[tuple[str | None, dict[str, Any]]] = [
    (None, {"fields": [("title", "kind", "size"), ("metric_type", "fields"), "option_text"]}),
    (
        "Values and limits",
        {
            "classes": ["panel-values"],
            "fields": [("unit", "decimals"), ("warning_at", "critical_at")],
        },
    ),
    (
        "Options",
        {
            "classes": ["panel-options"],
            "fields": [
                ("option_window_seconds", "option_max_rows"),
                ("option_minimum", "option_maximum"),
                ("option_stacked", "option_trend"),
            ],
        },
    ),
]


@admin.register(ClientPreset)
class ClientPresetAdmin(StreamAdmin):
    form = ClientPresetForm
    # Repeated, because counting groups the rows, and grouped rows lose the order of the model.
    ordering = ["name"]
    list_display = ["name", "slug", "summary", "interval", "mode_word", "used_by", "default_mark"]
    list_filter = ["is_default", "mode"]
    search_fields = ["name", "slug", "description"]
    prepopulated_fields = {"slug": ["name"]}
    actions = ["duplicate"]
    fieldsets = [
        (None, {"fields": [("name", "slug"), "description", "is_default"]}),
        (
            "What a client gets",
            {
                "description": "A client starts with these settings, and may change them over its WebSocket.",
                "fields": ["metric_types", ("agent_ids", "sources"), "keys", "fields"],
            },
        ),
        (
            "When a client gets it",
            {"fields": [("interval_seconds", "batch_size", "batch_timeout_seconds"), "mode", "sends_newest"]},
        ),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[ClientPreset]:
        queryset: QuerySet[ClientPreset] = super().get_queryset(request)
        return queryset.annotate(dashboard_count=Count("dashboards"))

    def share_links_of(self, obj: ClientPreset) -> list[ShareLink]:
        used = Q(dashboard__preset=obj)
        return _open_links(used | Q(dashboard__preset=None) if obj.is_default else used)

    def view_on_site(self, preset: ClientPreset) -> str:
        return preset.page_address()

    @admin.display(description="gets")
    def summary(self, preset: ClientPreset) -> str:
        parts = [", ".join(map(str, preset.metric_types)) or "what it asks for"]
        named = [
            ("agent", preset.agent_ids),
            ("source", preset.sources),
            ("key filter", preset.keys),
            ("field", preset.fields),
        ]
        parts += [f"{len(terms)} {noun}{'s' if len(terms) > 1 else ''}" for noun, terms in named if terms]
        return " · ".join(parts)

    @admin.display(description="interval", ordering="interval_seconds")
    def interval(self, preset: ClientPreset) -> str:
        return f"{preset.interval_seconds:g} s"

    @admin.display(description="mode", ordering="mode")
    def mode_word(self, preset: ClientPreset) -> str:
        return preset.mode

    @admin.display(description="default", ordering="is_default")
    def default_mark(self, preset: ClientPreset) -> str:
        return "default" if preset.is_default else ""

    @admin.display(description="used by", ordering="dashboard_count")
    def used_by(self, preset: Any) -> str:
        if not preset.dashboard_count:
            return "-"
        return format_html(
            '<a href="{}?preset__id__exact={}">{} dashboard{}</a>',
            reverse("admin:metrics_stream_dashboard_changelist"),
            preset.pk,
            preset.dashboard_count,
            "s" if preset.dashboard_count > 1 else "",
        )

    @admin.action(description="Duplicate selected presets", permissions=["add"])
    def duplicate(self, request: HttpRequest, queryset: QuerySet[ClientPreset]) -> HttpResponse | None:
        copies = []
        for preset in queryset:
            preset.slug = _free(ClientPreset, "slug", preset.slug, "-copy", "-copy-{}")
            preset.name = _free(ClientPreset, "name", preset.name, " (copy)", " (copy {})")
            preset.is_default = False
            copies.append(_save_as_new(preset))
        return _announce(self, request, copies)


class PanelInline(SortedInline):  # type: ignore[misc]  # the library is untyped
    model = Panel
    form = PanelForm
    extra = 0
    # More panels would exceed Django's limit of 1,000 form fields in one request.
    max_num = 40
    # Dragging writes the order into a hidden field.
    fieldsets = [*PANEL_FIELDSETS, (None, {"classes": ["panel-order"] if CAN_DRAG else [], "fields": ["order"]})]

    def get_formset(self, request: HttpRequest, obj: Dashboard | None = None, **kwargs: Any) -> Any:
        # Without a limit, a forged count of panels would draw a thousand of them for half a minute.
        return super().get_formset(request, obj, absolute_max=60, **kwargs)


@admin.register(Dashboard)
class DashboardAdmin(SortedList, StreamAdmin):  # type: ignore[misc]  # the library is untyped
    form = DashboardForm
    ordering = ["order", "pk"]
    inlines = [PanelInline]
    list_display = ["title", "kind_label", "preset", "panel_count", "published", "open_page", *ORDER_FIELDS]
    list_editable = ORDER_FIELDS
    list_display_links = ["title"]
    list_filter = ["published", "kind", "preset"]
    list_select_related = ["preset"]
    search_fields = ["title", "slug", "description", "panels__title"]
    prepopulated_fields = {"slug": ["title"]}
    actions = ["duplicate", "publish", "unpublish", "share"]
    fieldsets = [(None, {"fields": [("title", "slug"), "description", "kind", "preset", "published", *ORDER_FIELDS]})]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Dashboard]:
        queryset: QuerySet[Dashboard] = super().get_queryset(request)
        return queryset.annotate(panel_total=Count("panels", distinct=True))

    def share_links_of(self, obj: Dashboard) -> list[ShareLink]:
        return _open_links(Q(dashboard=obj))

    def view_on_site(self, dashboard: Dashboard) -> str:
        return dashboard.page_address()

    @admin.display(description="kind", ordering="kind")
    def kind_label(self, dashboard: Dashboard) -> str:
        return dashboard.get_kind_display().partition(" (")[0]

    @admin.display(description="panels", ordering="panel_total")
    def panel_count(self, dashboard: Any) -> int:
        count: int = dashboard.panel_total
        return count

    @admin.display(description="page")
    def open_page(self, dashboard: Dashboard) -> str:
        return format_html('<a href="{}">Open</a>', dashboard.page_address())

    @admin.action(description="Duplicate selected dashboards, with their panels", permissions=["add"])
    def duplicate(self, request: HttpRequest, queryset: QuerySet[Dashboard]) -> HttpResponse | None:
        copies = []
        for dashboard in queryset:
            panels = list(dashboard.panels.all())
            dashboard.slug = _free(Dashboard, "slug", dashboard.slug, "-copy", "-copy-{}")
            dashboard.title = _free(Dashboard, "title", dashboard.title, " (copy)", " (copy {})")
            dashboard.published = False
            dashboard.order = last_order(Dashboard) + 1
            copies.append(_save_as_new(dashboard))
            for panel in panels:
                panel.dashboard = dashboard
                _save_as_new(panel)
        return _announce(self, request, copies)

    @admin.action(description="Publish selected dashboards", permissions=["change"])
    def publish(self, request: HttpRequest, queryset: QuerySet[Dashboard]) -> None:
        self._set_published(request, queryset, published=True)

    @admin.action(description="Withdraw selected dashboards (only staff can open them)", permissions=["change"])
    def unpublish(self, request: HttpRequest, queryset: QuerySet[Dashboard]) -> None:
        self._set_published(request, queryset, published=False)

    @admin.action(description="Make a share link of the selected dashboard", permissions=["share"])
    def share(self, request: HttpRequest, queryset: QuerySet[Dashboard]) -> HttpResponse | None:
        if queryset.count() != 1:
            self.message_user(request, "A share link shows one dashboard; select one.", messages.WARNING)
            return None
        return HttpResponseRedirect(f"{reverse('admin:metrics_stream_sharelink_add')}?dashboard={queryset.get().pk}")

    def has_share_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("metrics_stream.add_sharelink"))

    def _set_published(self, request: HttpRequest, queryset: QuerySet[Dashboard], *, published: bool) -> None:
        changed = list(queryset.filter(published=not published))
        for dashboard in changed:
            dashboard.published = published
            dashboard.save()
        verb = "Published" if published else "Withdrew"
        self.message_user(request, f"{verb} {', '.join(map(str, changed)) or 'nothing; all were so already'}.")


@admin.register(Panel)
class PanelAdmin(StreamAdmin):
    form = PanelForm
    list_display = ["title", "dashboard", "kind", "metric_type", "field_list", "size", "state"]
    list_filter = ["dashboard", "kind", "metric_type", "size"]
    list_select_related = ["dashboard"]
    search_fields = ["title", "metric_type", "dashboard__title"]
    ordering = ["dashboard__order", "dashboard_id", "order", "pk"]
    fieldsets = [(None, {"fields": ["dashboard"]}), *PANEL_FIELDSETS]

    @admin.display(description="fields")
    def field_list(self, panel: Panel) -> str:
        return ", ".join(map(str, panel.fields)) or "-"

    @admin.display(description="state")
    def state(self, panel: Panel) -> str:
        return panel.problem or "fine"

    def share_links_of(self, obj: Panel) -> list[ShareLink]:
        return _open_links(Q(dashboard=obj.dashboard_id))

    def view_on_site(self, panel: Panel) -> str:
        return panel.dashboard.page_address()


def _open_links(condition: Q) -> list[ShareLink]:
    links = ShareLink.objects.filter(condition, revoked_at=None).select_related("dashboard", "created_by")
    return [link for link in links if link.is_valid]


def _free(model: type[ClientPreset | Dashboard], column: str, text: str, first: str, numbered: str) -> str:
    """Return `text` with the first ending that no row has, cut to the length of the column."""
    most = int(getattr(model._meta.get_field(column), "max_length", 0))
    endings = (numbered.format(number) if number > 1 else first for number in range(1, 10_000))
    candidates = (f"{text[: most - len(ending)]}{ending}" for ending in endings)
    return next(
        candidate for candidate in candidates if not model._default_manager.filter(**{column: candidate}).exists()
    )


def _save_as_new(item: Item) -> Item:
    item.pk = None
    item._state.adding = True
    item.save()
    return item


def _announce(
    model_admin: StreamAdmin, request: HttpRequest, copies: list[ClientPreset] | list[Dashboard]
) -> HttpResponse | None:
    """Name the created copies; redirect to a single one."""
    model_admin.message_user(request, f"Created {', '.join(map(str, copies))}.", messages.SUCCESS)
    if len(copies) != 1:
        return None
    opts = copies[0]._meta
    return HttpResponseRedirect(reverse(f"admin:{opts.app_label}_{opts.model_name}_change", args=[copies[0].pk]))
