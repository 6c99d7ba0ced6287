"""The history in memory, in a process with threads and forked children."""

import asyncio
import os
import signal
import sys
import threading

import pytest

from metrics_stream.history import Bounds, memory
from metrics_stream.history.memory import MemoryHistory
from tests.support.history import MANY, Producer, metric, start, timestamps


@pytest.fixture
def restless_threads():
    """Make threads take turns as often as possible."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def test_threads_and_loops_share_the_history_in_memory(restless_threads):
    history = MemoryHistory(Bounds(900.0, 100_000, 100_000_000))

    def publish() -> None:
        async def publish_many() -> None:
            producer = Producer(history)
            for _ in range(500):
                await producer.publish(2)

        asyncio.run(publish_many())

    threads = [threading.Thread(target=publish) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    page = asyncio.run(read_all(history))
    assert page.position.offsets == {"system": 4_000}
    assert [batch.first for batch in page.batches] == list(range(0, 4_000, 2))


async def read_all(history):
    return await history.since(await start(history))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_begins_with_nothing():
    history = MemoryHistory(MANY)
    asyncio.run(Producer(history).publish())
    epoch = asyncio.run(history.heads(())).epoch
    with history._lock:  # as another thread of the parent may
        child = os.fork()
        if child == 0:  # no pytest in here: leave through _exit
            code = 1
            signal.alarm(10)  # if the lock were still held, the child would wait for ever
            try:
                page = asyncio.run(read_all(history))
                code = 0 if page.batches == [] and page.position.epoch != epoch else 2
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
    assert status == 0
    assert timestamps(asyncio.run(read_all(history)).batches) == [0]


async def test_age_is_that_of_the_clock_and_a_clock_that_is_set_back_changes_no_order():
    times = iter([100.0, 101.0, 90.0, 130.5, *[131.5] * 9])
    history = MemoryHistory(Bounds(30.0, 1_000, 1_000_000), now=lambda: next(times))
    producer = Producer(history)
    placed = [await producer.publish() for _ in range(3)]
    assert [item.published_at for item in placed] == [101.0, 101.0, 130.5]
    assert timestamps((await history.since(await start(history))).batches) == [2]


async def test_only_so_many_producers_are_remembered(monkeypatch):
    monkeypatch.setattr(memory, "MAX_PRODUCERS", 3)
    history = MemoryHistory(MANY)
    producers = [Producer(history) for _ in range(4)]
    for producer in producers:
        await producer.send([metric(0)], number=1)
    assert (await producers[-1].send([metric(0)], number=1)).first == 3
    assert (await producers[0].send([metric(0)], number=1)).first == 4
