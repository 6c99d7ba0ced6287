"""The tables of a run: each row has the totals of its requests, and the rows add up to those of the run."""

import random

import pytest

from metrics_stream.core.metrics.permission import Grant, Permit
from metrics_stream.core.metrics.sketch import Sketch
from metrics_stream.models import RowTotals, SeriesGroup
from metrics_stream.runs import row_books
from metrics_stream.runs import series as run_series
from metrics_stream.runs import totals as totals_module
from metrics_stream.runs.row_tables import row_tables
from metrics_stream.runs.totals import totals
from tests.support.recording import START, Recording, metric, record_metrics, start_run

pytestmark = pytest.mark.django_db


def row(name, requests, *times, method="GET", **more):
    sketch = Sketch()
    for value in times:
        sketch.add(value)
    return {
        "name": name,
        "method": method,
        "requests_total": requests,
        **more,
        "sketches": {"response_time_ms": sketch.encode()},
    }


def error(message, occurrences, *, name="/pay", method="POST"):
    return {"name": name, "method": method, "message": message, "occurrences_total": occurrences}


def requests(at, *rows, **options):
    return metric(at, list(rows), metric_type="request", **options)


def errors(at, *rows, **options):
    return metric(at, list(rows), metric_type="error", **options)


def counts(run, **options):
    return {one.label: one.totals.requests for one in row_tables(run, **options).requests}


def test_each_row_has_the_totals_of_its_requests():
    run = record_metrics(
        *(
            requests(
                at,
                row("/", 10 * at, 20.0, requests_failed=at, response_time_total_ms=200.0 * at, received_bytes_total=at),
                row("/pay", 2 * at, 300.0 + at, method="POST", min_response_time_ms=301.0),
            )
            for at in range(11)
        )
    )
    first, second = row_tables(run).requests
    assert (first.key, first.label) == ({"name": "/", "method": "GET"}, "GET /")
    assert (first.totals.requests, first.totals.failures, first.totals.error_rate) == (100, 10, 0.1)
    assert (first.totals.mean_ms, first.totals.received_bytes, first.totals.rate) == (20.0, 10, 10.0)
    assert (second.key, second.label) == ({"name": "/pay", "method": "POST"}, "POST /pay")
    assert (second.totals.requests, second.totals.min_ms) == (20, 301.0)
    assert second.totals.max_ms == pytest.approx(310.0, rel=0.01)
    assert second.totals.percentiles["p50"] == pytest.approx(305.0, rel=0.01)
    assert second.totals.measured == 11


def test_rows_add_up_to_the_totals_of_the_run():
    run = record_metrics(
        *(
            item
            for at in range(61)
            for item in (
                metric(at, {"requests_total": 7 * at, "elapsed_seconds": 0.5 + at}),
                requests(at, row("/", 5 * at), row("/cart", 2 * at)),
            )
        )
    )
    whole, rows = totals(run), row_tables(run).requests
    assert whole.metric_type == "system"
    assert sum(one.totals.requests for one in rows) == whole.requests == 420
    assert sum(one.totals.rate for one in rows) == pytest.approx(whole.rate)
    assert {one.totals.seconds for one in rows} == {whole.seconds}


@pytest.mark.parametrize("appears_at", [1, 30, 59])
def test_a_row_that_appears_later_began_at_zero(appears_at):
    run = record_metrics(
        *(requests(at, row("/", 1_000 + 10 * at), *([row("/late", 7)] if at >= appears_at else [])) for at in range(60))
    )
    # The first row was counted before the run, at least in part.
    assert counts(run) == {"GET /": 590, "GET /late": 7}


def test_what_was_counted_before_the_run_is_known_from_the_source_itself():
    def source(at, total):
        return metric(at, {"requests_total": total + 10 * at, "elapsed_seconds": 1.0 * at})

    rare = [requests(at, row("/", 10 * at), row("/rare", 3)) for at in range(1, 60)]
    fresh = record_metrics(*(source(at, 3) for at in range(1, 60)), *rare)
    assert counts(fresh) == {"GET /": 590, "GET /rare": 3}
    fresh.delete()
    late = record_metrics(*(source(at, 50_000) for at in range(1, 60)), *rare)
    assert counts(late) == {"GET /": 580, "GET /rare": 0}


