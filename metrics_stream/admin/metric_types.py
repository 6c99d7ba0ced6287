"""The Django admin of metric types that are declared while the server runs, with their fields."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest

from metrics_stream.admin.base import StreamAdmin
from metrics_stream.admin.forms import LinesField, lines
from metrics_stream.models import MetricTypeDeclaration, MetricTypeField

if TYPE_CHECKING:
    TypeModelForm = forms.ModelForm[MetricTypeDeclaration]
    TabularInline = admin.TabularInline[MetricTypeField, MetricTypeDeclaration]
else:
    TypeModelForm = forms.ModelForm
    TabularInline = admin.TabularInline

# A metric of a token has at most so many fields; a form of more would exceed Django's limit of form fields.
MAX_FIELDS = 150


# Of the texts of a field, in characters: five columns beside each other.
WIDTHS = {"name": 24, "label": 20, "unit": 8}


class MetricTypeForm(TypeModelForm):
    """Edits a declared metric type."""

    class Meta:
        """The columns, with the key as lines."""

        model = MetricTypeDeclaration
        fields = "__all__"
        field_classes = {"key": LinesField, "optional_key": LinesField}
        widgets = {
            "slug": forms.TextInput(attrs={"placeholder": "queue", "size": 30, "spellcheck": "false"}),
            "label": forms.TextInput(attrs={"placeholder": "Queues", "size": 30}),
            "key": lines(rows=2, placeholder="queue"),
            "optional_key": lines(rows=2, placeholder="region"),
        }


class MetricTypeFieldInline(TabularInline):
    """The fields of a metric type; who may change the type may change them."""

    model = MetricTypeField
    extra = 0
    max_num = MAX_FIELDS
    fields = ["name", "label", "unit", "kind", "good"]

    def get_formset(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> Any:
        return super().get_formset(request, obj, absolute_max=MAX_FIELDS, **kwargs)

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field is not None and db_field.name in WIDTHS:
            # Without its class, which makes every text as wide as a page.
            field.widget.attrs |= {"class": "", "size": WIDTHS[db_field.name]}
        if field is not None and db_field.name == "unit":
            field.widget.attrs |= {"list": "metric-units"}
        return field

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return _may(request, "view") or _may(request, "change")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return _may(request, "add" if obj is None else "change")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return _may(request, "change")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return _may(request, "change")


def _may(request: HttpRequest, action: str) -> bool:
    return request.user.has_perm(f"metrics_stream.{action}_metrictypedeclaration")


@admin.register(MetricTypeDeclaration)
class MetricTypeAdmin(StreamAdmin):
    form = MetricTypeForm
    inlines = [MetricTypeFieldInline]
    ordering = ["slug"]
    list_display = ["slug", "label_words", "key_words", "field_count", "created_by_token", "created_at"]
    search_fields = ["slug", "label"]
    list_filter = ["created_at"]
    list_select_related = ["created_by_token"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[MetricTypeDeclaration]:
        queryset: QuerySet[MetricTypeDeclaration] = super().get_queryset(request)
        # Counting groups the rows, and grouped rows lose the order of the model.
        return queryset.annotate(count_of_fields=Count("fields")).order_by("slug")

    def get_fieldsets(self, request: HttpRequest, obj: MetricTypeDeclaration | None = None) -> Any:
        text = (
            "A type exists as soon as it is saved; servers, pages and programs know it within seconds. A type that was "
            "published first is here too: give it a label, and its fields units."
        )
        key = ("Rows", {"fields": [("key_parts" if obj is not None and obj.key else "key", "optional_key")]})
        made = [] if obj is None else [("Where it comes from", {"fields": [("created_by", "created_at")]})]
        return [(None, {"description": text, "fields": [("slug", "label")]}), key, *made]

    def get_readonly_fields(self, request: HttpRequest, obj: MetricTypeDeclaration | None = None) -> list[str]:
        facts = ["created_by", "created_at"]
        if obj is None:
            return facts
        return ["slug", *(["key_parts"] if obj.key else []), *facts]

    def get_prepopulated_fields(self, request: HttpRequest, obj: Any = None) -> dict[str, Any]:
        return {}

    @admin.display(description="label", ordering="label")
    def label_words(self, obj: MetricTypeDeclaration) -> str:
        return obj.metric_type.label

    @admin.display(description="key parts")
    def key_words(self, obj: MetricTypeDeclaration) -> str:
        return ", ".join([*map(str, obj.key), *(f"{part} (optional)" for part in obj.optional_key)]) or "one object"

    @admin.display(description="key parts")
    def key_parts(self, obj: MetricTypeDeclaration) -> str:
        return ", ".join(map(str, obj.key))

    @admin.display(description="fields", ordering="count_of_fields")
    def field_count(self, obj: Any) -> str:
        return f"{obj.count_of_fields:,}"

    @admin.display(description="created by")
    def created_by(self, obj: MetricTypeDeclaration) -> str:
        token = obj.created_by_token
        return "a person, or a program of this installation" if token is None else f"the token {token}"
