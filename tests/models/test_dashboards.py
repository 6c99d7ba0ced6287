"""What presets, dashboards and panels accept, and what they say about the rest."""

import math

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from metrics_stream.models import ClientPreset, Dashboard, Panel
from metrics_stream.models.validators import validate_terms

pytestmark = pytest.mark.django_db


def preset(**columns):
    return ClientPreset(**{"name": "Mine", "slug": "mine", **columns})


def panel(**columns):
    known = {"title": "Throughput", "kind": "line", "metric_type": "system", "fields": ["throughput_tps"]}
    return Panel(**{**known, **columns})


def messages(item, **kwargs):
    with pytest.raises(ValidationError) as caught:
        item.full_clean(**kwargs)
    return caught.value.message_dict


def test_preset_defaults_are_the_default_delivery():
    item = preset()
    item.full_clean()
    assert (item.interval_seconds, item.batch_size, item.batch_timeout_seconds, item.mode) == (1.0, 10, 0.5, "all")
    assert (item.metric_types, item.agent_ids, item.sources, item.fields) == ([], [], [], [])


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (
            "metric_types",
            ["sytem"],
            "unknown metric type 'sytem'; allowed: system, agent, business, hero, presentation, request, error, stream",
        ),
        ("metric_types", "system", "'system' is not a list; allowed: a list of texts, or an empty one"),
        ("metric_types", {"system": 1}, '{"system":1} is not a list; allowed: a list of texts, or an empty one'),
        ("agent_ids", [1], "1 is not a text; allowed: a list of texts that are not empty"),
        ("agent_ids", [["a"]], '["a"] is not a text; allowed: a list of texts that are not empty'),
        ("agent_ids", [" "], "' ' is not a text; allowed: a list of texts that are not empty"),
        ("agent_ids", ["a"] * 1001, "the list has 1,001 entries; allowed: at most 1,000"),
        ("agent_ids", ["a", "b", "a"], "'a' is listed more than once; allowed: each entry once"),
        ("sources", ["x" * 201], f"'{'x' * 60}…' has 201 characters; allowed: at most 200 for each entry"),
        (
            "sources",
            ["a\ud800"],
            "'a\\ud800' holds the character '\\ud800'; allowed: letters, digits, signs and spaces",
        ),
        ("fields", ["a\x00b"], "'a\\x00b' holds the character '\\x00'; allowed: letters, digits, signs and spaces"),
        ("interval_seconds", -1.0, "-1.0 is out of range; allowed: 0.1 to 60"),
        ("interval_seconds", 61.0, "61.0 is out of range; allowed: 0.1 to 60"),
        ("interval_seconds", math.nan, "nan is not a finite number"),
        ("batch_size", 0, "0 is out of range; allowed: 1 to 1000"),
        ("batch_size", 1001, "1001 is out of range; allowed: 1 to 1000"),
        ("batch_timeout_seconds", 60.5, "60.5 is out of range; allowed: 0 to 60"),
        ("mode", "newest", "Value 'newest' is not a valid choice."),
        ("name", "a\ud800", "'a\\ud800' holds the character '\\ud800'; allowed: letters, digits, signs and spaces"),
        (
            "description",
            "\x1b[31m",
            "the text holds the character '\\x1b'; allowed: letters, digits, signs, spaces and line ends",
        ),
    ],
)
def test_preset_names_the_wrong_value_and_what_is_allowed(column, value, message):
    item = preset(**{column: value})
    with pytest.raises(ValidationError) as caught:
        item.clean_fields()
    assert message in caught.value.message_dict[column]


def test_preset_list_takes_what_a_filter_takes():
    item = preset(agent_ids=[f"agent-{number}" for number in range(1000)], fields=["x" * 200])
    item.full_clean()


def test_deeply_nested_value_is_an_error_and_no_crash():
    nested: list = []
    for _ in range(50_000):
        nested = [nested]
    with pytest.raises(ValidationError, match="nested too deeply is not a text"):
        validate_terms([nested])


def test_new_default_preset_takes_the_mark_from_the_old_one_and_the_history_knows():
    first = preset(is_default=True)
    first.save()
    second = preset(name="Other", slug="other", is_default=True)
    second.full_clean()
    second.save()
    assert list(ClientPreset.objects.filter(is_default=True)) == [second]
    assert [version.is_default for version in first.history.all()] == [False, True]


def test_saving_the_default_again_keeps_it():
    first = preset(is_default=True)
    first.save()
    first.save()
    assert ClientPreset.objects.get(is_default=True) == first


def test_database_refuses_two_defaults():
    preset(is_default=True).save()
    with pytest.raises(IntegrityError), transaction.atomic():
        ClientPreset.objects.bulk_create([preset(name="Other", slug="other", is_default=True)])


