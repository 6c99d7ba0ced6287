"""The page of a run says when its figures are doubtful, for how long and why, as far as the viewer may know."""

import pytest

from metrics_stream.core.metrics.permission import EVERYTHING, Grant, Permit
from metrics_stream.views.run_doubts import doubts
from tests.support.recording import START, Recording, metric, start_run
from tests.support.responses import text

pytestmark = pytest.mark.django_db


def record_busy_generator(seconds=60, busy=range(20, 40)):
    run, recording, metrics = start_run(), Recording("soak"), []
    for at in range(seconds):
        data = {"generator_cpu_utilization": 0.97 if at in busy else 0.4, "dropped_iterations": 12 * (at >= 30)}
        metrics += [metric(at, data), metric(at, {"throughput_tps": 5.0}, source="web-2")]
    recording.record(*metrics)
    recording.end(run)
    run.refresh_from_db()
    return run


def test_the_page_says_when_for_how_long_and_why(client):
    record_busy_generator()
    content = text(client.get("/runs/soak/"))
    assert "Some figures of this run are doubtful" in content
    assert "for 20 s Load generator web-1 was at up to 97.0 % CPU: its response times may be too high" in content
    assert "Load generator web-1 dropped 12 iterations: the load was lower than planned" in content


def test_the_times_are_those_of_the_metrics():
    found = doubts(record_busy_generator(), EVERYTHING)
    assert [item.at.timestamp() - START for item in found] == [20.0, 30.0]


def test_a_run_without_doubts_says_nothing(client):
    record_busy_generator(busy=())
    content = text(client.get("/runs/soak/"))
    assert "dropped 12 iterations" in content
    assert "CPU: its response times" not in content


def test_a_long_run_has_the_same_doubts():
    # Its buckets are longer than a second.
    found = doubts(record_busy_generator(seconds=1_500, busy=range(1_000, 1_300)), EVERYTHING)[-1]
    assert found.words.startswith("Load generator web-1 was at up to 97.0")
    assert abs(found.at.timestamp() - START - 1_000) <= 10
    assert found.duration[:3] in {"4\xa0m", "5\xa0m"}


@pytest.mark.parametrize(
    ("narrowing", "expected"),
    [
        ({"sources": frozenset({"web-2"})}, 0),
        ({"fields": frozenset({"throughput_tps"})}, 0),
        ({"fields": frozenset({"dropped_iterations"})}, 1),
        ({"sources": frozenset({"web-1"})}, 2),
    ],
)
def test_a_viewer_learns_only_of_visible_sources_and_fields(narrowing, expected):
    permit = Permit(frozenset({Grant(frozenset({"system"}), **narrowing)}))
    assert len(doubts(record_busy_generator(), permit)) == expected
