"""The pages: who may see what, what the browser code gets, and that a broken panel breaks nothing else."""

import json
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from django.conf import settings
from django.contrib.auth.models import Permission
from django.db import connection
from django.shortcuts import resolve_url
from django.urls import reverse

from metrics_stream.conf import get_settings
from metrics_stream.core.protocol.messages import CLIENT_MESSAGES, message_name
from metrics_stream.core.validity import RULES, SILENT_SECONDS
from metrics_stream.models import ClientPreset, Dashboard, Panel, RunPhase, TestRun
from metrics_stream.models.dashboard_content import preset_of
from metrics_stream.views.page_config import MOST_RUNS, describe_field, page_config

CONTEXT_OF_EVERY_PAGE = [reverse("metrics_stream:index"), reverse("metrics_stream:console"), "/dashboards/operations/"]


@pytest.fixture
def operations(db):
    dashboard = Dashboard.objects.create(title="Operations", slug="operations", order=1)
    Panel.objects.create(
        dashboard=dashboard,
        title="Response times",
        metric_type="system",
        fields=["p50_response_time_ms", "p99_response_time_ms"],
        warning_at=500,
        order=2,
        options={"window_seconds": 60},
    )
    Panel.objects.create(
        dashboard=dashboard, title="Load", kind="bar", metric_type="agent", fields=["current_load"], order=1
    )
    Panel.objects.create(dashboard=dashboard, title="Read me", kind="text", options={"text": "Hello"}, order=3)
    return dashboard


def test_page_config_is_the_whole_contract(client, operations):
    response = client.get("/dashboards/operations/")
    first, second, third = operations.panels.all()
    assert response.status_code == 200
    assert response.context["page"] == {
        "socket_path": "/ws/metrics/",
        "sign_in_path": resolve_url(settings.LOGIN_URL),
        "is_live": True,
        "preset": None,
        "metric_types": ["system", "agent"],
        "stale_after_seconds": 10.0,
        "history_seconds": 900.0,
        "validity": {"silent_seconds": SILENT_SECONDS, "rules": [msgspec.to_builtins(rule) for rule in RULES]},
        "dashboard": {"slug": "operations", "title": "Operations", "kind": "standard"},
        "panels": [
            {
                "id": first.pk,
                "title": "Load",
                "kind": "bar",
                "metric_type": "agent",
                "fields": [
                    {
                        "path": "current_load",
                        "label": "Load",
                        "unit": "ratio",
                        "kind": "gauge",
                        "minimum": 0.0,
                        "maximum": 1.0,
                    }
                ],
                "unit": "",
                "decimals": None,
                "warning_at": None,
                "critical_at": None,
                "size": "medium",
                "options": {},
            },
            {
                "id": second.pk,
                "title": "Response times",
                "kind": "line",
                "metric_type": "system",
                "fields": [
                    {
                        "path": "p50_response_time_ms",
                        "label": "Response time p50",
                        "unit": "ms",
                        "kind": "percentile",
                        "minimum": 0.0,
                    },
                    {
                        "path": "p99_response_time_ms",
                        "label": "Response time p99",
                        "unit": "ms",
                        "kind": "percentile",
                        "minimum": 0.0,
                    },
                ],
                "unit": "",
                "decimals": None,
                "warning_at": 500.0,
                "critical_at": None,
                "size": "medium",
                "options": {"window_seconds": 60},
            },
            {
                "id": third.pk,
                "title": "Read me",
                "kind": "text",
                "metric_type": "",
                "fields": [],
                "unit": "",
                "decimals": None,
                "warning_at": None,
                "critical_at": None,
                "size": "medium",
                "options": {"text": "Hello"},
            },
        ],
    }
    assert json.loads(json.dumps(response.context["page"])) == response.context["page"]
    assert [panel.pk for panel in response.context["panels"]] == [first.pk, second.pk, third.pk]


