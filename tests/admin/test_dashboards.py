"""The admin: what a person can do in it, and that no value whatsoever becomes a server error."""

import pytest
from django.urls import reverse

from metrics_stream.admin.forms import ClientPresetForm, PanelForm
from metrics_stream.defaults.seed import seed
from metrics_stream.models import ClientPreset, Dashboard, Panel
from tests.support.admin_forms import DASHBOARD, PANEL, PRESET

PRESET_ADD = "/admin/metrics_stream/clientpreset/add/"
DASHBOARD_ADD = "/admin/metrics_stream/dashboard/add/"
NESTED = "[" * 5_000 + "]" * 5_000


def panel_post(*panels, stored=0):
    data = {"panels-TOTAL_FORMS": len(panels), "panels-INITIAL_FORMS": stored}
    for number, panel in enumerate(panels):
        data |= {f"panels-{number}-{name}": value for name, value in panel.items()}
    return data


@pytest.fixture
def seeded(db):
    seed()


def test_preset_is_made_from_check_boxes_and_lines(admin_client):
    assert admin_client.post(PRESET_ADD, PRESET).status_code == 302
    preset = ClientPreset.objects.get()
    assert (preset.metric_types, preset.agent_ids, preset.sources, preset.fields) == (
        ["system", "agent"],
        ["agent-1", "agent-2"],
        [],
        ["error_rate", "throughput_tps"],
    )
    assert (preset.interval_seconds, preset.batch_size, preset.batch_timeout_seconds, preset.mode) == (
        2,
        5,
        0,
        "latest",
    )
    assert preset.keys == ["name=/a,b", "method = GET"]
    assert preset.history.get().history_user.username == "admin"


def test_preset_form_shows_what_is_stored_and_finds_nothing_changed():
    preset = ClientPreset(name="Mine", slug="mine", metric_types=["system"], agent_ids=["a", "b"], keys=["name=/x"])
    form = ClientPresetForm(instance=preset)
    assert form["metric_types"].value() == ["system"]
    assert form["agent_ids"].value() == "a\nb"
    same = {
        **PRESET,
        "description": "",
        "metric_types": ["system"],
        "agent_ids": "a\r\nb\r\n",
        "fields": "",
        "keys": "name=/x",
    }
    same |= {
        "keys": "name=/x",
        "interval_seconds": "1",
        "batch_size": "10",
        "batch_timeout_seconds": "0.5",
        "mode": "all",
    }
    assert ClientPresetForm(same, instance=preset).changed_data == []


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("interval_seconds", "NaN", "nan is not a number; allowed: a finite number such as 0.95"),
        ("interval_seconds", "1e999", "inf is not a number; allowed: a finite number such as 0.95"),
        ("interval_seconds", "-1", "-1.0 is out of range; allowed: 0.1 to 60"),
        ("interval_seconds", "", "This field is required."),
        ("batch_size", "9" * 400, "is out of range; allowed: 1 to 1000"),
        ("batch_size", "9" * 5000, "Enter a whole number."),
        ("batch_timeout_seconds", "61", "61.0 is out of range; allowed: 0 to 60"),
        ("metric_types", ["sytem"], "sytem is not one of the available choices."),
        ("agent_ids", "\n".join(map(str, range(2000))), "the list has 2,000 entries; allowed: at most 1,000"),
        ("agent_ids", "x" * 201, "allowed: at most 200 for each entry"),
        ("agent_ids", "a\x00b", "holds the character &#x27;\\x00&#x27;"),
        ("fields", NESTED, "has 10,000 characters; allowed: at most 200 for each entry"),
        ("sources", "a\x1b[31m", "holds the character &#x27;\\x1b&#x27;"),
        ("name", "a\x00", "Null characters are not allowed."),
        ("name", "x" * 101, "Ensure this value has at most 100 characters"),
        ("slug", "No Slug!", "Enter a valid “slug”"),
        ("mode", "newest", "newest is not one of the available choices."),
    ],
)
def test_bad_preset_value_is_an_error_in_the_form(admin_client, column, value, message):
    response = admin_client.post(PRESET_ADD, {**PRESET, column: value})
    assert response.status_code == 200
    assert message in response.content.decode()
    assert not ClientPreset.objects.exists()


def test_lone_surrogate_in_a_request_harms_nothing(admin_client):
    body = "&".join(f"{name}=%ED%A0%80" for name in ["name", "slug", "agent_ids", "fields", "interval_seconds"])
    response = admin_client.post(PRESET_ADD, body, content_type="application/x-www-form-urlencoded")
    assert response.status_code == 200
    assert not ClientPreset.objects.exists()


