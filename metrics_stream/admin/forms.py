"""The forms of the admin: lists as lines and check boxes, options as fields, so that people type no JSON.

The models and their validators decide what is allowed; the forms only translate between what a person types and the
columns. They work without JavaScript.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone

from metrics_stream.access.grants import Access
from metrics_stream.conf import get_settings
from metrics_stream.core.formatting import quote
from metrics_stream.core.metrics.catalogue import ALL
from metrics_stream.models import AccessPolicy, AccessToken, ClientPreset, Dashboard, Panel, ShareLink
from metrics_stream.models.dashboard_content import grants_of
from metrics_stream.models.panel_kinds import PANEL_KINDS
from metrics_stream.models.validators import MAX_TERM_LENGTH, OPTIONS, validate_options

if TYPE_CHECKING:
    PresetModelForm = forms.ModelForm[ClientPreset]
    DashboardModelForm = forms.ModelForm[Dashboard]
    PanelModelForm = forms.ModelForm[Panel]
    PolicyModelForm = forms.ModelForm[AccessPolicy]
    GrantModelForm = forms.ModelForm[ShareLink | AccessToken]
else:
    PresetModelForm = DashboardModelForm = PanelModelForm = forms.ModelForm
    PolicyModelForm = GrantModelForm = forms.ModelForm


KEY_FILTER = "name=/api/*"
"""The example in an empty field of key filters."""


class LinesField(forms.CharField):
    """A list of texts, one per line or separated by commas; repeated entries are kept once."""

    separator: str | None = ","
    """What separates entries of one line, None for one entry a line."""

    def __init__(self, *, encoder: Any = None, decoder: Any = None, **kwargs: Any) -> None:
        # A JSON column passes the arguments of its own form field, among them one for a hidden copy of the value.
        super().__init__(strip=False, **{**kwargs, "show_hidden_initial": False})

    def to_python(self, value: Any) -> Any:
        """Return the lines as a list."""
        text = super().to_python(value) or ""
        found = text.splitlines()
        if self.separator is not None:
            found = [term for line in found for term in line.split(self.separator)]
        terms = (term.strip() for term in found)
        return list(dict.fromkeys(term for term in terms if term))

    def prepare_value(self, value: Any) -> Any:
        """Return the list as lines; another stored value is shown as JSON, so that it can be corrected."""
        if isinstance(value, list):
            return "\n".join(term if isinstance(term, str) else json.dumps(term) for term in value)
        return value if value is None or isinstance(value, str) else json.dumps(value)

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Compare the lists, not the texts."""
        return bool(self.to_python(data) != (initial or []))


class NumberField(forms.FloatField):
    """A finite number whose error names the typed text."""

    def to_python(self, value: Any) -> Any:
        """Return the number, or None for an empty field."""
        try:
            return super().to_python(value)
        except ValidationError:
            raise ValidationError(f"{quote(value)} is not a number; allowed: a finite number such as 0.95") from None

    def validate(self, value: Any) -> None:
        """Refuse NaN and infinities with the same message."""
        try:
            super().validate(value)
        except ValidationError as error:
            if error.code != "invalid":
                raise
            raise ValidationError(f"{value} is not a number; allowed: a finite number such as 0.95") from None


class KeyFiltersField(LinesField):
    """Key filters, one per line: a name may contain commas."""

    separator = None


def lines(*, rows: int, placeholder: str) -> forms.Textarea:
    """Return the widget of a list of texts."""
    return forms.Textarea(attrs={"rows": rows, "cols": 40, "placeholder": placeholder, "spellcheck": "false"})


def number(low: float | None = None, high: float | None = None, *, step: str = "any") -> forms.NumberInput:
    """Return the widget of a number with bounds."""
    attrs = {"min": low, "max": high, "step": step}
    return forms.NumberInput(attrs={name: value for name, value in attrs.items() if value is not None})


def _with_stored(choices: list[tuple[str, str]], stored: list[Any]) -> list[tuple[str, str]]:
    """Return the choices and the stored values that are no longer among them, so that the form shows those."""
    known = {slug for slug, _ in choices}
    lost = [slug for slug in stored if isinstance(slug, str) and slug and slug not in known]
    return [*choices, *((slug, f"{slug} (exists no more)") for slug in lost)]


