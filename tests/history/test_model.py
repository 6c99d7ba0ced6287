"""Publishing and reading in any order: a reader gets each metric once, or learns how many are gone."""

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metrics_stream.core.protocol.positions import Position
from metrics_stream.history import Bounds, History
from metrics_stream.history.memory import MemoryHistory
from tests.support.history import Producer, redis_history

BOUNDS = Bounds(900.0, 60, 3_000)
TYPES = ("system", "hero", "agent")

publishing = st.tuples(st.sampled_from(TYPES), st.integers(1, 9))
reading = st.tuples(st.just("read"), st.integers(1, 40))
# Read until the end that the history had at the beginning.
catching_up = st.tuples(st.just("catch up"), st.integers(1, 40))
steps = st.lists(publishing | reading | catching_up, max_size=60)


class Reader:
    """Follows a history page by page, and checks each page."""

    def __init__(self, history: History, position: Position) -> None:
        self.history = history
        self.position = position

    async def take(self, *, until: Position | None = None, max_metrics: int) -> bool:
        page = await self.history.since(self.position, until=until, max_metrics=max_metrics)
        expected = {item: offset + (page.lost.get(item) or 0) for item, offset in self.position.offsets.items()}
        orders = [batch.order for batch in page.batches]
        assert orders == sorted(set(orders))
        for batch in page.batches:
            assert batch.first == expected[batch.metric_type]
            assert [int(item.timestamp) for item in batch.metrics] == list(range(batch.first, batch.end))
            expected[batch.metric_type] = batch.end
        assert page.position.offsets == expected
        assert page.batches or page.is_last
        self.position = page.position
        return page.is_last


async def follow(history: History, actions: list) -> None:
    producers = {metric_type: Producer(history, metric_type) for metric_type in TYPES}
    reader = Reader(history, await history.heads(TYPES))
    for what, number in actions:
        if what == "read":
            await reader.take(max_metrics=number)
        elif what == "catch up":
            until = await history.heads(TYPES)
            await producers["system"].publish()
            while not await reader.take(until=until, max_metrics=number):
                await producers["hero"].publish()
            assert all(reader.position.offsets[item] >= offset for item, offset in until.offsets.items())
        else:
            await producers[what].publish(number)
    while not await reader.take(max_metrics=7):
        pass
    assert reader.position == await history.heads(TYPES)
    await history.close()


@given(steps)
def test_a_reader_of_the_memory_misses_nothing_silently(actions):
    asyncio.run(follow(MemoryHistory(BOUNDS), actions))


@pytest.mark.valkey
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(actions=steps)
def test_a_reader_of_redis_misses_nothing_silently(valkey_url, actions):
    asyncio.run(follow(redis_history(valkey_url, BOUNDS), actions))