def test_metric_type_that_left_the_settings_can_be_seen_and_removed(admin_client):
    preset = ClientPreset.objects.create(name="Mine", slug="mine", metric_types=["cloudwatch", "system"])
    address = reverse("admin:metrics_stream_clientpreset_change", args=[preset.pk])
    assert "cloudwatch (exists no more)" in admin_client.get(address).content.decode()
    response = admin_client.post(address, {**PRESET, "metric_types": ["cloudwatch"]})
    assert "unknown metric type &#x27;cloudwatch&#x27;; allowed: system" in response.content.decode()
    assert admin_client.post(address, {**PRESET, "metric_types": ["system"]}).status_code == 302


def test_choosing_a_new_default_in_the_form_replaces_the_old_one(admin_client, seeded):
    assert admin_client.post(PRESET_ADD, {**PRESET, "is_default": "on"}).status_code == 302
    assert ClientPreset.objects.get(is_default=True).slug == "mine"


def test_dashboard_is_made_with_its_panels_in_order(admin_client):
    panels = [
        {**PANEL, "warning_at": "0.5", "option_window_seconds": "60", "option_stacked": "on", "option_text": "ignored"},
        {**PANEL, "title": "Now", "kind": "number", "option_maximum": "7"},
        {**PANEL, "title": "Read", "kind": "text", "metric_type": "", "fields": "", "option_text": "Hello\r\n\r\nyou"},
    ]
    panels[1] |= {
        "option_add_sources": "on",
        "option_sources_with": "request",
        "option_keys": "name=/api/*\nmethod=GET",
    }
    response = admin_client.post(DASHBOARD_ADD, {**DASHBOARD, **panel_post(*panels)})
    assert response.status_code == 302
    line, number, text = Dashboard.objects.get().panels.all()
    assert (line.title, line.warning_at, line.options) == ("Throughput", 0.5, {"window_seconds": 60, "stacked": True})
    assert (number.title, number.options) == (
        "Now",
        {"trend": False, "keys": ["name=/api/*", "method=GET"], "add_sources": True, "sources_with": "request"},
    )
    assert (text.title, text.options) == ("Read", {"text": "Hello\r\n\r\nyou"})
    assert [panel.problem for panel in (line, number, text)] == ["", "", ""]
    assert line.history.get().history_user.username == "admin"


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("metric_type", "sytem", "sytem is not one of the available choices."),
        ("metric_type", "", "choose the metric type that it shows."),
        ("fields", "", "names no field; name at least one."),
        ("fields", "a..b", "&#x27;a..b&#x27; is not a field; allowed: a name, or names joined by single dots"),
        ("fields", NESTED, "has 10,000 characters; allowed: at most 200 for each entry"),
        ("fields", "\n".join(map(str, range(2000))), "the list has 2,000 entries; allowed: at most 50"),
        ("fields", "a\x00", "holds the character &#x27;\\x00&#x27;"),
        ("kind", "pie", "pie is not one of the available choices."),
        ("kind", "text", "A text panel has no text; write what it shows."),
        ("decimals", "7", "7 is out of range; allowed: 0 to 6"),
        ("decimals", "-1", "Ensure this value is greater than or equal to 0."),
        ("warning_at", "nan", "nan is not a number; allowed: a finite number"),
        ("critical_at", "-1e999", "-inf is not a number; allowed: a finite number"),
        ("critical_at", "high", "&#x27;high&#x27; is not a number; allowed: a finite number"),
        ("order", "9" * 30, "Ensure this value is less than or equal to"),
        ("order", "first", "Enter a whole number."),
        ("order", "-1", "Ensure this value is greater than or equal to 0."),
        ("option_window_seconds", "5", "5.0 is out of range; allowed: a number from 10 to 3600"),
        ("option_minimum", "1e305", "is out of range; allowed: a finite number"),
        ("option_minimum", "9", "the minimum 9.0 is not below the maximum 1.0; allowed: a smaller minimum"),
        ("option_top", "17", "17 is out of range; allowed: a whole number from 1 to 16"),
        ("option_by", "a..b", "&#x27;a..b&#x27; is out of range; allowed: the name of a field"),
        ("option_keys", "users", "allowed: a list of 1 to 50 terms such as name=/api/*"),
        ("title", "", "This field is required."),
    ],
)
def test_bad_panel_value_is_an_error_in_the_form(admin_client, column, value, message):
    panel = {**PANEL, "option_maximum": "1", column: value}
    response = admin_client.post(DASHBOARD_ADD, {**DASHBOARD, **panel_post(panel)})
    assert response.status_code == 200
    assert message in response.content.decode()
    assert not Panel.objects.exists()


