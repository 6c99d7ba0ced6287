"""Which runs a person finds."""

import pytest

from metrics_stream.access.credentials import Anybody
from metrics_stream.access.grants import resolve
from metrics_stream.access.visibility import visible_runs
from metrics_stream.models import TestRun
from tests.support.recording import record_run, start_run
from tests.support.responses import text

pytestmark = pytest.mark.django_db


def names(response):
    return [row.run.name for row in response.context["rows"]]


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


def test_unknown_run_is_not_found(client):
    for address in ("/runs/nothing/", "/runs/nothing/export.csv", "/runs/nothing/export.ndjson.gz"):
        assert client.get(address).status_code == 404


def test_all_pages_ask_access_which_runs_a_person_sees(client, monkeypatch):
    record_run(5)
    start_run("other")
    addresses = ["/runs/soak/", "/runs/soak/export.csv", "/runs/soak/export.ndjson.gz"]
    assert [client.get(address).status_code for address in addresses] == [200] * 3
    for module in ("access.run_lookup", "views.dashboards"):
        hidden = lambda user: TestRun.objects.exclude(slug="soak")  # noqa: E731
        monkeypatch.setattr(f"metrics_stream.{module}.visible_runs", hidden)
    assert visible_runs(resolve(Anybody())).count() == 2
    assert [client.get(address).status_code for address in addresses] == [404] * 3
    assert names(client.get("/runs/")) == ["other"]
    assert [run.slug for run in client.get("/").context["open_runs"]] == ["other"]