def test_deleting_a_preset_leaves_its_dashboards():
    item = preset()
    item.save()
    dashboard = Dashboard.objects.create(title="Mine", slug="mine", preset=item)
    item.delete()
    dashboard.refresh_from_db()
    assert dashboard.preset is None


def test_dashboards_are_in_the_order_of_the_admin():
    for order, slug in [(2, "b"), (1, "a"), (2, "c")]:
        Dashboard.objects.create(title=slug, slug=slug, order=order)
    assert [item.slug for item in Dashboard.objects.all()] == ["a", "b", "c"]
    assert Dashboard.objects.get(slug="a").page_address() == "/dashboards/a/"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"metric_type": "cloudwatch"},
            "metric_type: unknown metric type 'cloudwatch'; "
            "allowed: system, agent, business, hero, presentation, request, error, stream",
        ),
        ({"metric_type": ""}, "metric_type: The panel is of kind 'Line chart'; choose the metric type that it shows."),
        ({"fields": []}, "fields: The panel is of kind 'Line chart' and names no field; name at least one."),
        ({"fields": None}, "fields: The panel is of kind 'Line chart' and names no field; name at least one."),
        ({"kind": "bar", "fields": {}}, "fields: The panel is of kind 'Bars' and names no field; name at least one."),
        (
            {"kind": "number", "fields": ["a", "b"]},
            "fields: The panel is of kind 'Big number' and names 2 fields; allowed: one field.",
        ),
        (
            {"fields": {"a": 1}},
            'fields: {"a":1} is not a list; allowed: a list of texts, or an empty one',
        ),
        (
            {"fields": ["a..b"]},
            "fields: 'a..b' is not a field; allowed: a name, or names joined by single dots such as 'cost.total'",
        ),
        ({"fields": [str(number) for number in range(51)]}, "fields: the list has 51 entries; allowed: at most 50"),
        ({"kind": "pie"}, "kind: Value 'pie' is not a valid choice."),
        ({"size": "huge"}, "size: Value 'huge' is not a valid choice."),
        ({"decimals": 7}, "decimals: 7 is out of range; allowed: 0 to 6"),
        ({"warning_at": math.inf}, "warning_at: inf is not a finite number"),
        ({"critical_at": math.nan}, "critical_at: nan is not a finite number"),
        ({"options": [1]}, "options: [1] is not an object; allowed: an object of options, or an empty one"),
        (
            {"options": {"colour": "red"}},
            "options: unknown option 'colour'; allowed: window_seconds, minimum, maximum, stacked, trend, text, ",
        ),
        (
            {"options": {"window_seconds": 5}},
            "options: the option window_seconds is 5; allowed: a number from 10 to 3600",
        ),
        ({"options": {"stacked": 1}}, "options: the option stacked is 1; allowed: true or false"),
        ({"options": {"maximum": math.inf}}, "options: the option maximum is inf; allowed: a finite number"),
        ({"options": {"minimum": 10**400}}, f"options: the option minimum is 1{'0' * 59}…; allowed: a finite number"),
        (
            {"options": {"minimum": 2, "maximum": 1}},
            "options: the minimum 2 is not below the maximum 1; allowed: a smaller minimum",
        ),
        (
            {"options": {"max_rows": 1.5}},
            "options: the option max_rows is 1.5; allowed: a whole number from 1 to 500",
        ),
        (
            {"kind": "text", "fields": [], "metric_type": ""},
            "options: A text panel has no text; write what it shows.",
        ),
    ],
)
def test_panel_says_what_is_wrong_with_it(columns, message):
    assert message in panel(**columns).problem


@pytest.mark.parametrize(
    "columns",
    [
        {},
        {"fields": ["cost_efficiency.cost_per_transaction", "aws_cost_breakdown.Amazon EC2", "not_in_the_catalogue"]},
        {"kind": "text", "metric_type": "", "fields": [], "options": {"text": "One\n\nTwo"}},
        {"kind": "status", "metric_type": "agent", "fields": []},
        {"kind": "flow", "metric_type": "presentation", "fields": []},
        {"warning_at": 0.98, "critical_at": 0.95},
        {"critical_at": 5.0},
        {"options": {"window_seconds": 60, "minimum": 0, "maximum": 1.5, "stacked": True, "trend": False}},
    ],
)
def test_panel_without_a_problem(columns):
    assert panel(**columns).problem == ""


def test_panel_takes_a_metric_type_from_the_settings(settings):
    settings.METRICS_STREAM = {"EXTRA_METRIC_TYPES": {"cloudwatch": "CloudWatch"}}
    assert panel(metric_type="cloudwatch").problem == ""


def test_problem_asks_no_database(django_assert_num_queries):
    item = panel(dashboard_id=1)
    with django_assert_num_queries(0):
        assert item.problem == ""


def test_full_clean_reports_under_the_columns(db):
    assert set(messages(panel(metric_type="x"), exclude=["dashboard"])) == {"metric_type"}