def test_text_that_is_too_long_is_an_error_at_the_text(admin_client):
    panel = {**PANEL, "kind": "text", "metric_type": "", "fields": "", "option_text": "x" * 5001}
    response = admin_client.post(DASHBOARD_ADD, {**DASHBOARD, **panel_post(panel)})
    assert response.status_code == 200
    assert "the text has 5,001 characters; allowed: at most 5,000" in response.content.decode()


@pytest.mark.parametrize("management", [{}, {"panels-TOTAL_FORMS": "x"}, {"panels-TOTAL_FORMS": "1000000"}])
def test_broken_management_form_is_an_error_in_the_form(admin_client, management):
    data = {**DASHBOARD, "panels-INITIAL_FORMS": "0", **management}
    assert admin_client.post(DASHBOARD_ADD, data).status_code == 200


def test_emptied_order_keeps_the_place(admin_client):
    dashboard = Dashboard.objects.create(title="Mine", slug="mine")
    panel = Panel.objects.create(dashboard=dashboard, title="A", metric_type="system", fields=["a"], order=7)
    address = reverse("admin:metrics_stream_dashboard_change", args=[dashboard.pk])
    data = panel_post({**PANEL, "id": panel.pk, "dashboard": dashboard.pk, "option_trend": "on"}, stored=1)
    assert admin_client.post(address, {**DASHBOARD, **data}).status_code == 302
    panel.refresh_from_db()
    assert (panel.title, panel.order) == ("Throughput", 7)


def test_order_of_panels_is_what_was_posted(admin_client):
    dashboard = Dashboard.objects.create(title="Mine", slug="mine")
    panels = [
        Panel.objects.create(dashboard=dashboard, title=title, metric_type="system", fields=["a"], order=order)
        for order, title in enumerate("ABC", start=1)
    ]
    rows = [
        {**PANEL, "title": panel.title, "id": panel.pk, "dashboard": dashboard.pk, "order": order}
        for panel, order in zip(panels, (3, 1, 2), strict=True)
    ]
    address = reverse("admin:metrics_stream_dashboard_change", args=[dashboard.pk])
    assert admin_client.post(address, {**DASHBOARD, **panel_post(*rows, stored=3)}).status_code == 302
    assert [panel.title for panel in dashboard.panels.all()] == ["B", "C", "A"]


def test_dashboards_are_sorted_by_dragging(admin_client, seeded):
    pks = [[dashboard.pk, order] for order, dashboard in enumerate(reversed(Dashboard.objects.all()), start=1)]
    address = "/admin/metrics_stream/dashboard/adminsortable2_update/"
    response = admin_client.post(address, {"updatedItems": pks}, content_type="application/json")
    assert response.status_code == 200
    assert Dashboard.objects.first().slug == "stream-health"


@pytest.mark.parametrize("body", ["", "null", "[]", "{}", '{"updatedItems": [[1, NaN]]}', '{"updatedItems": [["x"]]}'])
def test_bad_sorting_request_is_refused(admin_client, body):
    address = "/admin/metrics_stream/dashboard/adminsortable2_update/"
    assert admin_client.post(address, body, content_type="application/json").status_code == 400


def test_stored_values_that_are_broken_can_be_opened_and_mended(admin_client):
    dashboard = Dashboard.objects.create(title="Mine", slug="mine")
    panel = Panel.objects.create(
        dashboard=dashboard,
        title="A",
        kind="pie",
        metric_type="cloudwatch",
        fields={"a": [1]},
        options=["x"],
        size="huge",
    )
    ClientPreset.objects.create(name="P", slug="p", metric_types="system", agent_ids={"a": 1}, fields=[[1]], mode="x")
    for address in (
        reverse("admin:metrics_stream_dashboard_change", args=[dashboard.pk]),
        reverse("admin:metrics_stream_panel_change", args=[panel.pk]),
        reverse("admin:metrics_stream_panel_changelist"),
        reverse("admin:metrics_stream_clientpreset_changelist"),
        reverse("admin:metrics_stream_clientpreset_change", args=[ClientPreset.objects.get().pk]),
    ):
        assert admin_client.get(address).status_code == 200
    row = {**PANEL, "id": panel.pk, "dashboard": dashboard.pk}
    address = reverse("admin:metrics_stream_dashboard_change", args=[dashboard.pk])
    assert admin_client.post(address, {**DASHBOARD, **panel_post(row, stored=1)}).status_code == 302
    panel.refresh_from_db()
    assert panel.problem == ""


