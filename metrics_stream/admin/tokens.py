"""The Django admin of access tokens: the text of a token is shown once, in the response that creates it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, cast

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import get_script_prefix
from django.utils import timezone

from metrics_stream.access.tokens import describe_state, release_name
from metrics_stream.admin.base import AuditedAdmin, access_of_editor
from metrics_stream.admin.forms import KEY_FILTER, GrantForm, KeyFiltersField, LinesField, latest_expiry, lines
from metrics_stream.conf import get_settings
from metrics_stream.core.formatting import NO_VALUE
from metrics_stream.core.metrics.catalogue import ALL
from metrics_stream.core.metrics.permission import Grant
from metrics_stream.models import AccessToken, TokenName
from metrics_stream.models.access import TOKEN_MARK
from metrics_stream.models.key_filters import terms_of

# The default expiry of a new token. A person who wants a token without expiry empties the field.
VALID_FOR = timedelta(days=90)

# A page lists at most this many names, and the number of the others.
MOST_NAMES = 300


class AccessTokenForm(GrantForm):
    """Creates a token, or changes what it allows; its secret is not a field."""

    scopes = forms.MultipleChoiceField(choices=AccessToken.Scope.choices, widget=forms.CheckboxSelectMultiple)
    metric_types = forms.MultipleChoiceField(
        required=False, widget=forms.CheckboxSelectMultiple, help_text="None: the token grants nothing."
    )

    class Meta:
        """The columns that a person fills in."""

        model = AccessToken
        fields = ["name", "scopes", "metric_types", "sources", "keys", "expires_at"]
        field_classes = {"sources": LinesField, "keys": KeyFiltersField}
        widgets = {
            "name": forms.TextInput(attrs={"placeholder": "k6 on load-generator-1", "size": 40}),
            "sources": lines(rows=3, placeholder="load-generator-1"),
            "keys": lines(rows=3, placeholder=KEY_FILTER),
        }

    may_change_services = False
    """Whether the person may let tokens do more that are bound to no person."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.stored = {name: getattr(self.instance, name) for name in ("scopes", "metric_types", "sources", "keys")}
        if "metric_types" in self.fields:  # not for those who may only look
            choices = [(ALL, "All types of a stress test, also later ones"), *get_settings().catalogue().choices()]
            cast(forms.MultipleChoiceField, self.fields["metric_types"]).choices = choices

    def clean_name(self) -> str:
        """Return the name; a token that has ended gives it up."""
        name: str = self.cleaned_data["name"]
        if name != self.instance.name:
            release_name(name)
        return name

    def clean(self) -> dict[str, Any] | None:
        """Refuse a token that may see more than the user who creates it; publishing is not limited so."""
        cleaned = super().clean()
        scopes = set(self.cleaned_data.get("scopes", ()))
        asked = self.cleaned_data
        grant = _grant(asked.get("metric_types", ()), asked.get("sources") or (), asked.get("keys") or ())
        if AccessToken.Scope.SUBSCRIBE in scopes and not self.access.permit.includes(grant):
            raise ValidationError(
                "With the scope subscribe, it would see more than you may see yourself; allowed: metric types, "
                "sources and rows of which you may see everything"
            )
        if self.instance.pk is not None and not self.instance.is_personal and not self.may_change_services:
            before = _grant(self.stored["metric_types"], self.stored["sources"], self.stored["keys"])
            if not (scopes <= set(self.stored["scopes"]) and before.includes(grant)):
                raise ValidationError(
                    "The token belongs to no person, so only a superuser may let it do more; allowed: fewer scopes, "
                    "metric types and sources"
                )
        return cleaned


