"""Several producers of one source and type at a time are a conflict; a restarted one is none."""

import pytest

from metrics_stream.core.producers import MAX_FOLLOWED, MAX_NAMED, Conflict, Producers

BOTH = [Conflict("system", "vm", ("emitter", "test"))]


def watched(*turns, metric_type="system", source="vm", agent_ids=()):
    """Return producers that published in turn, each with its instant."""
    producers = Producers()
    for at, producer in turns:
        producers.observe(metric_type, source, agent_ids, producer, at)
    return producers


def test_producers_that_take_turns_are_a_conflict():
    producers = watched(*((at / 2, ("emitter", "test")[at % 2]) for at in range(10)))
    assert producers.conflicts(5.0) == BOTH
    assert producers.conflicts(100.0) == [], "both are silent"


def test_slow_producers_are_noticed_too():
    producers = watched(*((at * 10.0, ("emitter", "test")[at % 2]) for at in range(5)))
    assert producers.conflicts(45.0) == BOTH


@pytest.mark.parametrize(
    "turns",
    [
        [(0, "old"), (1, "old"), (2, "new"), (3, "new"), (4, "new")],
        [(0, "old"), (1, "new"), (1.1, "old"), (4, "old")],
        [(at, "one") for at in range(100)],
        [(0, "a"), (100, "b"), (200, "a"), (300, "b")],
    ],
    ids=["restart", "the rest of the old one comes late", "one", "minutes apart"],
)
def test_a_producer_after_another_is_no_conflict(turns):
    assert watched(*turns).conflicts(turns[-1][0]) == []


def test_a_conflict_ends_when_one_of_them_stops():
    producers = watched(*((at, ("emitter", "test")[at % 2]) for at in range(10)))
    for at in range(10, 60):
        producers.observe("system", "vm", (), "test", at)
    assert producers.conflicts(30.0) == BOTH
    assert producers.conflicts(59.0) == []


def test_producers_of_different_agents_types_and_sources_are_no_conflict():
    producers = Producers()
    for at in range(20):
        for name in ("a", "b"):
            producers.observe("agent", "vm", (f"agent-{name}",), name, at)
            producers.observe("system", f"vm-{name}", (), name, at)
    producers.observe("hero", "vm", (), "a", 19)
    producers.observe("business", "vm", (), "b", 19)
    assert producers.conflicts(20.0) == []


def test_what_is_remembered_is_bounded():
    producers = Producers()
    for at in range(100):
        producers.observe("system", "vm", (), f"program-{at}", at / 10)
    [conflict] = producers.conflicts(10.0)
    assert len(conflict.producers) == MAX_NAMED
    for number in range(MAX_FOLLOWED + 10):
        producers.observe("system", f"source-{number}", (), "one", 10.0)
    assert len(producers._followed) == MAX_FOLLOWED
