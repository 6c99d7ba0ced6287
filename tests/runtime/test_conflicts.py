"""Several producers of one source are a fault, a line of the log with their names, and told to those who see them."""

import pytest

from metrics_stream.bus.messages import Published
from metrics_stream.core.delivery.selection import Selection
from metrics_stream.core.metrics.permission import Grant, Permit
from metrics_stream.core.protocol.messages import Filters
from metrics_stream.observation.faults import FaultKind, of_process
from metrics_stream.runtime.conflicts import SourceWatch
from tests.support.history import metric
from tests.support.hub import HubHarness


@pytest.fixture
def harness():
    yield HubHarness()
    of_process.clear()


class Watched:
    """A watch with a clock that the test moves."""

    def __init__(self, harness):
        self.now = 0.0
        self.watch = SourceWatch(harness.hub, lambda: self.now)

    def publish(self, *origins, source="vm"):
        for origin in origins:
            self.now += 0.5
            self.watch.observe(Published([metric(self.now, source=source)], origin=origin))


def told(sink):
    return [frame["conflicts"] for frame in sink.frames if frame["type"] == "source_conflicts"]


def of_system(**narrowing):
    return Permit(frozenset({Grant(frozenset({"system"}), **narrowing)}))


VM = {"metric_type": "system", "source": "vm", "producers": 2}


def test_it_is_one_fault_and_the_log_names_the_producers(harness, caplog):
    watched = Watched(harness)
    watched.publish(*["vm:1", "vm:2"] * 3)
    for _ in range(3):
        watched.watch.look()
    [fault] = of_process.current()
    assert (fault.kind, fault.message) == (
        FaultKind.SOURCES,
        "a source is published by several producers at a time; the log names them",
    )
    names = "system metrics of the source 'vm' come from 2 producers at a time: vm:1, vm:2; give each its own source"
    assert caplog.text.count(names) == 1
    watched.now += 60
    watched.watch.look()
    assert of_process.current() == ()
    assert [record.getMessage().split(" after")[0].partition(":")[0] for record in caplog.records] == [
        names.partition(":")[0],
        "fault sources begins",
        "fault sources ends",
    ]


def test_clients_learn_of_the_sources_that_they_see(harness):
    whole = harness.join(Selection(("system",)))[1]
    theirs = harness.join(Selection(("system",), permit=of_system(sources=frozenset({"vm"}))))[1]
    others = [
        harness.join(Selection(("hero",)))[1],
        harness.join(Selection(("system",), Filters(sources=("other",))))[1],
        harness.join(Selection(("system",), permit=of_system(sources=frozenset({"other"}))))[1],
    ]
    watched = Watched(harness)
    watched.publish(*["vm:1", "vm:2"] * 3)
    for _ in range(3):
        watched.watch.look()
    assert told(whole) == told(theirs) == [[VM]]
    late = harness.join(Selection(("system",)))[1]
    watched.watch.look()
    assert told(late) == [[VM]]
    watched.now += 60
    watched.watch.look()
    assert told(whole) == told(theirs) == told(late) == [[VM], []]
    assert [told(sink) for sink in others] == [[]] * 3


def test_a_replay_shows_no_conflict_of_what_is_live(harness):
    client, sink = harness.join(Selection(("system",)))
    watched = Watched(harness)
    watched.publish(*["vm:1", "vm:2"] * 3)
    watched.watch.look()
    harness.hub.enter_replay(client)
    watched.watch.look()
    assert told(sink) == [[VM], []]


def test_a_busy_client_is_told_later(harness):
    client, sink = harness.join(Selection(("system",)))
    sink.stalled = True
    harness.publish(1)
    harness.clock.advance(1.0)
    watched = Watched(harness)
    watched.publish(*["vm:1", "vm:2"] * 3)
    watched.watch.look()
    assert told(sink) == []
    sink.stalled = False
    harness.hub.written(client)
    watched.watch.look()
    assert told(sink) == [[VM]]
