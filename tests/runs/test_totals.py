"""The totals of a run and of spans of it, and means that come from counts."""

import pytest

from metrics_stream.core.metrics.permission import Grant, Permit
from metrics_stream.core.metrics.sketch import Sketch
from metrics_stream.runs import series as run_series
from metrics_stream.runs.totals import totals
from tests.support.recording import START, Recording, metric, record_metrics, start_run

pytestmark = pytest.mark.django_db


def sketch_of(*values):
    sketch = Sketch()
    for value in values:
        sketch.add(value)
    return {"response_time_ms": sketch.encode()}


# Intervals of different size: 20, 10, 90, 40 and 20 requests; 18 of the 180 failed, one in ten.
INTERVALS = [(2, 20, 4), (3, 10, 4), (12, 90, 2), (16, 40, 6), (18, 20, 2)]


def counted(*, source="web-1", cumulative=True, **more):
    requests = failures = 0
    for at, done, failed in INTERVALS:
        requests, failures = (requests + done, failures + failed) if cumulative else (done, failed)
        yield metric(
            at,
            {"requests_total": requests, "requests_failed": failures, "error_rate": failed / done, **more},
            source=source,
        )


@pytest.mark.parametrize("cumulative", [True, False])
def test_ratios_over_a_run_are_sums_over_sums(cumulative):
    run = record_metrics(*counted(cumulative=cumulative))
    found = totals(run)
    assert (found.requests, found.failures, found.error_rate) == (180, 18, 0.1)
    means = {one.field: one.mean for one in run_series.summary(run)}
    assert means == {"requests_total": None, "requests_failed": None, "error_rate": pytest.approx(0.1)}


def test_totals_are_sums_over_the_sources():
    run = record_metrics(*counted(), *counted(source="web-2"), metric(5, {"cpu_utilization": 0.5}, source="host"))
    found = totals(run)
    assert (found.requests, found.failures, found.error_rate) == (360, 36, 0.1)
    assert found.sources == ["web-1", "web-2"]
    assert found.rate == pytest.approx(2 * 160 / 16)


def test_a_counter_that_ran_before_the_run_counts_from_its_first_value():
    run = record_metrics(*(metric(at, {"requests_total": 1_000_000 + at * 10}) for at in range(60)))
    assert totals(run).requests == 590
    assert totals(run).rate == pytest.approx(10)


def test_a_counter_that_falls_began_again_at_zero():
    values = [0, 100, 200, 300, 50, 150, 250, 350, 450, 550, 650, 750]
    run = record_metrics(*(metric(at, {"requests_total": value}) for at, value in enumerate(values)))
    assert totals(run).requests == 300 + 750


