"""The totals of a run are those of the result file that was recorded in it."""

from datetime import UTC, datetime

import pytest

from metrics_stream.core.formats.results.metrics import span_of, system_metrics
from metrics_stream.core.formats.results.reading import read_results
from metrics_stream.core.metrics.catalogue import SYSTEM
from metrics_stream.core.metrics.encoding import encode_metric
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.metrics.permission import EVERYTHING, Grant, Permit
from metrics_stream.models import TestRun
from metrics_stream.reports.comparison import compare
from metrics_stream.reports.run_totals import totals_of
from metrics_stream.runs import lifecycle, past
from tests.core.formats.results.test_reading import CASES, load
from tests.support.recording import Recording, metric, start_run

pytestmark = pytest.mark.django_db

NOW = 1_790_000_000.5


def import_results(content: bytes, *, written_at: float = NOW) -> TestRun:
    """Record a result file as a run, as an import does."""
    results = read_results(content)
    span = span_of(results, started_at=None, ended_at=None, written_at=written_at)
    started_at, ended_at = (datetime.fromtimestamp(at, UTC) for at in span[:2])
    run = lifecycle.start("soak", started_at=started_at, ended_at=ended_at)
    past.record(run, [encode(item) for item in system_metrics(results, span)])
    return TestRun.objects.get(pk=run.pk)


def encode(item: dict) -> Metric:
    return encode_metric(
        SYSTEM,
        item["data"],
        timestamp=item["timestamp"],
        source="tool",
        max_bytes=262_144,
        windows=item.get("windows"),
    )


@pytest.mark.parametrize("name", [name for name in [*CASES, "autocannon.json"] if name != "hey_refused.csv"])
def test_a_recorded_result_file_compares_equal(name):
    results = read_results(load(name))
    compared = compare("soak", totals_of(import_results(load(name)), EVERYTHING), results)
    assert [row for row in compared.rows if row.is_equal is False] == []
    assert {row.figure for row in compared.rows if row.is_equal is None} == set()


@pytest.mark.parametrize("fraction", [0.0, 0.2, 0.4, 0.6, 0.8])
def test_the_mean_is_exact_wherever_the_seconds_of_a_file_and_those_of_the_run_meet(fraction):
    # The last part of a second is short and has other response times than the second before it.
    rows = [f"{0.01 if at < 1.4 else 0.2},0,0,0,0,0,200,{at:.3f}" for at in (step / 50 for step in range(75))]
    content = "\n".join([(load("hey.csv")).decode().splitlines()[0], *rows]).encode()
    run = import_results(content, written_at=NOW + fraction)
    assert totals_of(run, EVERYTHING).mean_ms.value == pytest.approx(read_results(content).totals.mean_ms.value)


def test_of_several_sources_counts_are_summed_and_percentiles_come_from_sketches_alone():
    run, recording = start_run(sources=["a", "b"]), Recording("soak")
    for second in (0, 5, 10):
        for source, factor in (("a", 1), ("b", 3)):
            data = {"requests_total": second * factor, "requests_failed": factor, "p95_response_time_ms": factor}
            recording.record(metric(second, data, source=source))
    found = totals_of(recording.end(run), EVERYTHING)
    assert (found.requests, found.rate.value, found.percentiles_ms) == (40, 4.0, {})


def test_only_the_permitted_part_counts():
    run, recording = start_run(sources=["a", "b"]), Recording("soak")
    for source in ("a", "b"):
        recording.record(
            metric(1, {"requests_total": 10, "requests_failed": 1, "min_response_time_ms": 5}, source=source)
        )
    run = recording.end(run)
    permit = Permit(frozenset({Grant(frozenset({"system"}), frozenset({"b"}), frozenset(), frozenset())}))
    assert (totals_of(run, EVERYTHING).requests, totals_of(run, permit).requests) == (20, 10)
    fields = frozenset({"requests_total"})
    permit = Permit(frozenset({Grant(frozenset({"system"}), frozenset(), frozenset(), fields)}))
    found = totals_of(run, permit)
    assert (found.requests, found.failures, found.min_ms) == (20, None, None)


def test_a_run_without_metrics_has_no_totals():
    found = totals_of(start_run(), EVERYTHING)
    assert (found.requests, found.rate, found.percentiles_ms) == (None, None, {})