@admin.register(AccessToken)
class AccessTokenAdmin(AuditedAdmin):
    form = AccessTokenForm
    list_display = ["name", "scope_words", "type_words", "source_words", "state", "last_used_at", "published_of"]
    list_filter = ["created_at", "last_used_at"]
    search_fields = ["name", "prefix"]
    actions = ["revoke", "forget_names"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[AccessToken]:
        queryset: QuerySet[AccessToken] = super().get_queryset(request)
        kinds = {kind: Count("names", filter=Q(names__kind=kind)) for kind in TokenName.Kind.values}
        # Counting groups the rows, and grouped rows lose the order of the model.
        return queryset.annotate(**{f"{kind}_count": count for kind, count in kinds.items()}).order_by("name")

    def get_fieldsets(self, request: HttpRequest, obj: AccessToken | None = None) -> Any:
        text = "A program sends the token in the header Authorization. The token is shown once, when you save."
        made = (None, {"description": text if obj is None else "", "fields": ["name", "scopes", "expires_at"]})
        metrics = ("Which metrics", {"fields": ["metric_types", "sources", "keys"]})
        if obj is None:
            return [made, metrics]
        facts = [("shown_prefix", "state"), ("created_at", "created_by", "is_personal"), ("last_used_at", "revoked_at")]
        return [
            made,
            metrics,
            ("State and use", {"fields": facts}),
            ("Published sources and agents", {"fields": ["sources_seen", "agents_seen"]}),
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: AccessToken | None = None) -> list[str]:
        facts = ["shown_prefix", "state", "created_at", "created_by", "is_personal", "last_used_at", "revoked_at"]
        return [*facts, "sources_seen", "agents_seen"]

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        initial = {"expires_at": timezone.now() + latest_expiry(AccessToken, VALID_FOR), "metric_types": [ALL]}
        return {**initial, **super().get_changeform_initial_data(request)}

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], **kwargs: Any) -> HttpResponse:
        # One button: the next page shows the token in any case.
        context |= {"show_save_and_add_another": False, "show_save_and_continue": not kwargs.get("add", False)}
        return super().render_change_form(request, context, **kwargs)

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change, **kwargs)
        form.access = access_of_editor(request)
        form.may_change_services = getattr(request.user, "is_superuser", False)
        return form

    def save_model(self, request: HttpRequest, obj: AccessToken, form: Any, change: bool) -> None:
        if not change:
            obj.created_by = request.user  # type: ignore[assignment]  # the admin requires a sign-in
            # Only the request keeps it, until the response shows it.
            request.token_text = obj.renew()  # type: ignore[attr-defined]
        super().save_model(request, obj, form, change)

    def response_add(
        self, request: HttpRequest, obj: AccessToken, post_url_continue: str | None = None
    ) -> HttpResponse:
        """Show the token in the response only: messages are stored, and URLs are logged."""
        context = {
            **self.admin_site.each_context(request),
            "title": "The token was created",
            "opts": self.opts,
            "made": obj,
            "label": "The token",
            "secret": request.token_text,  # type: ignore[attr-defined]
            "publishes": AccessToken.Scope.PUBLISH in obj.scopes,
            "starts_runs": AccessToken.Scope.RUNS in obj.scopes,
            "origin": request.build_absolute_uri(get_script_prefix()).rstrip("/"),
            "example": _example(obj),
        }
        return TemplateResponse(request, "admin/metrics_stream/token_made.html", context)

    # --- columns and facts ---

    @admin.display(description="token")
    def shown_prefix(self, token: AccessToken) -> str:
        return f"{TOKEN_MARK}_{token.prefix}_…"

    @admin.display(description="for")
    def scope_words(self, token: AccessToken) -> str:
        return ", ".join(map(str, token.scopes))

    @admin.display(description="metric types")
    def type_words(self, token: AccessToken) -> str:
        return ", ".join(map(str, token.metric_types)) or "nothing"

    @admin.display(description="sources")
    def source_words(self, token: AccessToken) -> str:
        return _shown([str(source) for source in token.sources], most=4) or "every source"

    @admin.display(description="state")
    def state(self, token: AccessToken) -> str:
        return describe_state(token)

    @admin.display(description="published of")
    def published_of(self, token: Any) -> str:
        counts = [(token.source_count, "source"), (token.agent_count, "agent")]
        return ", ".join(f"{count:,} {noun}{'s' if count > 1 else ''}" for count, noun in counts if count) or NO_VALUE

    @admin.display(description="sources")
    def sources_seen(self, token: AccessToken) -> str:
        return _names_of(token, TokenName.Kind.SOURCE, get_settings().ingest_max_sources)

    @admin.display(description="agents")
    def agents_seen(self, token: AccessToken) -> str:
        return _names_of(token, TokenName.Kind.AGENT, get_settings().ingest_max_agents)

    # --- actions ---

    @admin.action(description="Revoke selected tokens (this cannot be undone)", permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[AccessToken]) -> None:
        revoked = [token for token in queryset if token.revoked_at is None]
        for token in revoked:
            token.revoke()
        names = ", ".join(map(str, revoked))
        text = f"Revoked {names}." if names else "Nothing was revoked; all were revoked already."
        self.message_user(request, text, messages.SUCCESS)

    @admin.action(description="Forget the sources and agents of selected tokens", permissions=["change"])
    def forget_names(self, request: HttpRequest, queryset: QuerySet[AccessToken]) -> None:
        tokens = list(queryset)
        count, _ = TokenName.objects.filter(token__in=tokens).delete()
        text = f"Forgot {count:,} names; {', '.join(map(str, tokens))} may publish for as many others."
        self.message_user(request, text, messages.SUCCESS)


def _grant(metric_types: Iterable[str], sources: Iterable[str], keys: Iterable[str]) -> Grant:
    types = set(metric_types)
    types |= set(get_settings().catalogue().slugs) if ALL in types else set()
    return Grant(frozenset(types - {ALL}), frozenset(sources), keys=terms_of(keys))


def _example(token: AccessToken) -> str:
    """Return a metric that the token may publish, as JSON for single quotes in a shell."""
    slug = next((slug for slug in token.metric_types if slug != ALL), "system")
    data = [{"agent_id": "agent_1", "current_load": 0.5}] if slug == "agent" else {"throughput_tps": 950}
    source = {"source": token.sources[0]} if token.sources else {}
    return json.dumps({"metric_type": slug, **source, "data": data}).replace("'", "\\u0027")


def _names_of(token: AccessToken, kind: str, limit: int) -> str:
    names = list(token.names.filter(kind=kind).order_by("name").values_list("name", flat=True))
    full = "; no more are taken" if len(names) >= limit else ""
    return f"{len(names):,} of {limit:,}{full}{': ' if names else ''}{_shown(names, most=MOST_NAMES)}"


def _shown(names: list[str], *, most: int) -> str:
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"
