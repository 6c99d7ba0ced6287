"""The Django admin of access policies, and of share links, whose address is shown once."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.widgets import AutocompleteSelect
from django.contrib.auth import get_user_model
from django.db.models import QuerySet
from django.forms import ModelChoiceField
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone

from metrics_stream.access.visibility import visible_dashboards, visible_runs
from metrics_stream.admin.base import AuditedAdmin, access_of_editor
from metrics_stream.admin.forms import AccessPolicyForm, ShareLinkForm, latest_expiry
from metrics_stream.core.formatting import NO_VALUE
from metrics_stream.core.metrics.catalogue import ALL
from metrics_stream.models import AccessPolicy, ShareLink

# The default expiry of a new link. A person who wants a link without expiry empties the field.
SHARED_FOR = timedelta(days=30)

# A cell of the list shows at most this many names.
MOST_NAMES = 4


@admin.register(AccessPolicy)
class AccessPolicyAdmin(AuditedAdmin):
    form = AccessPolicyForm
    list_display = ["name", "people", "group_list", "type_list", "source_list", "dashboard_list", "run_words"]
    list_filter = ["groups", "runs", "all_dashboards"]
    search_fields = ["name", f"users__{get_user_model().USERNAME_FIELD}", "groups__name"]
    filter_horizontal = ["users", "groups", "dashboards"]
    fieldsets = [
        (
            None,
            {
                "description": "A user with several policies sees what any of them grants. A user without a policy "
                "sees nothing. Superusers see everything.",
                "fields": ["name"],
            },
        ),
        ("Who", {"fields": ["users", "groups"]}),
        ("Which metrics", {"fields": ["metric_types", ("sources", "agent_ids"), "keys", "fields"]}),
        ("Which pages", {"fields": ["all_dashboards", "dashboards", "runs"]}),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[AccessPolicy]:
        queryset: QuerySet[AccessPolicy] = super().get_queryset(request)
        return queryset.prefetch_related("users", "groups", "dashboards")

    @admin.display(description="users")
    def people(self, policy: AccessPolicy) -> str:
        return _named(user.get_username() for user in policy.users.all())

    @admin.display(description="groups")
    def group_list(self, policy: AccessPolicy) -> str:
        return _named(group.name for group in policy.groups.all())

    @admin.display(description="metric types")
    def type_list(self, policy: AccessPolicy) -> str:
        shown = "every type" if ALL in policy.metric_types else _named(map(str, policy.metric_types), none="nothing")
        narrowed = [
            word
            for word, terms in (("agents", policy.agent_ids), ("rows", policy.keys), ("fields", policy.fields))
            if terms
        ]
        return f"{shown}, some {' and '.join(narrowed)} only" if narrowed else shown

    @admin.display(description="sources")
    def source_list(self, policy: AccessPolicy) -> str:
        return _named(map(str, policy.sources), none="every source")

    @admin.display(description="dashboards")
    def dashboard_list(self, policy: AccessPolicy) -> str:
        return "every one" if policy.all_dashboards else _named(item.title for item in policy.dashboards.all())

    @admin.display(description="test runs", ordering="runs")
    def run_words(self, policy: AccessPolicy) -> str:
        return {policy.Runs.ALL: "every one", policy.Runs.SOURCES: "of its sources"}.get(
            AccessPolicy.Runs(policy.runs), NO_VALUE
        )


class NumberedSelect(AutocompleteSelect):
    """Shows no choice for a value that is no id; Django's own class fails when it shows such a form again."""

    def optgroups(self, name: str, value: Any, attr: Any = None) -> Any:
        ids = [each for each in map(str, value) if each.isascii() and each.isdecimal() and len(each) < 19]
        return super().optgroups(name, ids, attr)


