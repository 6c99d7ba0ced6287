"""How many metrics of a recording a permit shows."""

import pytest

from metrics_stream.core.delivery.selection import permitted_metrics
from metrics_stream.core.metrics.keys import Terms
from metrics_stream.core.metrics.permission import Grant, Permit
from metrics_stream.models import MetricChunk
from metrics_stream.runs import counts
from metrics_stream.runs.counts import Counted, count_visible
from tests.support.recording import Recording, metric, recorded, start_run

pytestmark = pytest.mark.django_db


def permit(*metric_types, sources=(), agent_ids=(), fields=(), keys=()):
    narrowed = (frozenset(sources), frozenset(agent_ids), frozenset(fields), frozenset(keys))
    return Permit(frozenset({Grant(frozenset(metric_types), *narrowed)}))


def mixed(first, end):
    """Return metrics of two sources and two types, some without the field `n`."""
    for number in range(first, end):
        source = ("a", "b", "c" * 200)[number % 3]
        if number % 5:
            yield metric(number, {"n": 1} if number % 2 else {"m": 1}, source=source)
        else:
            yield metric(number, [{"agent_id": f"x{number % 4}", "load": 1}], metric_type="agent", source=source)
        if number % 7 == 0:
            yield metric(number, [{"name": f"/{number % 2}", "method": "GET", "n": 1}], metric_type="request")


PERMITS = [
    permit(),
    permit("system"),
    permit("system", "agent", sources=["a"]),
    permit("system", sources=["c" * 200]),
    permit("system", fields=["n"]),
    permit("agent", agent_ids=["x0", "x1"]),
    permit("request", keys=[Terms("name", frozenset({"/1"}))]),
    permit("hero"),
]


@pytest.mark.parametrize("may", PERMITS)
@pytest.mark.parametrize("is_old", [False, True])
def test_it_is_the_number_of_metrics_in_a_file(may, is_old):
    run, recording = start_run(), Recording("soak")
    recording.record(*mixed(0, 120))
    if is_old:  # chunks of earlier versions have no counts
        MetricChunk.objects.update(counts=None)
    first = count_visible(run, may, Counted())
    assert first.all == len(list(permitted_metrics(recorded(run), may)))
    recording.record(*mixed(120, 300))
    assert len(set(MetricChunk.objects.values_list("first_number", flat=True))) > 3
    assert count_visible(run, may, first) == count_visible(run, may, Counted())
    assert count_visible(run, may, first).all == len(list(permitted_metrics(recorded(run), may)))


def test_whole_sources_are_counted_without_reading_metrics(monkeypatch):
    run, recording = start_run(), Recording("soak")
    recording.record(*mixed(0, 30))
    monkeypatch.setattr(counts, "unpack_metrics", None)
    assert count_visible(run, permit("system", "agent", sources=["a"]), Counted()).all == 10
