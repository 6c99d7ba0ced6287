"""What a tape of the history plays, over the history in memory and the one in a real Valkey."""

import pytest
import pytest_asyncio

from metrics_stream.backfill import RecentSeries
from metrics_stream.core.protocol import format_timestamp, parse_instant
from metrics_stream.history.memory import MemoryHistory
from metrics_stream.tapes import HistoryTape
from tests.test_history import MANY, Producer, redis_history


@pytest_asyncio.fixture(params=["memory", pytest.param("valkey", marks=pytest.mark.valkey)])
async def history(request):
    memory = request.param == "memory"
    history = MemoryHistory(MANY) if memory else redis_history(request.getfixturevalue("valkey_url"))
    yield history
    await history.close()


def tape_of(history):
    return HistoryTape(history, RecentSeries(history, MANY.seconds), ("system", "hero"))


def numbers(metrics):
    return [int(item.timestamp) for item in metrics]


async def read_all(tape, mark):
    found, is_last = [], False
    while not is_last:
        page = await tape.read(mark)
        found += [item for moment in page.moments for item in moment.metrics]
        mark, is_last = page.mark, page.is_last
    return found


async def test_it_begins_with_what_was_published_at_the_instant_and_not_before(history):
    producer, tape = Producer(history), tape_of(history)
    placed = [await producer.publish() for _ in range(5)]
    at = placed[2].published_at
    assert numbers(await read_all(tape, await tape.mark_at(at))) == [2, 3, 4]
    assert numbers(await tape.newest_at(at)) == [1]
    # As a client says it, who knows microseconds.
    at = parse_instant("at", format_timestamp(at))
    assert numbers(await read_all(tape, await tape.mark_at(at))) == [2, 3, 4]


async def test_from_the_beginning_it_brings_everything(history):
    producer, tape = Producer(history), tape_of(history)
    for _ in range(3):
        await producer.publish()
    first, _ = await tape.bounds()
    at = parse_instant("from", format_timestamp(first))
    assert numbers(await read_all(tape, await tape.mark_at(at))) == [0, 1, 2]
    assert await tape.newest_at(at) == []
