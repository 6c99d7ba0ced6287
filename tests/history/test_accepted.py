"""What a process remembers of accepted batches, so that it can report those that are lost with an epoch."""

from metrics_stream.history import Placed, accepted
from metrics_stream.history.accepted import AcceptedBatches, LostItem
from tests.support.history import metric


def placed(epoch, first, runs, at=5.5):
    return Placed(epoch, first, 1, at, runs)


def reported(batches, epoch):
    return [(report.epoch, report.items, report.forgotten) for report in batches.lost_before(epoch)]


def test_what_belonged_to_runs_is_reported_by_source_when_the_epoch_is_over():
    batches = AcceptedBatches()
    two = [metric(0, source="a"), metric(1, source="b"), metric(2, source="a")]
    assert not batches.follow("e1")
    batches.note(two, placed("e1", 0, {"a": ("r",)}))
    batches.note(two[:1], placed("e1", 7, {"a": ("r",)}))
    batches.note(two, placed("e1", 8, {}))
    assert not batches.follow("e1")
    assert batches.follow("e2")
    [report] = batches.lost_before("e2")
    assert report.items == [LostItem("system", "a", ("r",), 5, [(0, 2), (7, 1)])]
    batches.note_reported("e2")
    assert not batches.follow("e2")


def test_what_nobody_knew_the_runs_of_is_reported_with_its_time():
    batches = AcceptedBatches()
    batches.follow("e1")
    batches.note([metric(0, source="a")], placed("e1", 3, None))
    assert reported(batches, "e2") == [("e1", [LostItem("system", "a", None, 5.5, [(3, 1)])], {})]


def test_an_epoch_that_is_over_is_reported_to_each_later_one():
    # The Redis that got the report may be emptied before the recorder has read it.
    batches = AcceptedBatches()
    batches.follow("e1")
    batches.note([metric(0)], placed("e1", 0, None))
    for epoch in ("e2", "e3"):
        assert batches.follow(epoch)
        assert [report.epoch for report in batches.lost_before(epoch)] == ["e1"]
        batches.note_reported(epoch)


def test_an_answer_of_the_old_epoch_that_comes_late_is_reported_too():
    batches = AcceptedBatches()
    batches.follow("e2")
    batches.note([metric(0)], placed("e1", 0, None))
    assert batches.follow("e2")


def test_only_the_newest_are_remembered_and_the_report_says_so(monkeypatch):
    monkeypatch.setattr(accepted, "MAX_BATCHES", 2)
    batches = AcceptedBatches()
    batches.follow("e1")
    for first in range(4):
        batches.note([metric(first)], placed("e1", first, {"host": ("r",)}))
    assert reported(batches, "e2") == [
        ("e1", [LostItem("system", "host", ("r",), 5, [(2, 1), (3, 1)])], {"system": 2}),
    ]
