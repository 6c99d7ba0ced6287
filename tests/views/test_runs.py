"""The pages of test runs: what they say, who finds what, and that their files are whole."""

import csv
import gzip
import io
import re
from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync
from django.core.cache import cache
from django.urls import reverse
from django.utils import timezone
from django.utils.html import strip_tags

from metrics_stream.access.credentials import Anybody
from metrics_stream.access.grants import resolve
from metrics_stream.access.visibility import visible_runs
from metrics_stream.core.errors import MetricsStreamError
from metrics_stream.core.formatting import NO_VALUE
from metrics_stream.core.metrics.sketch import Sketch
from metrics_stream.models import Dashboard, MetricChunk, Panel, TestRun
from metrics_stream.runs import series as run_series
from metrics_stream.views import exports
from metrics_stream.views.runs import RUNS_ON_A_PAGE
from tests.support.recording import Recording, metric, start_run

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _empty_cache():
    # Runs of different tests have the same slug.
    cache.clear()


def load(seconds, **columns):
    """Return a finished run with a throughput, and its metrics; the load rises to 9 and has a peak of 500."""
    run, recording = start_run(ended_at=timezone.now(), **columns), Recording("soak")
    values = [500.0 if second == 4 else float(second % 10) for second in range(seconds)]
    metrics = [metric(second, {"throughput_tps": value, "error_rate": 0.25}) for second, value in enumerate(values)]
    recording.record(*metrics)
    TestRun.objects.filter(pk=run.pk).update(status="completed", ended_at=run.started_at + timedelta(seconds=seconds))
    return recording.end(run), metrics


def text(response):
    """Return what a person reads, with single spaces."""
    content = response.content.decode()
    main = content[content.index("<main") : content.index("</main>")]
    return " ".join(strip_tags(main).split()).replace("\u00a0", " ")


def names(response):
    return [row.run.name for row in response.context["rows"]]


def body_of(response):
    """Return the file that a streamed answer is."""

    async def read():
        return b"".join([piece async for piece in response])

    return async_to_sync(read)()


def csv_of(response):
    return list(csv.reader(io.StringIO(body_of(response).decode(), newline="")))


# --- the list ---


def test_list_without_runs_says_how_to_start_one(client):
    response = client.get("/runs/")
    assert response.status_code == 200
    content = text(response)
    assert 'stress_test_run("Checkout soak"' in content.replace("&quot;", '"')
    assert "manage start_run" in content
    assert "data-refresh-seconds" not in response.content.decode()


def test_list_tells_each_run_in_a_row(client):
    load(60, name="Checkout soak", target_tps=1_000, tags=["release-42"], notes="New pool.")
    response = client.get("/runs/")
    [row] = response.context["rows"]
    assert (row.duration, row.target, row.metrics, row.lost) == (
        "1\u00a0min",
        "1,000\u00a0tps",
        "60",
        "–",  # noqa: RUF001
    )
    content = text(response)
    assert "Checkout soak release-42 Completed 2027-01-15 08:00 UTC 1 min 1,000 tps peak 500 tps 60" in content
    assert 'href="/runs/soak/"' in response.content.decode()
    assert 'href="/runs/?q=release-42"' in response.content.decode()


def test_picture_has_the_peak_of_the_load_and_is_drawn_once(client, django_assert_max_num_queries):
    load(1_200)
    first = client.get("/runs/")
    picture = first.context["rows"][0].picture
    assert (picture.label, picture.peak, picture.is_load) == ("Throughput", "500\u00a0tps", True)
    assert re.fullmatch(r"M[\d. L]+", picture.line)
    with django_assert_max_num_queries(4):
        assert client.get("/runs/").context["rows"][0].picture == picture


def test_run_without_a_throughput_shows_what_it_has(client):
    run, recording = start_run(), Recording("soak")
    recording.record(*(metric(second, {"queue_depth": 3, "depth_of_mine": 1}) for second in range(5)))
    recording.end(run)
    picture = client.get("/runs/").context["rows"][0].picture
    assert (picture.label, picture.is_load) == ("Queue depth", False)
    assert "Queue depth, peak 3" in text(client.get("/runs/"))


