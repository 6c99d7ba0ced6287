"""The list of test runs, and the page of a run."""

import re

import pytest
from django.core.cache import cache
from django.urls import reverse
from django.utils import timezone

from metrics_stream.models import Dashboard, Panel, TestRun
from metrics_stream.views.runs import RUNS_ON_A_PAGE
from tests.support.recording import Recording, metric, record_run, start_run
from tests.support.responses import text

pytestmark = pytest.mark.django_db


def names(response):
    return [row.run.name for row in response.context["rows"]]


# --- the list ---


def test_list_without_runs_says_how_to_start_one(client):
    response = client.get("/runs/")
    assert response.status_code == 200
    content = text(response)
    assert 'stress_test_run("Checkout soak"' in content.replace("&quot;", '"')
    assert "manage start_run" in content
    assert "data-refresh-seconds" not in response.content.decode()


def test_list_tells_each_run_in_a_row(client):
    record_run(60, name="Checkout soak", target_tps=1_000, tags=["release-42"], notes="New pool.")
    response = client.get("/runs/")
    [row] = response.context["rows"]
    assert (row.duration, row.target, row.metrics, row.lost) == (
        "1\u00a0min",
        "1,000\u00a0tps",
        "60",
        "–",
    )
    content = text(response)
    assert "Checkout soak release-42 Completed 2027-01-15 08:00 UTC 1 min 1,000 tps peak 500 tps 60" in content
    assert 'href="/runs/soak/"' in response.content.decode()
    assert 'href="/runs/?q=release-42"' in response.content.decode()


def test_list_is_paged_and_pages_keep_the_search(client):
    for number in range(RUNS_ON_A_PAGE + 3):
        start_run(f"run-{number}", name=f"Run {number}")
    first = client.get("/runs/", {"q": "run"})
    assert len(names(first)) == RUNS_ON_A_PAGE
    assert "Page 1 of 2" in text(first)
    assert 'href="?q=run&amp;page=2"' in first.content.decode()
    assert names(client.get("/runs/", {"q": "run", "page": "2"})) == ["Run 2", "Run 1", "Run 0"]
    assert len(names(client.get("/runs/", {"page": "99"}))) == 3


def test_list_is_asked_for_again_while_a_run_goes_on(client):
    run = start_run()
    assert 'data-refresh-seconds="5"' in client.get("/runs/").content.decode()
    TestRun.objects.filter(pk=run.pk).update(status="completed", recording_ended_at=timezone.now())
    assert "data-refresh-seconds" not in client.get("/runs/").content.decode()


# --- a run ---


def test_page_of_a_run_says_all_of_it(client):
    record_run(
        60, name="Checkout soak", target_tps=1_000, tags=["release-42"], notes="New pool.", sources=["web-1", "web-2"]
    )
    content = text(client.get("/runs/soak/"))
    for words in (
        "Checkout soak Completed release-42",
        "Started 2027-01-15 08:00:00 UTC",
        "Ended 2027-01-15 08:01:00 UTC",
        "Duration 1 min",
        "Target load 1,000 tps",
        "Metrics recorded 60",
        "Last metric 2027-01-15 08:00:59 UTC",
        "Sources web-1, web-2",
        "Id soak",
        "Notes New pool.",
    ):
        assert words in content
    assert "missing" not in content


def test_dashboards_are_linked_replayed_and_whole(client):
    for slug, metric_type in (("business", "business"), ("operations", "system")):
        dashboard = Dashboard.objects.create(title=slug.title(), slug=slug)
        Panel.objects.create(dashboard=dashboard, title="x", metric_type=metric_type, fields=["x"])
    Dashboard.objects.create(title="Draft", slug="draft", published=False)
    record_run(5)
    response = client.get("/runs/soak/")
    [link] = response.context["links"]
    assert link == {
        "title": "Operations",
        "description": "",
        "replay": "/dashboards/operations/?run=soak&at=2027-01-15T08:00:00.000000Z",
        "whole": "/dashboards/operations/?run=soak",
        "live": "/dashboards/operations/",
        "has_metrics": True,
    }
    assert link["replay"].replace("&", "&amp;") in response.content.decode()
    assert [link["title"] for link in response.context["empty_links"]] == ["Business"]
    assert "No numbers were recorded for the panels of Business." in text(response)
    assert "Draft" not in text(response)