def test_dashboard_offers_the_runs_that_have_begun(client, operations):
    now = datetime(2026, 1, 31, 12, tzinfo=UTC)
    TestRun.objects.create(slug="planned", name="Planned")
    for number in range(MOST_RUNS + 1):
        started_at = now + timedelta(minutes=number)
        TestRun.objects.create(slug=f"run-{number}", name=f"Run {number}", status="running", started_at=started_at)
    TestRun.objects.filter(slug="run-1").update(status="completed", ended_at=now + timedelta(minutes=2))

    def offered(query=""):
        return client.get(f"/dashboards/operations/{query}").context["runs"]

    assert [run["id"] for run in offered()] == [f"run-{number}" for number in range(MOST_RUNS, 0, -1)]
    assert offered()[-1] == {
        "id": "run-1",
        "name": "Run 1",
        "status": "completed",
        "started_at": "2026-01-31T12:01:00+00:00",
        "ended_at": "2026-01-31T12:02:00+00:00",
    }
    assert offered()[0]["ended_at"] is None
    RunPhase.objects.create(run=TestRun.objects.get(slug="run-1"), name="steady", starts_at=now)
    assert offered()[-1]["phases"] == [{"name": "steady", "start": "2026-01-31T12:00:00.000000Z", "end": None}]
    assert offered("?run=run-0")[-1]["id"] == "run-0"
    assert len(offered("?run=run-1")) == len(offered("?run=gone")) == len(offered("?run=%00")) == MOST_RUNS


def test_dashboard_without_a_preset_uses_the_default_one(operations):
    def chosen():
        return page_config(operations, [], preset_of(operations))["preset"]

    assert chosen() is None
    ClientPreset.objects.create(name="Standard", slug="standard", is_default=True)
    assert chosen() == "standard"
    operations.preset = ClientPreset.objects.create(name="Slow", slug="slow")
    assert chosen() == "slow"


@pytest.mark.parametrize(
    ("metric_type", "path", "label", "unit"),
    [
        ("system", "throughput_tps", "Throughput", "tps"),
        ("system", "disk_usage", "Disk usage", ""),
        ("cloudwatch", "error_rate", "Error rate", ""),
        # No catalogue says what this object holds, and a name alone says nothing.
        ("presentation", "cost_efficiency.cost_per_transaction", "Cost per transaction", ""),
        ("presentation", "hero_metrics.uptime_percentage", "Uptime", "percent"),
        ("system", "stats.error_rate", "Error rate", ""),
        ("business", "aws_cost_breakdown.ec2", "Ec2", ""),
        ("system", "http.response_time.p95", "p95", ""),
        ("system", "GET /api/v1.2/x", "GET /api/v1.2/x", ""),
        ("system", "responseTime", "responseTime", ""),
    ],
)
def test_field_has_label_and_unit(metric_type, path, label, unit):
    described = describe_field(get_settings().catalogue(), metric_type, path)
    assert {name: described[name] for name in ("path", "label", "unit")} == {"path": path, "label": label, "unit": unit}


def test_object_of_known_fields_has_their_units_and_bounds_are_the_catalogues():
    catalogue = get_settings().catalogue()
    held = describe_field(catalogue, "presentation", "hero_metrics")
    assert held["units"]["uptime_percentage"] == "percent"
    assert describe_field(catalogue, "presentation", "hero_metrics.uptime_percentage")["maximum"] == 100
    assert "minimum" not in describe_field(catalogue, "hero", "money_saved")
    assert describe_field(catalogue, "business", "performance_vs_baseline")["unit"] == "multiple"


def test_unit_of_a_histogram_is_that_of_its_percentiles(operations):
    panel = Panel(dashboard=operations, title="Spread", kind="histogram", metric_type="system")
    for path, expected in {
        "response_time_ms": {"path": "sketches.response_time_ms", "unit": "ms"},
        "size": {"path": "sketches.size", "unit": ""},
        "http.size": {"path": "http.sketches.size", "flat_path": "sketches.http.size", "unit": ""},
    }.items():
        panel.fields = [path]
        [described] = page_config(operations, [panel], None)["panels"][0]["fields"]
        assert {name: described.get(name) for name in expected} == expected


@pytest.mark.parametrize(
    ("column", "stored", "reason"),
    [
        ("metric_type", "cloudwatch", "unknown metric type 'cloudwatch'"),
        ("fields", '{"a": 1}', '{"a":1} is not a list'),
        ("fields", "[[[[1]]]]", "[[[1]]] is not a text"),
        ("fields", '["\\ud800"]', "holds the character"),
        ("fields", "null", "names no field"),
        ("kind", "pie", "not a valid choice"),
        ("size", "huge", "not a valid choice"),
        ("options", "[1]", "[1] is not an object"),
        ("options", '{"minimum": "<script>"}', "the option minimum is"),
        ("decimals", 9, "9 is out of range"),
        ("warning_at", 9e999, "inf is not a finite number"),
    ],
)
def test_broken_panel_says_so_and_the_others_are_shown(client, operations, column, stored, reason):
    broken = operations.panels.get(title="Response times")
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE metrics_stream_panel SET {column} = %s WHERE id = %s", [stored, broken.pk])
    response = client.get("/dashboards/operations/")
    assert response.status_code == 200
    page = response.context["page"]
    assert [panel["title"] for panel in page["panels"]] == ["Load", "Response times", "Read me"]
    shown = page["panels"][1]
    assert (shown["id"], shown["kind"], shown["metric_type"], shown["fields"]) == (broken.pk, "text", "", [])
    assert shown["options"]["text"].startswith("This panel cannot be shown. ")
    assert reason in shown["options"]["text"]
    assert page["metric_types"] == ["agent"]
    json.dumps(page, allow_nan=False)