def test_without_totals_of_the_source_most_of_what_was_counted_decides():
    run = record_metrics(*(requests(at, row("/", 10 * at), row("/once", 1)) for at in range(1, 60)))
    assert counts(run) == {"GET /": 590, "GET /once": 1}
    assert totals(run).requests == 591


def test_the_totals_of_a_run_that_has_requests_by_name_alone_are_their_sums():
    run = record_metrics(*(requests(at, row("/", 5 * at, 9.0), row("/cart", 2 * at, 50.0)) for at in range(61)))
    found = totals(run)
    assert (found.metric_type, found.requests, found.measured) == ("request", 420, 122)
    assert found.rate == pytest.approx(7.0)


def test_a_row_of_several_sources_is_one_row():
    run = record_metrics(
        *(
            requests(at, row("/", factor * at, 10.0 * factor), source=f"gen-{factor}")
            for at in range(31)
            for factor in (1, 3)
        )
    )
    (found,) = row_tables(run).requests
    assert (found.totals.requests, found.totals.measured, found.totals.sources) == (120, 62, ["gen-1", "gen-3"])
    assert found.totals.rate == pytest.approx(4.0)


def test_errors_are_counted_from_their_first_occurrence():
    run = record_metrics(
        *(
            item
            for at in range(40)
            for item in (
                requests(at, row("/pay", 10 * at)),
                *(
                    [errors(at, error("declined", at - 9), *([error("timeout", 50)] if at > 20 else []))]
                    if at > 9
                    else []
                ),
            )
        )
    )
    found = row_tables(run).errors
    assert [(one.key["message"], one.occurrences, one.label) for one in found] == [
        ("timeout", 50, "POST /pay · timeout"),
        ("declined", 30, "POST /pay · declined"),
    ]


def test_a_span_has_tables_of_its_own():
    run = record_metrics(*(requests(at, row("/", 10 * at), row("/cart", min(at, 10))) for at in range(61)))
    assert counts(run, since=START + 30, until=START + 60) == {"GET /": 310, "GET /cart": 0}
    assert row_tables(run, since=START + 500).requests == []


def test_rows_can_be_joined_by_parts_of_their_keys():
    run = record_metrics(
        *(
            requests(at, row("/", at, 5.0, scenario="browse"), row("/", 2 * at, 7.0, scenario="buy", group="cart"))
            for at in range(11)
        )
    )
    assert [one.key for one in row_tables(run).requests] == [
        {"name": "/", "method": "GET", "scenario": "browse"},
        {"name": "/", "method": "GET", "scenario": "buy", "group": "cart"},
    ]
    (joined,) = row_tables(run, by=("name", "method")).requests
    assert (joined.key, joined.totals.requests) == ({"name": "/", "method": "GET"}, 30)


def test_a_permit_cuts_the_tables():
    run = record_metrics(
        *(
            item
            for at in range(11)
            for source in ("gen-1", "gen-2")
            for item in (
                requests(at, row("/", at, 5.0, requests_failed=at), source=source),
                errors(at, error("declined", at), source=source),
            )
        )
    )

    def permit(**grant):
        return Permit(frozenset({Grant(frozenset({"request"}), **grant)}))

    one_source = row_tables(run, permit=permit(sources=frozenset({"gen-1"})))
    assert [(row.totals.requests, row.totals.sources) for row in one_source.requests] == [(10, ["gen-1"])]
    assert one_source.errors == []
    (narrow,) = row_tables(run, permit=permit(fields=frozenset({"requests_total"}))).requests
    assert (narrow.totals.requests, narrow.totals.failures, narrow.totals.percentiles["p50"]) == (20, None, None)


def test_many_rows_have_the_same_counts_from_wider_buckets(monkeypatch):
    run = record_metrics(*(requests(at, *(row(f"/{n}", n * at, 5.0) for n in range(9))) for at in range(0, 200, 3)))
    expected = {f"GET /{n}": n * (198 - 57) for n in range(9)}
    for most in (40_000, 90, 9):
        monkeypatch.setattr("metrics_stream.runs.totals._MAX_BUCKETS", most)
        assert counts(run, since=START + 60) == expected


