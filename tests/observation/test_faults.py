"""The registry of faults: one line at the begin, one at the end, whatever happens in between."""

import re

import pytest

from metrics_stream.observation.faults import PARTS, FaultKind, Faults


@pytest.fixture
def faults():
    return Faults()


def told(caplog):
    return [re.sub(r"after \d+\.\d s", "after N s", record.getMessage()) for record in caplog.records]


def test_a_fault_is_logged_once_at_its_begin_and_once_at_its_end(faults, caplog):
    for _ in range(40):
        faults.begin(FaultKind.PUBLISHING, "Redis has no memory left")
        faults.count(FaultKind.PUBLISHING, "metrics refused", 30)
    faults.end(FaultKind.PUBLISHING, "nothing else")
    faults.end(FaultKind.PUBLISHING)
    assert told(caplog) == [
        "fault publishing begins: Redis has no memory left",
        "fault publishing ends after N s; metrics refused: 1,200; nothing else",
    ]
    assert [record.fault for record in caplog.records] == ["publishing", "publishing"]


def test_the_newest_reason_is_current_and_not_logged(faults, caplog):
    faults.begin(FaultKind.CHANNEL_LAYER, "connection refused")
    faults.begin(FaultKind.CHANNEL_LAYER, "LOADING")
    [fault] = faults.current()
    assert (fault.kind, fault.message) == ("channel_layer", "LOADING")
    assert len(told(caplog)) == 1


def test_a_fault_that_comes_and_goes_ends_when_it_has_been_quiet(faults, caplog):
    faults.begin(FaultKind.PUBLISHING, "full")
    faults.end(FaultKind.PUBLISHING, quiet_seconds=60)
    assert faults.has(FaultKind.PUBLISHING)
    faults.end(FaultKind.PUBLISHING, quiet_seconds=0)
    assert not faults.current()


def test_what_never_began_neither_ends_nor_costs(faults, caplog):
    faults.count(FaultKind.LATENCY, "frames late")
    faults.end(FaultKind.LATENCY)
    assert not caplog.records


def test_faults_come_in_one_order_and_each_belongs_to_a_part(faults):
    for kind in reversed(FaultKind):
        faults.begin(kind, "it fails")
    assert [fault.kind for fault in faults.current()] == list(FaultKind) == list(PARTS)
    faults.clear()
    assert faults.current() == ()
