"""Every field of every form of the admin, with what is no value for it: an error in the form or stored, never a 500."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db.models import JSONField
from django.urls import reverse

from metrics_stream.models import ClientPreset, Dashboard, Panel, TestRun
from tests.support.admin_forms import PANEL, PRESET, RUN

pytestmark = pytest.mark.django_db

DEEP = 100_000

HOSTILE = {
    "NaN": "NaN",
    "infinity": "-Infinity",
    "a number that is none": "1e999",
    "a huge whole number": "9" * 5_000,
    "a lone surrogate, escaped": '"\\ud800"',
    "NUL": "a\0b",
    "NUL, escaped": '"\\u0000"',
    "deep lists": "[" * DEEP + "]" * DEEP,
    "deep objects": '{"a":' * DEEP + "1" + "}" * DEEP,
    "a key twice": '{"text": "a", "text": "b"}',
    "a key of the language": '{"__proto__": {"polluted": true}}',
    "null": "null",
    "nothing but spaces": " \t\r\n ",
    "a line separator": "a\u2028b\u2029c",
    "text that runs backwards": "\u202eabc",
    "a formula": "=cmd|' /C calc'!A0",
    "format strings": "%s%n{0.__class__}{{7*7}}${7*7}",
}

# The fields that take text, numbers or lists, of the forms that have JSON columns behind them.
FIELDS = {
    "clientpreset": ["name", "metric_types", "agent_ids", "interval_seconds"],
    "panel": ["title", "fields", "decimals", "option_minimum", "option_text"],
    "testrun": ["target_tps", "tags", "notes"],
}
FORMS = {"clientpreset": PRESET, "panel": {**PANEL, "kind": "text"}, "testrun": RUN}


def stored() -> Iterator[tuple[str, Any]]:
    """Return every value of every JSON column."""
    for model in (ClientPreset, Dashboard, Panel, TestRun):
        for column in model._meta.get_fields():
            if isinstance(column, JSONField):
                for value in model.objects.values_list(column.name, flat=True):
                    yield f"{model.__name__}.{column.name}", value


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_value_in_any_field_is_an_error_in_the_form_or_harmless(admin_client, name):
    dashboard = Dashboard.objects.create(title="Mine", slug="mine")
    answers = {}
    for model, fields in FIELDS.items():
        address = reverse(f"admin:metrics_stream_{model}_add")
        for field in fields:
            kind = "text" if field == "option_text" else "line"
            form = {**FORMS[model], "dashboard": dashboard.pk, "kind": kind, field: HOSTILE[name]}
            answer = admin_client.post(address, form)
            answers[model, field] = answer.status_code
            assert answer.status_code == 302 or "errorlist" in answer.text, (model, field, answer.status_code)
    assert set(answers.values()) <= {200, 302}, answers
    # Whatever was taken is strict JSON of moderate size, for every program that reads it,
    for column, value in stored():
        assert len(json.dumps(value, allow_nan=False, ensure_ascii=False).encode()) < 10_000, column
    # and can be looked at.
    models = ("clientpreset", "dashboard", "panel", "testrun")
    pages = [reverse(f"admin:metrics_stream_{model}_changelist") for model in models]
    pages += ["/", "/console/", "/runs/", dashboard.page_address()]
    pages += [reverse("metrics_stream:run", args=[run.slug]) for run in TestRun.objects.all()]
    assert {page: admin_client.get(page).status_code for page in pages} == dict.fromkeys(pages, 200)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_body_of_the_sorting_request_is_refused(admin_client, name):
    address = reverse("admin:metrics_stream_dashboard_changelist") + "adminsortable2_update/"
    dashboard = Dashboard.objects.create(title="Mine", slug="mine", order=3)
    for body in (HOSTILE[name], f'{{"updatedItems": [[{dashboard.pk}, {HOSTILE[name]}]]}}'):
        answer = admin_client.post(address, body, content_type="application/json")
        assert answer.status_code in {200, 400}
        dashboard.refresh_from_db()
        assert dashboard.order in {0, 1, 3}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_address_is_answered(admin_client, name):
    value = HOSTILE[name][:2_000]
    for page in (
        reverse("admin:metrics_stream_dashboard_changelist"),
        reverse("admin:metrics_stream_panel_changelist"),
        reverse("admin:metrics_stream_testrun_changelist"),
        "/runs/",
        "/console/",
        "/login/",
    ):
        for parameter in ("q", "status", "page", "p", "o", "next"):
            assert admin_client.get(page, {parameter: value}).status_code in {200, 302, 400}, (page, parameter)


# --- what programs write past the forms ---


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        [float("inf")],
        ["\ud800"],
        {"a": "\udfff"},
        [["a"]],
        [1],
        [None],
        ["a", "a"],
        "a",
        {"text": ["a"]},
        {"minimum": float("nan")},
        {"minimum": 10**400},
        {"window_seconds": True},
    ],
    ids=repr,
)
@pytest.mark.parametrize(
    ("model", "column"),
    [
        (ClientPreset, "metric_types"),
        (ClientPreset, "agent_ids"),
        (ClientPreset, "sources"),
        (ClientPreset, "fields"),
        (Panel, "fields"),
        (Panel, "options"),
        (TestRun, "tags"),
        (TestRun, "sources"),
    ],
)
def test_the_columns_themselves_refuse_it(model, column, value):
    with pytest.raises(ValidationError):
        model._meta.get_field(column).run_validators(value)


def test_the_columns_refuse_what_is_nested_too_deeply():
    value: Any = []
    for _ in range(DEEP):
        value = [value]
    for model, column in ((ClientPreset, "agent_ids"), (Panel, "fields"), (Panel, "options"), (TestRun, "tags")):
        with pytest.raises(ValidationError):
            model._meta.get_field(column).run_validators(value)


@pytest.mark.parametrize("model", ["dashboard", "accesspolicy", "auditentry", "testrun"])
def test_an_empty_name_of_a_column_is_no_error(admin_client, model):
    for page in ("change", "delete"):
        address = reverse(f"admin:metrics_stream_{model}_{page}", args=[1])
        assert admin_client.get(address, {"_to_field": ""}).status_code in {302, 403, 404}


def test_a_run_that_is_no_id_is_an_error_in_the_form(admin_client):
    answer = admin_client.post(reverse("admin:metrics_stream_sharelink_add"), {"name": "a", "run": "NaN"})
    assert "errorlist" in answer.text