def test_duplicate_dashboard_has_the_panels_and_is_not_published(admin_client, seeded):
    source = Dashboard.objects.get(slug="operations")
    action = {"action": "duplicate", "_selected_action": [source.pk]}
    for slug, title in [("operations-copy", "Operations (copy)"), ("operations-copy-2", "Operations (copy 2)")]:
        response = admin_client.post(reverse("admin:metrics_stream_dashboard_changelist"), action)
        copy = Dashboard.objects.get(slug=slug)
        assert response.headers["Location"] == reverse("admin:metrics_stream_dashboard_change", args=[copy.pk])
        assert (copy.title, copy.published, copy.preset) == (title, False, source.preset)
        described = [
            [list(items.values_list("title", "kind", "fields", "options", "order")) for items in (one.panels.all(),)]
            for one in (source, copy)
        ]
        assert described[0] == described[1]
        assert copy.history.count() == 1
    source.refresh_from_db()
    assert source.published


def test_duplicate_presets_are_never_the_default(admin_client, seeded):
    chosen = list(ClientPreset.objects.filter(slug__in=["standard", "raw"]).values_list("pk", flat=True))
    action = {"action": "duplicate", "_selected_action": chosen}
    assert admin_client.post(reverse("admin:metrics_stream_clientpreset_changelist"), action).status_code == 302
    assert ClientPreset.objects.get(slug="raw-copy").name == "Raw (copy)"
    assert ClientPreset.objects.get(is_default=True).slug == "standard"


def test_duplicate_of_a_long_name_fits_its_column(admin_client):
    preset = ClientPreset.objects.create(name="n" * 100, slug="s" * 50)
    action = {"action": "duplicate", "_selected_action": [preset.pk]}
    admin_client.post(reverse("admin:metrics_stream_clientpreset_changelist"), action)
    copy = ClientPreset.objects.exclude(pk=preset.pk).get()
    assert (copy.slug, copy.name) == ("s" * 45 + "-copy", "n" * 93 + " (copy)")


def test_publish_and_withdraw(admin_client, seeded):
    chosen = list(Dashboard.objects.values_list("pk", flat=True))
    address = reverse("admin:metrics_stream_dashboard_changelist")
    admin_client.post(address, {"action": "unpublish", "_selected_action": chosen})
    assert not Dashboard.objects.filter(published=True).exists()
    admin_client.post(address, {"action": "publish", "_selected_action": chosen[:1]})
    assert Dashboard.objects.filter(published=True).count() == 1
    assert Dashboard.objects.get(pk=chosen[0]).history.count() == 3


@pytest.mark.parametrize("model", ["clientpreset", "dashboard", "panel"])
def test_lists_filters_search_history_and_versions_open(admin_client, seeded, model):
    base = f"/admin/metrics_stream/{model}/"
    item = {"clientpreset": ClientPreset, "dashboard": Dashboard, "panel": Panel}[model].objects.first()
    item.save()
    version = item.history.first().pk
    for address in (base, f"{base}?q=o", f"{base}add/", f"{base}{item.pk}/change/", f"{base}{item.pk}/history/"):
        assert admin_client.get(address).status_code == 200, address
    assert admin_client.get(f"{base}{item.pk}/history/{version}/").status_code == 200
    assert admin_client.post(f"{base}{item.pk}/history/{version}/", {}).status_code == 200
    for address in (
        f"{base}x/history/",
        f"{base}{item.pk}/history/x/",
        f"{base}{10**30}/history/",
        f"{base}x/history/1/",
    ):
        assert admin_client.get(address).status_code in {302, 404}, address


def test_view_on_site_leads_to_the_page(admin_client, seeded):
    dashboard = Dashboard.objects.first()
    panel = dashboard.panels.first()
    assert (
        f'href="{dashboard.page_address()}"'
        in admin_client.get(reverse("admin:metrics_stream_panel_change", args=[panel.pk])).content.decode()
    )
    assert ClientPreset.objects.get(slug="raw").page_address() == "/console/?preset=raw"


def test_forms_carry_the_catalogue_for_the_field_offers(admin_client, seeded):
    content = admin_client.get(DASHBOARD_ADD).content.decode()
    assert '<script id="metric-catalogue" type="application/json">' in content
    assert '<script src="/static/metrics_stream/admin/editor.js" type="module">' in content


def test_panel_form_never_loses_what_it_does_not_know():
    panel = Panel(kind="line", options={"window_seconds": 60, "stacked": True})
    form = PanelForm(instance=panel)
    assert (form["option_window_seconds"].value(), form["option_stacked"].value()) == (60, True)
    assert form["option_trend"].value() is True


def test_admin_is_for_staff(client, db):
    assert client.get("/admin/metrics_stream/dashboard/").status_code == 302