def test_broken_kind_of_a_dashboard_falls_back_to_standard(client, operations):
    Dashboard.objects.update(kind="cinema")
    assert client.get("/dashboards/operations/").context["page"]["dashboard"]["kind"] == "standard"


def test_unknown_dashboard_is_not_found(client, db):
    assert client.get("/dashboards/nothing/").status_code == 404


def test_unpublished_dashboard_exists_for_staff_only(client, operations, admin_user):
    Dashboard.objects.update(published=False)
    assert client.get("/dashboards/operations/").status_code == 404
    assert list(client.get("/").context["dashboards"]) == []
    client.force_login(admin_user)
    assert client.get("/dashboards/operations/").status_code == 200


def test_empty_dashboard_is_a_page(client, db):
    Dashboard.objects.create(title="Empty", slug="empty")
    response = client.get("/dashboards/empty/")
    assert response.status_code == 200
    assert response.context["page"]["metric_types"] == []


@pytest.mark.parametrize("address", CONTEXT_OF_EVERY_PAGE)
def test_every_page_has_the_navigation_and_is_never_kept(client, operations, address):
    response = client.get(address)
    assert response.status_code == 200
    assert list(response.context["dashboards"]) == [operations]
    assert response.headers["Cache-Control"] == "private, no-cache"


def test_titles_are_text_everywhere(client, operations):
    Dashboard.objects.update(title="<b>Bold</b></script>")
    Panel.objects.update(title="<img src=x>")
    for address in CONTEXT_OF_EVERY_PAGE:
        content = client.get(address).content.decode()
        assert "<b>Bold" not in content
        assert "<img src=x>" not in content


def test_console_knows_presets_catalogue_and_client_messages(client, db):
    ClientPreset.objects.create(name="Slow", slug="slow", description="For phones.")
    page = client.get("/console/").context["page"]
    client_messages = page.pop("client_messages")
    assert list(client_messages) == [message_name(message) for message in CLIENT_MESSAGES]
    assert set(client_messages["replay"]) == {"run", "from", "speed", "paused", "backfill_seconds", "max_points"}
    assert client_messages["ping"] == []
    assert page == {
        "socket_path": "/ws/metrics/",
        "sign_in_path": resolve_url(settings.LOGIN_URL),
        "presets": [{"slug": "slow", "name": "Slow", "description": "For phones."}],
        "catalogue": get_settings().catalogue().describe(),
    }


def test_health_asks_no_database(client):
    response = client.get("/healthz")
    assert (response.status_code, response.content, response.headers["Content-Type"]) == (
        200,
        b"ok",
        "text/plain; charset=utf-8",
    )
    assert "no-store" in response.headers["Cache-Control"]


def test_statistics_are_for_staff(client, admin_user, django_user_model):
    refusal = {"error": "the statistics are for staff who may view connections; log in at the admin first"}
    staff = django_user_model.objects.create_user("staff", "", "x", is_staff=True)
    for user in (None, django_user_model.objects.create_user("viewer", "", "x"), staff):
        if user:
            client.force_login(user)
        response = client.get("/api/stats/")
        assert (response.status_code, response.json()) == (403, refusal)
        assert "no-store" in response.headers["Cache-Control"]
    staff.user_permissions.add(Permission.objects.get(codename="view_connection"))
    assert client.get("/api/stats/").status_code == 200
    client.force_login(admin_user)
    response = client.get("/api/stats/")
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/json"
    assert isinstance(response.json(), dict)


def test_favicon_leads_to_the_icon(client):
    response = client.get("/favicon.ico")
    assert (response.status_code, response.headers["Location"]) == (302, "/static/metrics_stream/img/favicon.svg")


@pytest.mark.parametrize("address", ["/", "/console/", "/healthz", "/api/stats/", "/favicon.ico"])
def test_pages_are_only_read(client, address):
    assert client.post(address).status_code == 405
