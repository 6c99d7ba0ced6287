"""Clocks of sources that are off: which metrics are marked, and where they are put."""

import msgspec
import pytest

from metrics_stream.core.clock_marks import ClockMarks
from metrics_stream.core.protocol.positions import HistoryBatch
from tests.support.aggregates import metric

AT = 1_800_000_000.0


def batch(*timestamps, at=AT, source="gen-a"):
    return HistoryBatch(
        "system", "e", 0, 0, at, [metric({"n": 1}, timestamp=each, source=source) for each in timestamps]
    )


def ahead_of(found):
    """Return what each metric of a batch says of its clock."""
    return [msgspec.json.decode(item.body).get("clock_ahead_seconds") for item in found.metrics]


@pytest.mark.parametrize("ahead", [0.0, -5.0, 59.0, 60.0])
def test_a_clock_within_the_tolerance_is_not_marked(ahead):
    one = batch(AT + ahead)
    assert ClockMarks().mark_next(one) is one


def test_a_clock_that_is_ahead_is_marked_at_once_and_what_was_measured_before_stays_before():
    marks = ClockMarks()
    found = marks.mark_next(batch(AT + 1798, AT + 1799, AT + 1800))
    assert ahead_of(found) == [1800.0, 1800.0, 1800.0]
    assert [item.timestamp for item in found.metrics] == [AT - 2, AT - 1, AT]
    body = msgspec.json.decode(found.metrics[0].body)
    assert body["timestamp"] == batch(AT + 1798).metrics[0].body.decode().split('"timestamp":"')[1].split('"')[0]


def test_only_the_source_with_the_wrong_clock_is_marked():
    marks = ClockMarks()
    metrics = batch(AT + 1800).metrics + batch(AT, source="gen-b").metrics
    found = marks.mark_next(msgspec.structs.replace(batch(AT), metrics=metrics))
    assert ahead_of(found) == [1800.0, None]


def test_a_clock_that_is_behind_is_marked_once_it_was_for_some_time():
    marks = ClockMarks()
    found = [ahead_of(marks.mark_next(batch(AT + second - 7200, at=AT + second)))[0] for second in range(20)]
    assert found == [None] * 15 + [-7200.0] * 5
    # One batch in time, and it is right again.
    assert ahead_of(marks.mark_next(batch(AT + 20, at=AT + 20))) == [None]
    assert ahead_of(marks.mark_next(batch(AT + 21 - 7200, at=AT + 21))) == [None]


def test_old_metrics_that_are_sent_at_once_are_not_those_of_a_clock_that_is_behind():
    marks = ClockMarks()
    for second in range(60):
        # An hour of metrics, sent in a minute.
        assert ahead_of(marks.mark_next(batch(AT - 3600 + 60 * second, at=AT + second))) == [None]


def test_a_clock_that_jumps_is_followed():
    marks = ClockMarks()
    ahead = [0.0] * 5 + [1800.0] * 5 + [0.0] * 5 + [-3600.0] * 20 + [0.0] * 5
    found = [ahead_of(marks.mark_next(batch(AT + second + off, at=AT + second)))[0] for second, off in enumerate(ahead)]
    assert found == [None] * 5 + [1800.0] * 5 + [None] * 20 + [-3600.0] * 5 + [None] * 5


def test_a_batch_of_any_time_is_marked_by_what_is_known():
    marks = ClockMarks()
    assert ahead_of(marks.mark(batch(AT + 1800))) == [1800.0]
    assert ahead_of(marks.mark(batch(AT - 7200))) == [None]
    for second in range(20):
        marks.mark_next(batch(AT + second - 7200, at=AT + second))
    assert ahead_of(marks.mark(batch(AT - 100 - 7200, at=AT - 100))) == [-7200.0]
    assert ahead_of(marks.mark(batch(AT - 100, at=AT - 100))) == [None]