class ClientPresetForm(PresetModelForm):
    """Edits a preset."""

    metric_types = forms.MultipleChoiceField(
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="What a client gets as soon as it has connected. None: nothing until it subscribes.",
    )

    class Meta:
        """The columns, with bounds of numbers for the browser."""

        model = ClientPreset
        fields = "__all__"
        field_classes = {
            "agent_ids": LinesField,
            "keys": KeyFiltersField,
            "sources": LinesField,
            "fields": LinesField,
            "interval_seconds": NumberField,
            "batch_timeout_seconds": NumberField,
        }
        widgets = {
            "agent_ids": lines(rows=3, placeholder="agent_1"),
            "keys": lines(rows=3, placeholder=KEY_FILTER),
            "sources": lines(rows=3, placeholder="load-generator-1"),
            "fields": lines(rows=5, placeholder="throughput_tps"),
            "description": forms.Textarea(attrs={"rows": 2, "cols": 60}),
            "interval_seconds": number(0.1, 60),
            "batch_size": number(1, 1000, step="1"),
            "batch_timeout_seconds": number(0, 60),
            "mode": forms.RadioSelect,
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        stored = self.instance.metric_types if isinstance(self.instance.metric_types, list) else []
        field = cast(forms.MultipleChoiceField, self.fields["metric_types"])
        choices = [(ALL, "All types of a stress test, also later ones"), *get_settings().catalogue().choices()]
        field.choices = _with_stored(choices, stored)


class DashboardForm(DashboardModelForm):
    """Edits a dashboard; its panels are inlines."""

    class Meta:
        """The columns."""

        model = Dashboard
        fields = "__all__"
        widgets = {
            "description": forms.Textarea(attrs={"rows": 2, "cols": 60}),
            "kind": forms.RadioSelect,
        }


_OPTION_DEFAULTS = {"stacked": False, "add_sources": False, "trend": True}


class PanelForm(PanelModelForm):
    """Edits a panel, with a field for each option instead of their JSON."""

    metric_type = forms.ChoiceField(required=False)
    option_window_seconds = NumberField(
        label="Visible time in seconds",
        required=False,
        widget=number(10, 3600),
        help_text="10 to 3600. Empty: 300, five minutes.",
    )
    option_minimum = NumberField(label="Minimum", required=False, widget=number(), help_text="Where the axis starts.")
    option_maximum = NumberField(label="Maximum", required=False, widget=number(), help_text="Where the axis ends.")
    option_stacked = forms.BooleanField(label="Stack the lines", required=False)
    option_trend = forms.BooleanField(label="Show the trend", required=False, initial=True)
    option_max_rows = forms.IntegerField(
        label="Rows at most",
        required=False,
        widget=number(1, 1000, step="1"),
        help_text="1 to 1000. Empty: 20; 1000 in a table of requests and the like.",
    )
    option_top = forms.IntegerField(
        label="Only the top rows",
        required=False,
        widget=number(1, 16, step="1"),
        help_text="1 to 16. The lines of the rows with the highest values. Empty: the worst ones.",
    )
    option_by = forms.CharField(
        label="By field",
        required=False,
        max_length=MAX_TERM_LENGTH,
        help_text="Whose highest values count. Empty: the first field.",
    )
    option_keys = LinesField(
        label="Rows",
        required=False,
        widget=lines(rows=2, placeholder="name=/api/*"),
        help_text="Which requests, agents or other rows are shown, one term per line: name=/api/*, method=GET. "
        "* stands for any text. Empty: all.",
    )
    option_add_sources = forms.BooleanField(
        label="Add up the sources",
        required=False,
        help_text="One figure or line for all sources: the load generators of one test.",
    )
    option_sources_with = forms.ChoiceField(
        label="Only sources with",
        required=False,
        help_text="Shows only sources that publish this metric type, too; all as long as none does.",
    )
    option_text = forms.CharField(
        label="Text",
        required=False,
        widget=forms.Textarea(attrs={"rows": 5, "cols": 60}),
        help_text="Plain text; an empty line starts a new paragraph.",
    )

    class Meta:
        """The columns, except for the options."""

        model = Panel
        exclude = ["options"]
        field_classes = {"fields": LinesField, "warning_at": NumberField, "critical_at": NumberField}
        widgets = {
            "fields": lines(rows=4, placeholder="throughput_tps"),
            "warning_at": number(),
            "critical_at": number(),
            "decimals": number(0, 6, step="1"),
            "unit": forms.TextInput(attrs={"list": "metric-units", "size": 12}),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "metric_type" in self.fields:
            field = cast(forms.ChoiceField, self.fields["metric_type"])
            choices = [("", "Choose a metric type"), *get_settings().catalogue().choices()]
            field.choices = _with_stored(choices, [self.instance.metric_type])
        types = cast(forms.ChoiceField, self.fields["option_sources_with"])
        types.choices = [("", "any metric type"), *get_settings().catalogue().choices()]
        stored = self.instance.options if isinstance(self.instance.options, dict) else {}
        for key, value in stored.items():
            self.initial.setdefault(f"option_{key}", value)

    def clean_order(self) -> int:
        """Return the position; an empty field keeps the stored one."""
        order = self.cleaned_data.get("order")
        return order if order is not None else self.instance.order

    def clean(self) -> dict[str, Any] | None:
        """Collect the options of the panel's kind, without defaults."""
        cleaned = super().clean()
        kind = PANEL_KINDS.get(self.cleaned_data.get("kind", ""))
        options = {}
        for key in kind.options if kind else ():
            value = self.cleaned_data.get(f"option_{key}")
            if value in (None, "", []) or value == _OPTION_DEFAULTS.get(key):
                continue
            allowed, fits = OPTIONS[key]
            if fits(value):
                options[key] = value
            else:
                self.add_error(f"option_{key}", f"{quote(value)} is out of range; allowed: {allowed}")
        try:
            validate_options(options)
        except ValidationError as error:
            self.add_error("option_text" if "text" in options else "option_maximum", error)
        self.instance.options = options
        return cleaned

    def add_error(self, field: str | None, error: Any) -> None:
        """Add an error; the model's error about options is shown at the text, the only required option."""
        if field is None and isinstance(error, ValidationError) and "options" in getattr(error, "error_dict", {}):
            texts = dict(error.error_dict)
            texts["option_text"] = texts.pop("options")
            error = ValidationError(texts)
        super().add_error(field, error)


class AccessPolicyForm(PolicyModelForm):
    """Edits an access policy."""

    metric_types = forms.MultipleChoiceField(
        required=False, widget=forms.CheckboxSelectMultiple, help_text="None: the policy grants nothing."
    )

    class Meta:
        """The columns, with lists as lines."""

        model = AccessPolicy
        fields = "__all__"
        field_classes = {
            "sources": LinesField,
            "agent_ids": LinesField,
            "keys": KeyFiltersField,
            "fields": LinesField,
        }
        widgets = {
            "sources": lines(rows=3, placeholder="load-generator-1"),
            "agent_ids": lines(rows=3, placeholder="agent_1"),
            "keys": lines(rows=3, placeholder=KEY_FILTER),
            "fields": lines(rows=5, placeholder="throughput_tps"),
            "runs": forms.RadioSelect,
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "metric_types" in self.fields:
            stored = self.instance.metric_types if isinstance(self.instance.metric_types, list) else []
            choices = [(ALL, "Every type, also later ones"), *get_settings().catalogue().choices()]
            cast(forms.MultipleChoiceField, self.fields["metric_types"]).choices = _with_stored(choices, stored)


def latest_expiry(kind: type[AccessToken | ShareLink], usual: timedelta) -> timedelta:
    """Return after what time a new token or link should expire: the usual one, or less when the settings allow less."""
    return min(usual, timedelta(days=days)) if (days := kind.max_days()) else usual


class GrantForm(GrantModelForm):
    """Creates what gives access until it expires, or changes it."""

    access: Access
    """What the user may see who creates it; nobody can grant more."""

    def clean_expires_at(self) -> datetime | None:
        """Refuse a time in the past for a new grant; an older grant can be ended with it."""
        expires_at: datetime | None = self.cleaned_data["expires_at"]
        if self.instance.pk is None and expires_at is not None and expires_at <= timezone.now():
            raise ValidationError(f"{expires_at:%Y-%m-%d %H:%M} is in the past; allowed: a time in the future, or none")
        return expires_at


class ShareLinkForm(GrantForm):
    """Creates a share link, or changes its name and expiry."""

    class Meta:
        """The columns that a person fills in."""

        model = ShareLink
        fields = ["name", "dashboard", "run", "expires_at"]

    def clean(self) -> dict[str, Any] | None:
        """Refuse to share more than the user who creates the link may see."""
        cleaned = super().clean()
        dashboard = self.cleaned_data.get("dashboard")
        if dashboard is not None:
            for grant in grants_of(dashboard):
                if not self.access.permit.includes(grant):
                    shown = ", ".join((*sorted(grant.metric_types), *sorted(grant.sources)))
                    raise ValidationError(
                        f"The dashboard {dashboard.title!r} shows more of {shown} than you may see yourself; allowed: "
                        "dashboards of which you may see everything"
                    )
        return cleaned
