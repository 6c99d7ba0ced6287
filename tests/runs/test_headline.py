"""A run is headed by its load: the sum over its sources, or one series by the name of its source."""

import pytest

from metrics_stream.core.metrics.permission import Grant, Permit
from metrics_stream.core.series.columns import SeriesColumns
from metrics_stream.models import TestRun
from metrics_stream.runs.headline import headline, summed
from tests.support.recording import Recording, metric, start_run

pytestmark = pytest.mark.django_db

RATES = (("system", "throughput_tps"), ("business", "transactions_per_second"))


def head(slug="soak", **options):
    return headline(TestRun.objects.get(slug=slug), rates=RATES, **options)


def test_the_load_is_the_sum_over_the_sources():
    start_run()
    load = {"gen-a": 10, "gen-b": 1000}
    Recording("soak").record(
        *(metric(at, {"throughput_tps": load[source]}, source=source) for at in range(60) for source in load)
    )
    found = head(max_points=10)
    assert (found.peak, found.sources) == (1010.0, ("gen-a", "gen-b"))
    assert found.series.mean == [1010.0] * len(found.series.mean)
    assert len(found.series.buckets) <= 10


def test_a_peak_of_the_sum_is_of_one_moment_and_short_ones_are_kept():
    start_run()
    peaks = {"gen-a": (7, 500), "gen-b": (90, 300)}
    Recording("soak").record(
        *(
            metric(at, {"throughput_tps": peak if at == moment else 10}, source=source)
            for at in range(120)
            for source, (moment, peak) in peaks.items()
        )
    )
    found = head(max_points=12)
    assert found.peak == 510.0 == max(found.series.max)
    assert max(found.series.mean) < 100


def test_sources_that_report_at_different_moments_are_summed():
    start_run()
    recording = Recording("soak")
    recording.record(*(metric(at, {"throughput_tps": 100}, source="fast") for at in range(60)))
    recording.record(*(metric(at, {"throughput_tps": 50}, source="slow") for at in range(0, 60, 5)))
    found = head(max_points=60)
    by_second = dict(zip(found.series.buckets, found.series.mean, strict=True))
    assert [value for second, value in by_second.items() if second <= 55] == [150.0] * 56


def test_a_source_that_stops_is_no_part_of_the_sum_any_more():
    start_run()
    recording = Recording("soak")
    recording.record(*(metric(at, {"throughput_tps": 100}, source="a") for at in range(60)))
    recording.record(*(metric(at, {"throughput_tps": 50}, source="b") for at in [*range(20), *range(40, 60)]))
    means = head(max_points=60).series.mean
    assert means == [150.0] * 20 + [100.0] * 20 + [150.0] * 20


def test_the_load_of_one_source_is_exact():
    start_run()
    Recording("soak").record(*(metric(at / 4, {"throughput_tps": at % 9}, source="gen-a") for at in range(400)))
    found = head(max_points=10)
    assert (found.peak, found.sources, found.series.source) == (8.0, ("gen-a",), "gen-a")


def test_agents_of_a_source_are_not_counted_twice():
    start_run()
    data = {"throughput_tps": 30, "agents": [{"agent_id": "a1", "throughput_tps": 10}]}
    Recording("soak").record(*(metric(at, data) for at in range(10)))
    assert (head().peak, head().sources) == (30.0, ("web-1",))


def test_the_first_rate_that_the_run_has_is_used_and_else_one_series():
    for slug in ("a", "b", "c"):
        start_run(slug)
    recording = Recording("a", "b", "c")
    recording.record(metric(0, {"queue": 1, "own": 2}), metric(0, {"queue": 3}, source="web-2"))
    recording.runs = ("b",)
    recording.record(metric(1, {"transactions_per_second": 5}, metric_type="business"))
    assert (head("b").series.field, head("b").peak) == ("transactions_per_second", 5.0)
    found = head("a")
    assert (found.series.field, found.sources, found.others) == ("queue", ("web-1",), 1)
    assert head("c", preferred=(("system", "own"),)).series.field == "own"
    start_run("empty")
    assert head("empty") is None


def test_only_what_a_permit_shows_is_summed():
    start_run()
    Recording("soak").record(*(metric(0, {"throughput_tps": 5}, source=source) for source in ("a", "b", "c")))
    permit = Permit(frozenset({Grant(frozenset({"system"}), sources=frozenset({"a", "b"}))}))
    assert head(permit=permit)[1:3] == (10.0, ("a", "b"))
    assert head(permit=Permit(frozenset({Grant(frozenset({"agent"}))}))) is None


def test_a_single_bucket_is_a_sum_too():
    one = SeriesColumns(
        **{"metric_type": "system", "source": "a", "row": None, "field": "n", "starts_at": 0.0},
        **{"bucket_seconds": 1.0, "buckets": [3], "min": [1.0], "max": [3.0], "mean": [2.0], "last": [2.0]},
        count=[2],
    )
    assert (summed([one], max_points=60).buckets, summed([one, one], max_points=60).mean) == ([3], [4.0])
