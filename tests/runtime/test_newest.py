import asyncio

from metrics_stream.core.clock_marks import ClockMarks
from metrics_stream.core.metrics.permission import EVERYTHING
from metrics_stream.core.protocol.positions import Position
from metrics_stream.history.memory import MemoryHistory
from metrics_stream.runtime.newest import NewestReader
from metrics_stream.runtime.run_sources import RunSources
from tests.support.history import MANY, Producer, metric


class CountingHistory(MemoryHistory):
    """A history that takes a moment to read, and counts the readings."""

    def __init__(self):
        super().__init__(MANY)
        self.readings = 0

    async def newest(self, metric_types):
        self.readings += 1
        found = await super().newest(metric_types)
        await asyncio.sleep(0)
        return found


async def test_clients_that_ask_at_the_same_time_share_two_readings():
    history = CountingHistory()
    reader = NewestReader(history, RunSources(), ClockMarks())
    await Producer(history).publish()
    found = await asyncio.gather(*(reader.read(["system", "hero"], EVERYTHING) for _ in range(80)))
    assert history.readings == 2
    assert len({id(item) for item in found}) == 2


async def test_a_reading_that_began_before_the_call_is_not_used():
    history = CountingHistory()
    reader = NewestReader(history, RunSources(), ClockMarks())
    before = await reader.read(["system"], EVERYTHING)
    await Producer(history).publish()
    assert (before.metrics, (await reader.read(["system"], EVERYTHING)).metrics) == ([], [metric(0)])


async def test_pages_are_shared_as_far_as_they_are_whole():
    history = CountingHistory()
    producer = Producer(history)
    await producer.send([metric(n, source=f"s{n % 2}", agent_ids=(f"a{n}",)) for n in range(1_001)])
    newest = await NewestReader(history, RunSources(), ClockMarks()).read(["system"], EVERYTHING)
    epoch = (await history.heads(())).epoch
    whole = list(newest.pages_until(Position(epoch, {"system": 1_001})))
    assert [len(page.metrics) for page in whole] == [1_000, 1]
    part = list(newest.pages_until(Position(epoch, {"system": 1_000})))
    assert part == whole[:1]
    assert [len(page.metrics) for page in newest.pages_until(Position(epoch, {"system": 3}))] == [3]
    assert list(newest.pages_until(Position("another", {"system": 9_000}))) == []
