"""The forms of test runs in the admin: what a run says of itself, and its phases."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib.admin.widgets import AdminSplitDateTime
from django.core.exceptions import ValidationError

from metrics_stream.admin.forms import LinesField, NumberField, lines, number
from metrics_stream.core.errors import RunError
from metrics_stream.core.run_values import (
    Phase,
    arrange_phases,
    parameter_text,
    read_parameter_lines,
    read_span,
)
from metrics_stream.models import RunPhase, TestRun
from metrics_stream.runs import lifecycle as runs
from metrics_stream.runs.clock import database_now

if TYPE_CHECKING:
    RunModelForm = forms.ModelForm[TestRun]
    PhaseFormSet = forms.BaseInlineFormSet[RunPhase, TestRun, forms.ModelForm[RunPhase]]
else:
    RunModelForm = forms.ModelForm
    PhaseFormSet = forms.BaseInlineFormSet


class ParametersField(forms.CharField):
    """The parameters of a run, one per line as `name=value`."""

    def __init__(self, *, encoder: Any = None, decoder: Any = None, **kwargs: Any) -> None:
        # A JSON column passes the arguments of its own form field, among them one for a hidden copy of the value.
        super().__init__(strip=False, **{**kwargs, "show_hidden_initial": False})

    def to_python(self, value: Any) -> Any:
        """Return the lines as an object."""
        try:
            return read_parameter_lines((super().to_python(value) or "").splitlines())
        except RunError as error:
            raise ValidationError(str(error)) from error

    def prepare_value(self, value: Any) -> Any:
        """Return the object as lines; another stored value is shown as JSON, so that it can be corrected."""
        if isinstance(value, dict):
            return "\n".join(f"{name}={parameter_text(item)}" for name, item in value.items())
        return value if value is None or isinstance(value, str) else json.dumps(value)

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Compare the texts, which do not show the type of a value."""
        return (self.prepare_value(initial) or "").split() != (data or "").split()


class TestRunForm(RunModelForm):
    """Starts a test run, or edits what it says of itself."""

    # Without this, pytest would collect it as a class of tests.
    __test__ = False

    class Meta:
        """The columns that a person fills in."""

        model = TestRun
        fields = [
            *("name", "test", "sources", "target_tps", "tags", "parameters", "notes"),
            *("started_at", "ended_at"),
        ]
        field_classes = {
            "sources": LinesField,
            "tags": LinesField,
            "target_tps": NumberField,
            "parameters": ParametersField,
            "started_at": forms.SplitDateTimeField,
            "ended_at": forms.SplitDateTimeField,
        }
        widgets = {
            "name": forms.TextInput(attrs={"placeholder": "checkout soak", "size": 40}),
            "test": forms.TextInput(attrs={"placeholder": "checkout", "size": 40, "spellcheck": "false"}),
            "sources": lines(rows=3, placeholder="load-generator-1"),
            "tags": lines(rows=3, placeholder="release-42"),
            "parameters": lines(rows=5, placeholder="commit=3f2a9c1"),
            "target_tps": number(0),
            "notes": forms.Textarea(attrs={"rows": 5, "cols": 60}),
            "started_at": AdminSplitDateTime(),
            "ended_at": AdminSplitDateTime(),
        }

    def clean(self) -> dict[str, Any] | None:
        """Refuse to start a run that cannot be recorded, or whose start and end do not fit."""
        cleaned = super().clean() or {}
        if self.instance.pk is None:
            try:
                runs.check_recordable()
                if not self.errors.keys() & {"started_at", "ended_at"}:
                    read_span(cleaned.get("started_at"), cleaned.get("ended_at"), database_now())
            except RunError as error:
                raise ValidationError(str(error)) from error
        return cleaned

    def clean_parameters(self) -> Any:
        """Return the parameters; those whose text did not change keep their type."""
        stored = self.instance.parameters
        given = self.cleaned_data["parameters"]
        if not isinstance(stored, dict):
            return given
        return {
            name: stored[name]
            if name in stored and parameter_text(stored[name]).strip() == parameter_text(value)
            else value
            for name, value in given.items()
        }


class RunPhaseFormSet(PhaseFormSet):
    """Phases that follow one another within their run; a request that says nothing of phases leaves them alone."""

    def __init__(self, data: Any = None, **kwargs: Any) -> None:
        prefix = kwargs.get("prefix") or self.get_default_prefix()
        if data is not None and f"{prefix}-TOTAL_FORMS" not in data:
            data = {f"{prefix}-TOTAL_FORMS": "0", f"{prefix}-INITIAL_FORMS": "0"}
        super().__init__(data, **kwargs)

    def clean(self) -> None:
        """Refuse phases that overlap, or that are outside their run; cut the others to it."""
        super().clean()
        if any(self.errors):
            return
        kept = [form for form in self.forms if _is_filled(form) and not form.cleaned_data.get("DELETE")]
        if not kept:
            return
        if self.instance.started_at is None:
            raise ValidationError("The phases of a run that begins now are added while it goes on.")
        kept.sort(key=lambda form: form.instance.starts_at)
        given = [Phase(form.instance.name, form.instance.starts_at, form.instance.ends_at) for form in kept]
        try:
            arranged = arrange_phases(given, self.instance.started_at, self.instance.ended_at)
        except RunError as error:
            raise ValidationError(str(error)) from error
        for form, phase in zip(kept, arranged, strict=True):
            form.instance.starts_at, form.instance.ends_at = phase.starts_at, phase.ends_at


def _is_filled(form: forms.ModelForm[RunPhase]) -> bool:
    return form.has_changed() or form.instance.pk is not None