def test_list_says_what_is_lost(client):
    hole = {"at": "2027-01-15T08:00:10Z", "metric_type": "system", "reason": "history"}
    start_run("a", lost=[{**hole, "count": 1_200}, {**hole, "count": 4}])
    start_run("b", lost=[{**hole, "count": 1_200}, {**hole, "count": None}])
    start_run("c", lost=[{**hole, "count": None}])
    assert [row.lost for row in client.get("/runs/").context["rows"]] == ["unknown", "at least 1,200", "1,204"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["gamma", "beta", "alpha"]),
        ("ALPHA", ["alpha"]),
        ("release-42", ["gamma", "alpha"]),
        ("pool release", ["gamma"]),
        ("müller", ["beta"]),
        ('say"so', ["beta"]),
        ("back\\slash", ["beta"]),
        ("2027-slug", ["gamma"]),
        ("100%", ["alpha"]),
        ("_", []),
        ("], [", []),
        ('"', ["beta"]),
        ("\0", ["gamma", "beta", "alpha"]),
        ("nothing", []),
    ],
)
def test_search_looks_into_names_tags_and_notes_for_every_word(client, query, found):
    start_run("a", name="alpha", tags=["release-42"], notes="100% load")
    start_run("b", name="beta", tags=["müller", 'say"so', "back\\slash"])
    start_run("2027-slug", name="gamma", tags=["x", "release-42"], notes="A new pool.")
    assert names(client.get("/runs/", {"q": query})) == found


def test_status_filters_and_the_choices_count_what_the_words_find(client):
    for slug, status in (("a", "running"), ("b", "failed"), ("c", "failed"), ("other", "completed")):
        start_run(slug, name=f"soak {slug}" if slug != "other" else slug, status=status)
    response = client.get("/runs/", {"q": "soak", "status": "failed"})
    assert names(response) == ["soak c", "soak b"]
    assert [(choice["label"], choice["count"], choice["address"]) for choice in response.context["choices"]] == [
        ("All", "3", "?q=soak"),
        ("Running", "1", "?q=soak&status=running"),
        ("Failed", "2", "?q=soak&status=failed"),
    ]
    assert names(client.get("/runs/", {"status": "nonsense"})) == ["other", "soak c", "soak b", "soak a"]
    assert "No paused run has zzz in its name" in text(client.get("/runs/?q=zzz&status=paused"))


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
    load(60, name="Checkout soak", target_tps=1_000, tags=["release-42"], notes="New pool.", sources=["web-1", "web-2"])
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


def test_summary_has_the_extremes_of_each_series_with_units(client):
    run, recording = start_run(), Recording("soak")
    recording.record(metric(0, {"throughput_tps": 10.0, "own": {"depth": -2.5}}))
    recording.record(metric(1, {"throughput_tps": 30.0}))
    recording.record(
        metric(2, [{"agent_id": "a1", "success_rate": 0.99}], metric_type="agent", source="web-2"),
        metric(2, [{"agent_id": "a1", "success_rate": 0.5}], metric_type="agent", source="web-2"),
    )
    recording.end(run)
    response = client.get("/runs/soak/")
    groups = [(group.metric_type, group.source, group.agent_id) for group in response.context["groups"]]
    assert groups == [("System", "web-1", ""), ("Agents", "web-2", "a1")]
    content = text(response)
    assert "Throughput throughput_tps 2 10.0 tps 20.0 tps 30.0 tps 30.0 tps" in content
    assert "Depth own.depth 1 -2.50 -2.50 -2.50 -2.50" in content
    assert "Success rate success_rate 2 50.0 % 74.5 % 99.0 % 50.0 %" in content


def test_percentiles_have_no_mean_but_that_of_all_or_the_worst(client):
    run, recording = start_run(), Recording("soak")
    for at, values in ((0, [10.0] * 100), (1, [20.0] * 300)):
        sketch = Sketch()
        for value in values:
            sketch.add(value)
        data = {"p50_response_time_ms": values[0], "sketches": {"response_time_ms": sketch.encode()}}
        recording.record(metric(at, data), metric(at, {"p99_response_time_ms": values[-1]}, source="web-2"))
    recording.end(run)
    response = client.get("/runs/soak/")
    content = text(response)
    assert "Samples Min Mean Of all Max Last" in content
    no_value = re.escape(NO_VALUE)
    assert re.search(
        rf"Response time p50 p50_response_time_ms 2 10.0 ms {no_value} (19.9|20.1) ms 20.0 ms 20.0 ms", content
    )
    assert f"Response time p99 p99_response_time_ms 2 10.0 ms {NO_VALUE} 20.0 ms worst 20.0 ms 20.0 ms" in content
    assert content.count("worst: the highest that came") == 1


def test_what_is_lost_is_said_plainly(client):
    holes = [{"at": "2027-01-15T08:00:10Z", "metric_type": "system", "count": 1_200, "reason": "history"}]
    holes += [{"at": "2027-01-15T08:00:20+00:00", "metric_type": "gone", "count": None, "reason": "epoch"}]
    holes += [{"at": "2027-01-15T08:00:30Z", "metric_type": "agent", "count": 1, "reason": "of another kind"}] * 30
    load(5, lost=holes)
    content = text(client.get("/runs/soak/"))
    assert "Parts of this run are missing" in content
    assert "08:00:10 UTC System: 1,200 metrics The recorder was away for longer than the history keeps" in content
    assert "08:00:20 UTC gone: an unknown number of metrics The history was lost and began anew." in content
    assert "Agents: 1 metric of another kind" in content
    assert "and 12 more such parts." in content


