import pytest

from metrics_stream.core import numbering
from metrics_stream.core.numbering import Continuity, Heard, Numbering

NEW, REPEATED = Heard(0, repeated=False), Heard(0, repeated=True)


def missing(count):
    return Heard(count, repeated=False)


@pytest.fixture
def continuity():
    following = Continuity()
    following.begin("system")
    return following


def hear(continuity, *batches, producer="p", metric_type="system"):
    return [continuity.hear(producer, metric_type, first=first, count=count) for first, count in batches]


def test_each_metric_type_has_its_own_numbers():
    numbers = Numbering()
    assert [numbers.take("system", 3), numbers.take("hero", 1), numbers.take("system", 2)] == [0, 0, 3]


@pytest.mark.parametrize(
    ("batches", "heard"),
    [
        ([(0, 3), (3, 1), (4, 2)], [NEW, NEW, NEW]),
        ([(70, 3), (73, 1)], [NEW, NEW]),  # metrics published before the type was followed are not missing
        ([(0, 3), (5, 1)], [NEW, missing(2)]),
        ([(0, 3), (5, 1), (9, 1)], [NEW, missing(2), missing(3)]),
        ([(0, 3), (0, 3), (3, 1)], [NEW, REPEATED, NEW]),
        ([(5, 3), (2, 3)], [NEW, REPEATED]),  # from before the first batch: unknown, and too late anyway
        ([(0, 1), (4, 1), (1, 1), (3, 1), (2, 1)], [NEW, missing(3), NEW, NEW, NEW]),  # late, but accepted
        ([(0, 1), (4, 1), (1, 1), (1, 1)], [NEW, missing(3), NEW, REPEATED]),
        ([(0, 1), (4, 1), (2, 1), (2, 1), (5, 1)], [NEW, missing(3), NEW, REPEATED, NEW]),
    ],
)
def test_numbers_show_missing_and_repeated_metrics(continuity, batches, heard):
    assert hear(continuity, *batches) == heard


def test_producers_and_types_are_independent(continuity):
    continuity.begin("hero")
    hear(continuity, (0, 3))
    assert hear(continuity, (0, 3), producer="q") == [NEW]
    assert hear(continuity, (0, 3), metric_type="hero") == [NEW]
    assert hear(continuity, (3, 1)) == [NEW]


def test_metrics_published_while_a_type_is_not_followed_are_not_missing(continuity):
    hear(continuity, (0, 3))
    continuity.end("system")
    assert hear(continuity, (7, 1)) == [NEW]  # it was still on its way when following ended
    continuity.begin("system")
    assert hear(continuity, (20, 1), (22, 1)) == [NEW, missing(1)]


def test_following_a_type_twice_forgets_nothing(continuity):
    hear(continuity, (0, 3))
    continuity.begin("system")
    assert hear(continuity, (4, 1)) == [missing(1)]


def test_memory_for_producers_is_bounded(continuity, monkeypatch):
    monkeypatch.setattr(numbering, "MAX_FOLLOWED_PRODUCERS", 2)
    monkeypatch.setattr(numbering, "MAX_MISSING_RANGES", 2)
    hear(continuity, (0, 1), producer="first")
    hear(continuity, (0, 1), producer="second")
    hear(continuity, (1, 1), producer="first")
    hear(continuity, (0, 1), producer="third")
    assert hear(continuity, (2, 1), producer="first") == [NEW]
    assert hear(continuity, (9, 1), producer="second") == [NEW]
    # The oldest of three ranges is forgotten, so a late batch of it counts as a repetition.
    hear(continuity, (10, 1), (12, 1), (14, 1), (16, 1), producer="fourth")
    assert hear(continuity, (11, 1), (13, 1), producer="fourth") == [REPEATED, NEW]