def from_series(run):
    """Return the tables of a whole run made of the course of its rows over time."""

    def load_rows(run, span, permit, types):
        return totals_module._load(run, span, permit, SeriesGroup.objects.filter(run=run, metric_type__in=types))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("metrics_stream.runs.row_tables.load_rows", load_rows)
        return row_tables(run)


@pytest.mark.parametrize("seed", range(4))
def test_the_totals_of_rows_are_those_of_their_course(seed):
    chance = random.Random(seed)
    counted = dict.fromkeys(("/", "/pay", "/late", "/again", "/intervals"), 0)
    published = []
    for at in range(90):
        rows = []
        for name in counted:
            if (name == "/late" and at < 40) or chance.random() < 0.2:
                continue
            new = chance.randrange(9)
            counted[name] = (
                new if name == "/intervals" or (name == "/again" and at in (30, 31)) else counted[name] + new
            )
            times = [chance.lognormvariate(3, 1) for _ in range(new)]
            more = {"requests_failed": counted[name] // 3, "max_response_time_ms": max(times, default=None)}
            if name == "/pay":
                more |= {"avg_response_time_ms": sum(times) / new if new else None}
            else:
                more |= {"response_time_total_ms": counted[name] * 7.5, "throughput_tps": float(new)}
            rows.append(row(name, counted[name], *times, **more))
        published.append(requests(at, *rows, source=f"gen-{at % 2}") if seed % 2 else requests(at, *rows))
        if at > 10:
            published.append(errors(at, error("declined", counted["/pay"] // 3)))
    run = record_metrics(*published)
    totals_of_rows, course = row_tables(run), from_series(run)
    assert totals_of_rows.errors == course.errors
    for one, other in zip(totals_of_rows.requests, course.requests, strict=True):
        assert one.key == other.key
        for field in one.totals.__struct_fields__:
            expected = getattr(other.totals, field)
            if isinstance(expected, float):
                # Requests without an average have a weight in their course alone.
                expected = pytest.approx(expected, rel=1e-3 if field == "mean_ms" else 1e-9)
            assert getattr(one.totals, field) == expected, (one.label, field)


def test_a_recorder_continues_the_totals_that_another_began():
    run, recording = start_run(), Recording("soak")
    for at in range(30):
        recording.record(requests(at, row("/", 10 * at, 5.0)), errors(at, error("declined", at)))
        if at % 7 == 0:
            recording.new_writer()
    run = recording.end(run)
    (found,) = row_tables(run).requests
    assert (found.totals.requests, found.totals.measured) == (290, 30)
    assert [one.occurrences for one in row_tables(run).errors] == [29]


def test_of_a_large_set_every_row_has_its_totals_and_some_their_course(monkeypatch):
    monkeypatch.setattr(row_books, "MAX_COURSES", 4)
    monkeypatch.setattr(row_books, "RESERVED_COURSES", 1)
    run = record_metrics(
        *(
            requests(at, *(row(f"/{n}", n * at, 5.0) for n in range(9)), source=source)
            for at in range(31)
            for source in ("gen-1", "gen-2")
        )
    )
    assert counts(run) == {f"GET /{n}": 2 * n * 30 for n in range(9)}
    with_course = {(one.source, one.row) for one in run_series.series(run)}
    assert len(with_course) == 5
    assert {source for source, _ in with_course} == {"gen-1", "gen-2"}
    assert sorted(run.series_left_out) == [["request", "gen-1"], ["request", "gen-2"]]
    assert len(row_tables(run, since=START + 10, until=START + 20).requests) == 4
    assert counts(run, permit=Permit(frozenset({Grant(frozenset({"error"}))}))) == {}


def test_totals_go_with_their_run():
    run = record_metrics(requests(1, row("/", 1)))
    assert RowTotals.objects.count() == 1
    run.delete()
    assert RowTotals.objects.count() == 0
