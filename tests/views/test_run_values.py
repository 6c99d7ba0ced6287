"""What pages and files show of what a run says of itself."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from metrics_stream.models import Dashboard, Panel, RunPhase, TestRun
from metrics_stream.views import run_values
from tests.support.recording import START, Recording, metric, record_run, start_run
from tests.support.responses import text

pytestmark = pytest.mark.django_db

BEGIN = datetime.fromtimestamp(START, UTC)
PARAMETERS = {
    **{"commit": "3f2a9c1", "users": 50, "tls": True, "ratio": 0.5, "größe": "Ümlaut"},
    "build": "https://ci.example.com/job/7?a=1&b=2",
}


def phase(run, name, first, last):
    ends_at = None if last is None else BEGIN + timedelta(seconds=last)
    return RunPhase.objects.create(run=run, name=name, starts_at=BEGIN + timedelta(seconds=first), ends_at=ends_at)


def names(response):
    return [row.run.name for row in response.context["rows"]]


# --- the page ---


def test_the_page_shows_test_and_parameters(client):
    record_run(10, test="checkout", parameters=PARAMETERS)
    response = client.get("/runs/soak/")
    content = text(response)
    assert "Test checkout Started" in content
    for words in ("commit 3f2a9c1", "users 50", "tls true", "ratio 0.5", "größe Ümlaut"):
        assert words in content
    html = response.content.decode()
    assert 'href="/runs/?test=checkout"' in html
    assert '<a href="https://ci.example.com/job/7?a=1&amp;b=2" rel="noopener noreferrer nofollow">' in re.sub(
        r"\s+", " ", html
    )


def test_the_page_shows_phases_with_their_ranges(client):
    dashboard = Dashboard.objects.create(title="Operations", slug="operations")
    Panel.objects.create(dashboard=dashboard, title="x", metric_type="system", fields=["x"])
    run, _ = record_run(100)
    phase(run, "ramp <b>", 0, 20)
    phase(run, "steady", 20, 100)
    response = client.get("/runs/soak/")
    assert "ramp <b> 2027-01-15 08:00:00 UTC 2027-01-15 08:00:20 UTC 20 s Operations" in text(response).replace(
        "&lt;", "<"
    ).replace("&gt;", ">").replace("\u00a0", " ")
    query = "from=2027-01-15T08:00:20.000000Z&amp;to=2027-01-15T08:01:40.000000Z"
    html = response.content.decode()
    assert f'href="?{query}"' in html
    assert f'href="/dashboards/operations/?run=soak&amp;{query}"' in html
    assert "<b>" not in html
    assert [(band.name, band.left, band.width) for band in response.context["bands"]] == [
        ("ramp <b>", 0.0, 20.0),
        ("steady", 20.0, 80.0),
    ]


def test_a_phase_that_goes_on_says_so_and_reaches_to_the_end_of_the_picture(client):
    run, recording = start_run(), Recording("soak")
    recording.record(*(metric(second) for second in range(100)))
    phase(run, "steady", 50, None)
    response = client.get("/runs/soak/")
    assert "steady 2027-01-15 08:00:50 UTC goes on" in text(response)
    [band] = response.context["bands"]
    assert band.left + band.width == pytest.approx(100.0)


def test_a_run_without_them_shows_no_empty_tables(client):
    record_run(5)
    content = text(client.get("/runs/soak/"))
    for word in ("Phases", "Parameters", "Test "):
        assert word not in content


@pytest.mark.parametrize(
    "text",
    [
        *("javascript:alert(1)", "data:text/html,x", "//evil.example", "https://", "http:x", "ftp://example.com/"),
        *("https://user:secret@example.com/", "https://exa mple.com", "https://[::1", "see https://example.com"),
        *('https://example.com/"onclick=1', "https://example.com\\@evil", "3f2a9c1", ""),
    ],
)
def test_only_addresses_of_web_pages_are_links(text):
    assert run_values.safe_link(text) == ""


@pytest.mark.parametrize("text", ["https://ci.example.com/job/7?a=1&b=2#x", "http://10.0.0.1:8080/", "HTTPS://A.b/"])
def test_addresses_of_web_pages_are_links(text):
    assert run_values.safe_link(text) == text


def test_the_load_is_named_with_its_sources(client):
    run, recording = start_run(), Recording("soak")
    recording.record(metric(0, {"throughput_tps": 10}, source="gen-a"))
    recording.end(run)
    assert "peak 10.0\u00a0tps from gen-a" in text(client.get("/runs/soak/")).replace("10.0 tps", "10.0\u00a0tps")
    assert "from gen-a" not in text(client.get("/runs/"))
    recording.record(metric(0, {"throughput_tps": 1000}, source="gen-b"))
    recording.end(run)
    for address in ("/runs/", "/runs/soak/"):
        assert re.search(r"peak 1,010.tps over 2 sources", text(client.get(address))), address


# --- the list ---


def test_the_list_is_filtered_by_test(client):
    for slug, test in (("a", "checkout"), ("b", "checkout"), ("c", "search"), ("d", "")):
        start_run(slug, name=f"run {slug}", test=test)
    response = client.get("/runs/", {"test": "checkout"})
    assert names(response) == ["run b", "run a"]
    assert "Only runs of the test checkout Show all tests" in text(response)
    assert [choice["address"] for choice in response.context["choices"]] == [
        "?test=checkout",
        "?test=checkout&status=running",
    ]
    assert '<input type="hidden" name="test" value="checkout">' in response.content.decode()
    assert names(client.get("/runs/", {"test": "checkout", "q": "b"})) == ["run b"]
    for nothing in ("check", "\0", "x" * 500):
        assert names(client.get("/runs/", {"test": nothing})) == []
    assert "No run is of the test nope" in text(client.get("/runs/", {"test": "nope"}))


def test_a_row_names_the_test_when_the_name_does_not(client):
    start_run("a", name="Checkout soak", test="checkout-soak")
    assert "run-test" not in client.get("/runs/").content.decode()
    TestRun.objects.update(test="checkout")
    assert 'href="/runs/?test=checkout"' in client.get("/runs/").content.decode()


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("3f2a9c1", ["one"]),
        ("3F2A", ["one"]),
        ("ümlaut", []),
        ("Ümlaut", ["one"]),
        ("checkout", ["one"]),
        ("commit=3f2a", ["one"]),
        ("commit=other", ["two"]),
        ("größe=Ümlaut", ["one"]),
        ("users=50", ["one"]),
        ("tls=true", ["one"]),
        ("users=51", []),
        ("commit=2a9c1", []),
        ("staging commit=other", ["two"]),
        ("build=https://ci.example.com", ["one"]),
        ("{}", []),
        (":", []),
        ("=", ["one"]),
    ],
)
def test_the_search_finds_tests_and_parameters(client, query, found):
    start_run("1", name="one", test="checkout", parameters=PARAMETERS)
    start_run("2", name="two", parameters={"commit": "other", "environment": "staging"})
    assert names(client.get("/runs/", {"q": query})) == found


# --- the file ---


def test_the_run_itself_is_a_file(client):
    run, _ = record_run(60, test="checkout", parameters=PARAMETERS, tags=["x"], notes="New pool.", target_tps=5)
    phase(run, "steady", 10, 60)
    response = client.get("/runs/soak/export.json")
    assert response["Content-Disposition"] == 'attachment; filename="soak.json"'
    assert response.json() == {
        **{"slug": "soak", "name": "soak", "test": "checkout", "status": "completed"},
        **{"started_at": "2027-01-15T08:00:00.000000Z", "ended_at": "2027-01-15T08:01:00.000000Z"},
        **{"target_tps": 5.0, "tags": ["x"], "parameters": PARAMETERS, "notes": "New pool."},
        "phases": [
            {"name": "steady", "start": "2027-01-15T08:00:10.000000Z", "end": "2027-01-15T08:01:00.000000Z"},
        ],
        **{"sources": [], "every_source": True},
    }
    assert client.get("/runs/nothing/export.json").status_code == 404