@pytest.mark.parametrize("step", [1, 7])
@pytest.mark.parametrize("minutes", [3, 15])
def test_every_tier_gives_the_same_counts(minutes, step):
    count = minutes * 60
    metrics = [
        metric(at, {"requests_total": 100 + (at + 1) % 800, "requests_failed": (at + 1) % 800 // 10})
        for at in range(0, count, step)
    ]
    run = record_metrics(*metrics)
    expected = sum(
        after - before if after >= before else after
        for before, after in zip(
            [101, *((at + 1) % 800 + 100 for at in range(0, count, step))],
            [(at + 1) % 800 + 100 for at in range(0, count, step)],
            strict=False,
        )
    )
    found = []
    for points in (2, 100, 10_000):
        run_totals = totals_with(run, points)
        found.append((run_totals.requests, run_totals.failures))
    assert len(set(found)) == 1
    assert found[0][0] == expected


def totals_with(run, points, monkeypatch=pytest.MonkeyPatch):
    with monkeypatch.context() as patched:
        patched.setattr("metrics_stream.runs.totals._FINE_SECONDS", points * 10)
        return totals(run)


def test_response_times_are_those_of_everything():
    def of(at, *values, **more):
        data = {"requests_total": more.pop("total"), "sketches": sketch_of(*values)}
        return metric(at, {**data, "p95_response_time_ms": max(values), "response_time_total_ms": more.pop("spent")})

    run = record_metrics(
        of(0, 10.0, total=1, spent=10), of(1, *[20.0] * 98, total=99, spent=1970), of(2, 500.0, total=100, spent=2470)
    )
    found = totals(run)
    assert found.mean_ms == pytest.approx(24.7)
    assert found.measured == 100
    assert found.percentiles["p50"] == pytest.approx(20, rel=0.011)
    assert found.percentiles["p99"] == pytest.approx(500, rel=0.011)
    assert found.max_ms == pytest.approx(500, rel=0.011)


def test_percentiles_of_everything_are_unknown_where_a_metric_has_no_sketch():
    one = metric(0, {"requests_total": 1, "max_response_time_ms": 9.5, "sketches": sketch_of(9.5)})
    found = totals(record_metrics(one, metric(1, {"requests_total": 2})))
    assert set(found.percentiles.values()) == {None}
    assert (found.measured, found.max_ms) == (None, 9.5)


def test_averages_count_as_much_as_the_requests_that_they_are_of():
    run = record_metrics(
        metric(0, {"requests_total": 10, "avg_response_time_ms": 10.0}),
        metric(1, {"requests_total": 100, "avg_response_time_ms": 100.0}),
    )
    assert totals(run).mean_ms == pytest.approx((10 * 10 + 90 * 100) / 100)
    assert {one.field: one.mean for one in run_series.summary(run)}["avg_response_time_ms"] == pytest.approx(91)


def test_the_most_users_are_those_of_all_sources_at_a_time():
    run = record_metrics(
        *(metric(at, {"requests_total": at, "users": at * 10}) for at in range(5)),
        *(metric(at, {"requests_total": at, "users": 100 - at * 20}, source="web-2") for at in range(5)),
    )
    assert totals(run).peak_users == 100


def test_a_span_has_totals_of_its_own():
    metrics = [
        metric(
            at,
            {"requests_total": at * 10, "requests_failed": max(0, at - 30), "users": at, "sketches": sketch_of(at + 1)},
        )
        for at in range(61)
    ]
    run = record_metrics(*metrics)
    ramp = totals(run, since=START, until=START + 30)
    steady = totals(run, since=START + 30, until=START + 61)
    whole = totals(run)
    assert ramp.requests + steady.requests == whole.requests == 600
    assert (ramp.failures, steady.failures) == (0, 30)
    assert steady.rate == pytest.approx(10)
    assert (ramp.peak_users, steady.peak_users) == (29, 60)
    assert ramp.percentiles["p50"] == pytest.approx(16, rel=0.02)
    assert ramp.measured + steady.measured == whole.measured == 61
    assert ramp.max_ms == pytest.approx(30, rel=0.011)


def test_a_span_outside_the_run_has_nothing():
    run = record_metrics(*counted())
    assert totals(run, since=START + 1_000) is None
    assert run_series.summary(run, since=START + 1_000) == []
    assert totals(start_run("empty")) is None


def test_agents_count_where_no_system_does_and_never_twice():
    agents = [
        metric(
            at,
            [{"agent_id": name, "requests_processed": at * 5, "error_count": at} for name in "ab"],
            metric_type="agent",
        )
        for at in range(11)
    ]
    found = totals(record_metrics(*agents))
    assert (found.metric_type, found.requests, found.failures) == ("agent", 100, 20)
    both = start_run("both"), Recording("both")
    for item in [*agents, *(metric(at, {"requests_total": at * 10, "requests_failed": at}) for at in range(11))]:
        both[1].record(item)
    found = totals(both[1].end(both[0]))
    assert (found.metric_type, found.requests, found.failures) == ("system", 100, 10)


def test_totals_are_of_what_the_permit_shows():
    run = record_metrics(*counted(users=7, sketches=sketch_of(5.0)), *counted(source="web-2"))
    fields = frozenset({"requests_total"})
    seen = totals(run, permit=Permit(frozenset({Grant(frozenset({"system"}), frozenset({"web-1"}), fields=fields)})))
    assert (seen.sources, seen.requests, seen.failures, seen.peak_users) == (["web-1"], 180, None, None)
    assert set(seen.percentiles.values()) == {None}
    nothing = totals(run, permit=Permit(frozenset({Grant(frozenset({"agent"}))})))
    assert (nothing.requests, nothing.rate, nothing.sources) == (None, None, [])


def test_without_counts_rates_are_means_over_time():
    run = record_metrics(*(metric(at, {"throughput_tps": at, "error_rate": 0.5}) for at in range(3)))
    found = totals(run)
    assert (found.requests, found.rate, found.error_rate) == (None, 1.0, 0.5)


def test_without_counters_rates_add_up_and_ratios_are_averaged_over_the_sources():
    rows = [
        metric(at, {"throughput_tps": 100.0, "error_rate": rate}, source=source)
        for at in range(5)
        for source, rate in (("a", 0.0), ("b", 0.5))
    ]
    found = totals(record_metrics(*rows))
    assert (found.sources, found.rate, found.error_rate) == (["a", "b"], 200.0, 0.25)


def test_users_of_sources_that_report_seldom_add_up():
    rows = [
        metric(offset + 5 * number, {"throughput_tps": 1.0, "users": 100}, source=source)
        for source, offset in (("a", 0), ("b", 2))
        for number in range(6)
    ]
    assert totals(record_metrics(*sorted(rows, key=lambda row: row.timestamp))).peak_users == 200


@pytest.mark.parametrize("until", [0.0, START - 1])
def test_a_span_before_the_run_has_no_totals(until):
    assert totals(record_metrics(*counted()), until=until) is None