@admin.register(ShareLink)
class ShareLinkAdmin(AuditedAdmin):
    form = ShareLinkForm
    list_display = ["name", "dashboard", "run_name", "state_word", "expires", "last_used", "created_by"]
    list_filter = ["dashboard"]
    list_select_related = ["dashboard", "run", "created_by"]
    search_fields = ["name", "dashboard__title", "run__name"]
    autocomplete_fields = ["run"]
    actions = ["revoke"]

    def get_fieldsets(self, request: HttpRequest, obj: ShareLink | None = None) -> Any:
        if obj is None:
            text = (
                "Anyone who has the address sees this dashboard without a login, limited to the sources and agents of "
                "its preset. The address is shown once, when you save."
            )
            return [(None, {"description": text, "fields": ["name", "dashboard", "run", "expires_at"]})]
        facts = ["state_word", ("created_at", "created_by", "is_personal"), ("last_used_at", "revoked_at")]
        return [
            (None, {"fields": ["name", "expires_at"]}),
            ("What it shows", {"fields": [("dashboard", "run")]}),
            ("State and use", {"fields": facts}),
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: ShareLink | None = None) -> list[str]:
        facts = ["state_word", "created_at", "created_by", "is_personal", "last_used_at", "revoked_at"]
        # A link keeps showing what its receivers expect.
        return facts if obj is None else [*facts, "dashboard", "run"]

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        expires_at = timezone.now() + latest_expiry(ShareLink, SHARED_FOR)
        return {"expires_at": expires_at, **super().get_changeform_initial_data(request)}

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change, **kwargs)
        form.access = access_of_editor(request)
        for name in ("dashboard", "run"):
            if name in form.base_fields:
                widget = form.base_fields[name].widget
                widget.can_add_related = widget.can_change_related = widget.can_view_related = False
        return form

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], **kwargs: Any) -> HttpResponse:
        if kwargs.get("add"):  # every button leads to the address
            context |= {"show_save_and_add_another": False, "show_save_and_continue": False}
        return super().render_change_form(request, context, **kwargs)

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> ModelChoiceField[Any]:
        access = access_of_editor(request)
        if db_field.name == "dashboard":
            kwargs["queryset"] = visible_dashboards(access)
        elif db_field.name == "run":
            kwargs["queryset"] = visible_runs(access)
            kwargs["widget"] = NumberedSelect(db_field, self.admin_site)
        field: ModelChoiceField[Any] = super().formfield_for_foreignkey(db_field, request, **kwargs)
        return field

    def save_model(self, request: HttpRequest, obj: ShareLink, form: Any, change: bool) -> None:
        if not change:
            obj.created_by = request.user  # type: ignore[assignment]  # the admin requires a sign-in
            # Only the request keeps it, until the response shows it.
            request.share_address = request.build_absolute_uri(  # type: ignore[attr-defined]
                reverse("metrics_stream:share", args=[f"{obj.renew()}/"])
            )
        super().save_model(request, obj, form, change)

    def response_add(self, request: HttpRequest, obj: ShareLink, post_url_continue: str | None = None) -> HttpResponse:
        """Show the address in the response only: messages are stored, and URLs are logged."""
        context = {
            **self.admin_site.each_context(request),
            "title": "The share link was created",
            "opts": self.opts,
            "made": obj,
            "label": "The address",
            "secret": request.share_address,  # type: ignore[attr-defined]
        }
        return TemplateResponse(request, "admin/metrics_stream/share_link_made.html", context)

    def view_on_site(self, link: ShareLink) -> str:
        return link.page_address()

    @admin.display(description="test run", ordering="run__name")
    def run_name(self, link: ShareLink) -> str:
        return NO_VALUE if link.run is None else link.run.name

    @admin.display(description="state")
    def state_word(self, link: ShareLink) -> str:
        return link.state

    @admin.display(description="expires", ordering="expires_at")
    def expires(self, link: ShareLink) -> str:
        return "never" if link.expires_at is None else _day_and_time(link.expires_at)

    @admin.display(description="last used", ordering="last_used_at")
    def last_used(self, link: ShareLink) -> str:
        return NO_VALUE if link.last_used_at is None else _day_and_time(link.last_used_at)

    @admin.action(description="Revoke selected share links (this cannot be undone)", permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ShareLink]) -> None:
        revoked = [link for link in queryset if link.revoked_at is None]
        for link in revoked:
            link.revoke()
        names = ", ".join(map(str, revoked))
        self.message_user(
            request,
            f"Revoked {names}." if names else "Nothing was revoked; all were revoked already.",
            messages.SUCCESS,
        )


def _day_and_time(instant: datetime) -> str:
    return f"{timezone.localtime(instant):%Y-%m-%d %H:%M}"


def _named(names: Any, *, none: str = NO_VALUE) -> str:
    found = list(names)
    more = f" and {len(found) - MOST_NAMES} more" if len(found) > MOST_NAMES else ""
    return f"{', '.join(found[:MOST_NAMES])}{more}" if found else none
