"""What producers state of their fields beside the data, in everything that is read of a recording."""

import csv
import io

import pytest

from metrics_stream.models import SeriesGroup
from metrics_stream.runs import series as run_series
from metrics_stream.views.exports import csv_file
from tests.support.recording import Recording, metric, start_run

pytestmark = pytest.mark.django_db

STATED = {"units": {"size": "MB", "deep.n": "kg", "text": "x"}, "windows": {"size": 10, "never": 5}}


def record(*metrics):
    run, recording = start_run(), Recording("soak")
    for item in metrics:
        recording.record(item)
    return recording.end(run)


def test_series_and_summary_have_units_and_windows():
    data = {"size": 1, "deep": {"n": 2}, "text": "a", "plain": 3}
    run = record(metric(0, data), metric(1, data, **STATED))
    expected = {"size": ("MB", 10), "deep.n": ("kg", None), "plain": (None, None)}
    assert {one.field: (one.unit, one.window_seconds) for one in run_series.series(run)} == expected
    assert {one.field: (one.unit, one.window_seconds) for one in run_series.summary(run)} == expected


def test_what_was_stated_last_counts_also_for_a_new_recorder():
    run, recording = start_run(), Recording("soak")
    recording.record(metric(0, {"size": 1}, units={"size": "kB"}, windows={"size": 5}))
    recording.new_writer()
    recording.record(metric(1, {"size": 1}, units={"size": "MB"}))
    recording.record(metric(2, {"size": 1}))
    recording.end(run)
    group = SeriesGroup.objects.get()
    assert (group.units, group.windows) == ({"size": "MB"}, {"size": 5})


def test_agents_have_them_each():
    agents = [{"agent_id": name, "size": 1} for name in ("a", "b")]
    run = record(metric(0, agents, metric_type="agent", **STATED))
    assert {(one.row, one.unit, one.window_seconds) for one in run_series.series(run)} == {
        ("agent_id=a", "MB", 10),
        ("agent_id=b", "MB", 10),
    }


def rows_of(run):
    return list(csv.reader(io.StringIO(b"".join(csv_file(run)).decode())))


def test_the_csv_has_columns_for_them_where_a_producer_states_any():
    run = record(metric(0, {"size": 1, "plain": 2}), metric(1, {"size": 1}, **STATED))
    head, *rows = rows_of(run)
    assert head[4:] == ["field", "value", "unit", "window_seconds"]
    assert [row[4:] for row in rows] == [["size", "1", "", ""], ["plain", "2", "", ""], ["size", "1", "MB", "10.0"]]


def test_the_csv_of_a_run_without_any_is_as_ever():
    head, row = rows_of(record(metric(0, {"size": 1})))
    assert (head, row[4:]) == (["timestamp", "metric_type", "source", "agent_id", "field", "value"], ["size", "1"])
