"""Clocks of servers and producers are compared, and a wrong one is said once."""

import time

import pytest

from metrics_stream.core.errors import BusError
from metrics_stream.observation.faults import FaultKind, of_process
from metrics_stream.runtime import clocks as clocks_module
from metrics_stream.runtime.clocks import Clocks, SourceClocks
from tests.support.history import metric

AT = 1_800_000_000.0


class Watched:
    """A history, and a database, of which the test sets the clocks."""

    def __init__(self, monkeypatch):
        self.ahead = {"redis": 0.0, "database": 0.0}
        monkeypatch.setattr(clocks_module, "_database_seconds", self.database_seconds)

    async def clock(self):
        if self.ahead["redis"] is None:
            raise BusError("away")
        return time.time() + self.ahead["redis"]

    async def database_seconds(self):
        return time.time() + self.ahead["database"]


@pytest.fixture
def watched(monkeypatch):
    return Watched(monkeypatch)


async def test_a_server_whose_clock_is_right_has_no_fault(watched):
    clocks = Clocks(watched)
    await clocks.compare()
    assert clocks.skew_seconds == {"database": pytest.approx(0, abs=0.5), "redis": pytest.approx(0, abs=0.5)}
    assert of_process.current() == ()


async def test_a_wrong_clock_is_one_line_when_it_begins_and_one_when_it_ends(watched, caplog):
    clocks = Clocks(watched)
    watched.ahead.update(database=-300.0, redis=10.0)
    for _ in range(3):
        await clocks.compare()
    [fault] = of_process.current()
    assert fault.kind == FaultKind.CLOCK
    assert fault.message == (
        "the clock of this server is 300.0 s ahead of that of the database; the clock of this server is 10.0 s behind "
        "that of Redis; synchronize both, for example with NTP"
    )
    watched.ahead.update(database=0.0, redis=0.0)
    await clocks.compare()
    assert of_process.current() == ()
    assert [record.getMessage().partition(":")[0].split(" after")[0] for record in caplog.records] == [
        "fault clock begins",
        "fault clock ends",
    ]


async def test_what_is_away_has_no_skew(watched):
    clocks = Clocks(watched)
    await clocks.compare()
    watched.ahead["redis"] = None
    await clocks.compare()
    assert list(clocks.skew_seconds) == ["database"]


async def test_sources_with_wrong_clocks_are_counted_and_the_log_names_each_once(watched, caplog):
    clocks = Clocks(watched)
    for source, timestamp in (("right", AT - 1), ("ahead", AT + 300), ("behind", AT - 60)):
        clocks.sources.observe([with_timestamp(source, timestamp)], AT)
    await clocks.compare()
    await clocks.compare()
    [fault] = of_process.current()
    assert (fault.kind, fault.message) == (
        FaultKind.SOURCE_CLOCKS,
        "2 sources send timestamps up to 300.0 s ahead of their arrival; the log names them",
    )
    assert clocks.sources.wrong() == {"ahead": 300.0, "behind": -60.0}
    assert caplog.text.count("the timestamps of the source 'ahead' are 300.0 s ahead of their arrival") == 1
    assert caplog.text.count("the timestamps of the source 'behind' are 60.0 s behind their arrival") == 1


def with_timestamp(source, timestamp):
    return metric(timestamp, source=source)


def test_a_source_is_judged_by_its_quickest_metric_of_the_last_minutes():
    now = 0.0
    sources = SourceClocks(lambda: now)
    sources.observe([with_timestamp("late", AT - 100)], AT)
    assert sources.wrong() == {"late": -100.0}
    sources.observe([with_timestamp("late", AT - 1)], AT)
    assert sources.wrong() == {}
    now = 61.0
    sources.observe([with_timestamp("late", AT - 100)], AT)
    assert sources.wrong() == {}
    now = 122.0
    sources.observe([with_timestamp("late", AT - 100)], AT)
    assert sources.wrong() == {"late": -100.0}
    now = 300.0
    assert sources.wrong() == {}, "it was silent"
