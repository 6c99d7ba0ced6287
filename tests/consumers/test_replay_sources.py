"""What a tape of the history plays, over the history in memory and the one in a real Valkey."""

import pytest
import pytest_asyncio

from metrics_stream.consumers import replay_sources
from metrics_stream.consumers.replay_sources import HistoryReplaySource
from metrics_stream.core.formatting import format_timestamp
from metrics_stream.core.protocol.parsing import parse_instant
from metrics_stream.history import Bounds
from metrics_stream.history.memory import MemoryHistory
from metrics_stream.history.recent_series import RecentSeries
from tests.history.test_history import Producer, redis_history
from tests.support.stack import eventually

BOUNDS = Bounds(16.0, 100_000, 100_000_000)
MARK_SECONDS = 16.0 / 64
"""How much before an instant a place by time may be in Redis."""


@pytest_asyncio.fixture(params=["memory", pytest.param("valkey", marks=pytest.mark.valkey)])
async def history(request):
    if request.param == "memory":
        history = MemoryHistory(BOUNDS)
    else:
        history = redis_history(request.getfixturevalue("valkey_url"), BOUNDS)
    yield history
    await history.close()


def tape_of(history):
    return HistoryReplaySource(history, RecentSeries(history, BOUNDS.seconds, ("system", "hero")), ("system", "hero"))


def numbers(metrics):
    return [int(item.timestamp) for item in metrics]


async def read_all(replay_source, mark):
    found, is_last = [], False
    while not is_last:
        page = await replay_source.read(mark)
        found += [item for moment in page.moments for item in moment.metrics]
        mark, is_last = page.mark, page.is_last
    return found


async def test_it_begins_with_what_was_published_at_the_instant_and_not_before(history):
    producer, replay_source = Producer(history), tape_of(history)
    placed = [await producer.publish() for _ in range(5)]
    at = placed[2].published_at
    assert numbers(await read_all(replay_source, await replay_source.mark_at(at))) == [2, 3, 4]
    assert numbers(await replay_source.newest_at(at)) == [1]
    # As a client says it, who knows microseconds.
    at = parse_instant("at", format_timestamp(at))
    assert numbers(await read_all(replay_source, await replay_source.mark_at(at))) == [2, 3, 4]


async def test_from_the_beginning_it_brings_everything(history):
    producer, replay_source = Producer(history), tape_of(history)
    for _ in range(3):
        await producer.publish()
    first, _ = await replay_source.bounds()
    at = parse_instant("from", format_timestamp(first))
    assert numbers(await read_all(replay_source, await replay_source.mark_at(at))) == [0, 1, 2]
    assert await replay_source.newest_at(at) == []


@pytest.mark.parametrize("comes_again", [True, False])
async def test_the_newest_of_what_comes_seldom_are_found_however_long_ago_they_came(history, monkeypatch, comes_again):
    monkeypatch.setattr(replay_sources, "NEWEST_SECONDS", 0.0)
    often, seldom = Producer(history), Producer(history, "hero", "seldom")
    slow_source = Producer(history, source="slow")
    replay_source = tape_of(history)
    await slow_source.publish()
    await seldom.publish()
    await seldom.publish()
    await _wait_for_marks(history, often)
    placed = await often.publish()
    for producer in (seldom, slow_source) if comes_again else ():
        await producer.publish()
    newest = await replay_source.newest_at(placed.published_at)
    assert [(item.source, int(item.timestamp)) for item in newest[:2]] == [("slow", 0), ("seldom", 1)]
    assert newest[2].source == "host"
    assert len(newest) == 3


async def _wait_for_marks(history, producer):
    """Publish until a place by time is behind what was published before."""
    begun_at = (await producer.publish()).published_at

    async def is_past():
        return (await producer.publish()).published_at > begun_at + 2 * MARK_SECONDS

    await eventually(is_past, 5, every_seconds=0.05)


async def test_the_newest_are_not_looked_for_in_more_than_can_be_read_at_once(history, monkeypatch):
    monkeypatch.setattr(replay_sources, "NEWEST_SECONDS", 0.0)
    monkeypatch.setattr(replay_sources, "MAX_LOOKED_THROUGH", 10)
    often, slow_source = Producer(history), Producer(history, source="slow")
    await slow_source.publish()
    await often.publish(30)
    await _wait_for_marks(history, often)
    placed = await often.publish()
    await slow_source.publish()
    assert {item.source for item in await tape_of(history).newest_at(placed.published_at)} <= {"host"}
