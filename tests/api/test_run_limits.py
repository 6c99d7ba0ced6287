"""Ended runs of a token are limited in time, and their number costs no query of a page."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from metrics_stream.access.grants import Access
from metrics_stream.access.visibility import visible_runs
from metrics_stream.core.metrics.permission import Permit
from metrics_stream.models import RunSource, TestRun
from tests.support.api import outcome

pytestmark = pytest.mark.django_db(transaction=True)


async def test_a_token_starts_only_so_many_runs_an_hour(program, settings):
    settings.METRICS_STREAM = {"INGEST_RUNS_PER_HOUR": 3}
    for _ in range(3):
        await program.stop(await program.start())
    response = await program.post("/api/runs/", {"name": "soak"})
    assert outcome(response) == (429, "too_many_requests")
    assert 3_500 < int(response["Retry-After"]) <= 3_600
    assert "started 3 test runs within an hour; allowed: at most 3" in response.json()["message"]
    # Another token is not concerned, nor is this one an hour later.
    await TestRun.objects.all().aupdate(created_at=timezone.now() - timezone.timedelta(hours=1, seconds=1))
    await program.start()


def access(*sources, run_ids=()):
    permit = Permit(frozenset(), frozenset(map(frozenset, sources)))
    return Access("somebody", permit, (), (), run_ids=frozenset(run_ids))


def make(slug, *sources):
    run = TestRun(slug=slug, name=slug, sources=list(sources))
    run.save()
    return run


def slugs(access):
    return sorted(visible_runs(access).values_list("slug", flat=True))


def test_runs_are_visible_by_all_their_sources():
    a, ab, c, every = make("a", "a"), make("ab", "a", "b"), make("c", "c"), make("every")
    assert slugs(access({"a"})) == ["a"]
    assert slugs(access({"a", "b"})) == ["a", "ab"]
    assert slugs(access({"a"}, {"b"})) == ["a"]
    assert slugs(access({"c"}, run_ids=[every.pk])) == ["c", "every"]
    assert slugs(access()) == []
    ab.sources = ["b"]
    ab.save()
    c.notes = "changed"
    c.save(update_fields=["notes"])
    assert slugs(access({"b", "c"})) == ["ab", "c"]
    a.delete()
    assert not RunSource.objects.filter(name="a").exists()


def test_many_runs_need_one_short_query():
    runs = TestRun.objects.bulk_create(TestRun(slug=f"r{n}", name="r", sources=["a"]) for n in range(3_000))
    RunSource.objects.bulk_create(RunSource(run=run, name="a") for run in runs)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert visible_runs(access({"a"})).filter(slug="r7").count() == 1
    assert [len(query["sql"]) < 2_000 for query in queries] == [True]