def test_dashboards_are_linked_replayed_and_whole(client):
    for slug, metric_type in (("business", "business"), ("operations", "system")):
        dashboard = Dashboard.objects.create(title=slug.title(), slug=slug)
        Panel.objects.create(dashboard=dashboard, title="x", metric_type=metric_type, fields=["x"])
    Dashboard.objects.create(title="Draft", slug="draft", published=False)
    load(5)
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
    assert "Whatever is published from now on belongs to this run." in text(client.get("/runs/soak/"))
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


def test_unknown_run_is_not_found(client):
    for address in ("/runs/nothing/", "/runs/nothing/export.csv", "/runs/nothing/export.ndjson.gz"):
        assert client.get(address).status_code == 404


def test_all_pages_ask_access_which_runs_a_person_sees(client, monkeypatch):
    load(5)
    start_run("other")
    addresses = ["/runs/soak/", "/runs/soak/export.csv", "/runs/soak/export.ndjson.gz"]
    assert [client.get(address).status_code for address in addresses] == [200] * 3
    for module in ("run_lookup", "dashboards"):
        hidden = lambda user: TestRun.objects.exclude(slug="soak")  # noqa: E731
        monkeypatch.setattr(f"metrics_stream.views.{module}.visible_runs", hidden)
    assert visible_runs(resolve(Anybody())).count() == 2
    assert [client.get(address).status_code for address in addresses] == [404] * 3
    assert names(client.get("/runs/")) == ["other"]
    assert [run.slug for run in client.get("/").context["open_runs"]] == ["other"]


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


# --- files ---


def test_csv_has_every_value_of_the_run(client):
    load(60)
    response = client.get("/runs/soak/export.csv")
    assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert response.headers["Content-Disposition"] == 'attachment; filename="soak.csv"'
    head, *rows = csv_of(response)
    assert head == ["timestamp", "metric_type", "source", "agent_id", "field", "value"]
    assert len(rows) == 120
    assert rows[8] == ["2027-01-15T08:00:04.000000Z", "system", "web-1", "", "throughput_tps", "500.0"]


def test_ndjson_has_the_metrics_as_they_were_published(client):
    _, metrics = load(60)
    response = client.get("/runs/soak/export.ndjson.gz")
    assert response.headers["Content-Type"] == "application/gzip"
    assert "Content-Encoding" not in response.headers
    assert response.headers["Content-Disposition"] == 'attachment; filename="soak.ndjson.gz"'
    assert gzip.decompress(body_of(response)).splitlines() == [item.body for item in metrics]


def test_file_of_a_run_that_goes_on_ends_where_it_was_and_says_so(client):
    start_run()
    recording = Recording("soak")
    recording.record(metric(0), metric(1))
    response = client.get("/runs/soak/export.csv")
    recording.record(metric(2), metric(3))
    assert re.fullmatch(r'attachment; filename="soak-until-\d{8}-\d{6}\.csv"', response.headers["Content-Disposition"])
    assert [row[-1] for row in csv_of(response)] == ["value", "0", "1"]
    assert len(csv_of(client.get("/runs/soak/export.csv"))) == 5


def test_file_of_a_run_without_metrics_is_empty(client):
    start_run()
    assert len(csv_of(client.get("/runs/soak/export.csv"))) == 1
    assert gzip.decompress(body_of(client.get("/runs/soak/export.ndjson.gz"))) == b""


def test_head_of_a_file_reads_nothing_of_the_run(client, django_assert_max_num_queries):
    load(60)
    with django_assert_max_num_queries(2):
        response = client.head("/runs/soak/export.csv")
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["Content-Disposition"] == 'attachment; filename="soak.csv"'


def test_file_comes_in_pieces_that_are_made_as_they_are_sent(client):
    load(600)
    response = client.get("/runs/soak/export.csv")

    async def read():
        return await anext(aiter(response))

    assert async_to_sync(read)().count(b"\r\n") == exports.PIECE_ROWS


def test_file_of_a_run_that_is_deleted_meanwhile_breaks_off(client):
    run, _ = load(600)
    response = client.get("/runs/soak/export.csv")
    run.delete()
    with pytest.raises(MetricsStreamError, match="600 metrics of the test run 'soak' were deleted while"):
        body_of(response)


def test_run_of_which_only_the_series_are_kept_says_so(client):
    run, _ = load(60)
    MetricChunk.objects.filter(run=run).delete()
    for address in ("/runs/soak/export.csv", "/runs/soak/export.ndjson.gz"):
        response = client.get(address)
        assert (response.status_code, response.content.decode()) == (410, exports.GONE)
    response = client.get("/runs/soak/")
    assert "not kept any more" in text(response)
    assert "export.csv" not in response.content.decode()
    assert "Throughput throughput_tps 60" in text(response)
    assert run_series.summary(run)