def test_run_that_goes_on_offers_the_live_dashboards_and_its_files_so_far(client):
    dashboard = Dashboard.objects.create(title="Operations", slug="operations")
    Panel.objects.create(dashboard=dashboard, title="x", metric_type="system", fields=["x"])
    start_run()
    assert "All metrics that are published from now on belong to this run." in text(client.get("/runs/soak/"))
    cache.clear()
    Recording("soak").record(metric(0), metric(1))
    response = client.get("/runs/soak/")
    assert "still being recorded" in text(response)
    assert 'href="/dashboards/operations/"' in response.content.decode().partition("<main")[2]
    assert 'data-refresh-seconds="5"' in response.content.decode()


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"status": "not_started", "started_at": None}, "This run has not started"),
        ({"sources": ["web-7"]}, "Metrics published by web-7 from now on belong to this run."),
        ({"status": "paused"}, "This run is paused"),
        ({"status": "cancelled", "recording_ended_at": "2027-01-15T09:00Z"}, "Nothing was recorded"),
    ],
)
def test_run_without_metrics_says_why(client, columns, words):
    start_run(**columns)
    response = client.get("/runs/soak/")
    assert words in text(response)
    assert "export" not in response.content.decode().partition("<main")[2].replace("and exports are here", "")


def test_staff_find_the_run_in_the_admin(client, admin_client):
    run = start_run()
    address = reverse("admin:metrics_stream_testrun_change", args=[run.pk])
    assert address in admin_client.get("/runs/soak/").content.decode()
    assert admin_client.get(address).status_code == 200
    client.logout()
    assert address not in client.get("/runs/soak/").content.decode()


def test_names_tags_and_notes_are_text_everywhere(client):
    evil = "<b>Bold</b><img src=x>"
    run, recording = start_run(name=evil, tags=[evil, "a&q=b"], notes=evil, sources=[evil]), Recording("soak")
    recording.record(metric(0, {evil: 1}, source=evil))
    recording.record(metric(1, [{"agent_id": evil, "load": 1}], metric_type="agent", source=evil))
    recording.end(run)
    for address in ("/runs/", "/runs/soak/", "/", f"/runs/?q={evil}x"):
        content = client.get(address).content.decode()
        assert "<b>Bold" not in content
        assert "<img src=x>" not in content
    assert 'href="/runs/?q=a%26q%3Db"' in client.get("/runs/").content.decode()


@pytest.mark.parametrize("address", ["/runs/", "/runs/soak/"])
def test_pages_have_the_navigation_and_are_never_kept(client, address):
    dashboard = Dashboard.objects.create(title="Operations", slug="operations")
    start_run()
    response = client.get(address)
    assert list(response.context["dashboards"]) == [dashboard]
    assert response.headers["Cache-Control"] == "private, no-cache"
    link = re.search(r'href="/runs/"\s+aria-current="(\w+)"', response.content.decode())
    assert link[1] == ("page" if address == "/runs/" else "true")


def test_home_page_shows_the_runs_that_go_on(client):
    start_run("soak", name="Checkout soak")
    start_run("paused", status="paused")
    start_run("over", status="completed")
    response = client.get("/")
    assert [run.slug for run in response.context["open_runs"]] == ["paused", "soak"]
    assert "Checkout soak Running since 2027-01-15 08:00 UTC" in text(response)
    TestRun.objects.all().delete()
    assert "going on" not in text(client.get("/"))


@pytest.mark.parametrize("address", ["/runs/", "/runs/soak/", "/runs/soak/export.csv", "/runs/soak/export.ndjson.gz"])
def test_pages_are_only_read(client, address):
    start_run()
    assert client.post(address).status_code == 405
