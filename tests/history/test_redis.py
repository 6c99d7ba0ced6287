"""The history in Redis where things go wrong, and where several loops, threads, processes and greenlets use it."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
import redis

from metrics_stream.core.errors import BusError
from metrics_stream.core.protocol.positions import Position
from metrics_stream.history import ActiveRun, Bounds
from metrics_stream.history.redis import MAX_QUESTIONS_AT_ONCE, RedisHistory
from tests.faults.redis_process import RedisProcess
from tests.history.test_history import Producer, metric, read, redis_history, start, timestamps
from tests.support.stack import ROOT, eventually

pytestmark = pytest.mark.valkey


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisProcess]:
    with RedisProcess(tmp_path) as process:
        yield process


@pytest_asyncio.fixture
async def history(server: RedisProcess) -> AsyncIterator[RedisHistory]:
    """The history in a Redis of its own, prefix `test`."""
    opened = redis_history(server.url, prefix="test")
    yield opened
    await opened.close()


def keys(server: RedisProcess, pattern: str = "*") -> list[str]:
    return sorted(key.decode() for key in server.command("KEYS", pattern))


# --- Redis is away, hangs, is full, forgets ---


async def test_a_killed_redis_is_an_error_and_its_successor_works(server, history):
    producer = Producer(history)
    old = await producer.publish(3)
    await history.set_active_runs([ActiveRun("r")])
    server.kill()
    for call in (producer.publish, history.active_runs, lambda: history.heads(["system"])):
        with pytest.raises(BusError, match="the channel layer could not .*: Error .* connecting to"):
            await call()
    producer.known = Position(old.epoch, {"system": 3})
    server.start()
    placed = await producer.publish()
    assert (placed.first, placed.epoch > old.epoch, placed.runs) == (0, True, {})
    page = await history.since(Position(old.epoch, {"system": 2}))
    assert (timestamps(page.batches), page.lost) == ([4], {"system": None})


async def test_a_redis_that_came_back_meanwhile_is_no_error(server, history):
    await Producer(history).publish()
    server.kill()
    server.start()
    assert (await Producer(history).publish()).first == 0


async def test_killed_while_it_is_asked_it_is_an_error_and_its_successor_works(server, history):
    producer = Producer(history)
    await producer.publish()
    server.signal(signal.SIGSTOP)
    calls = [asyncio.create_task(producer.publish()), asyncio.create_task(history.heads(["system"]))]
    await asyncio.wait(calls, timeout=0.2)
    server.kill()
    for call in calls:
        with pytest.raises(BusError):
            await call
    server.start()
    assert (await producer.publish()).first == 0


async def test_what_takes_too_long_is_an_error_and_asked_again_is_kept_once(server):
    history = redis_history(server.url, timeout_seconds=0.3)
    producer = Producer(history)
    await producer.publish()
    server.signal(signal.SIGSTOP)
    batch = producer.metrics(2)
    for _ in range(2):
        with pytest.raises(BusError, match=r"took more than 0\.3 s to keep metrics in the history"):
            await producer.send(batch, number=2)
    server.signal(signal.SIGCONT)
    assert (await producer.send(batch, number=2)).first == 1
    await producer.send(producer.metrics(1), number=3)
    # The requests that nobody waits for any more have been executed by now, before or after the last one.
    await history.close()
    assert (await history.heads(["system"])).offsets == {"system": 4}
    await history.close()


async def test_a_cancelled_call_leaves_the_next_one_right(server, history):
    producer = Producer(history)
    await producer.publish(5)
    await history.set_active_runs([ActiveRun("r")])
    expected = await history.since(await start(history))
    for steps in range(30):
        call = asyncio.create_task(history.heads(["hero", "system"]))
        for _ in range(steps):
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait([call])
        assert await history.active_runs() == (ActiveRun("r"),)
        assert await history.since(await start(history)) == expected
    server.signal(signal.SIGSTOP)
    call = asyncio.create_task(history.heads(["hero", "system"]))
    await asyncio.wait([call], timeout=0.1)
    call.cancel()
    await asyncio.wait([call])
    server.signal(signal.SIGCONT)
    assert call.cancelled()
    assert await history.active_runs() == (ActiveRun("r"),)


async def test_a_full_redis_says_so_and_still_answers(server, history):
    producer = Producer(history)
    await producer.publish(3)
    server.command("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(BusError, match="could not keep metrics in the history: Redis has no memory left; give it more"):
        await producer.publish()
    assert timestamps((await history.since(await start(history))).batches) == [0, 1, 2]
    server.command("CONFIG", "SET", "maxmemory", "0")
    assert (await producer.publish()).first == 3


async def test_a_redis_without_the_script_gets_it_again(server, history):
    producer = Producer(history)
    await producer.publish()
    server.command("SCRIPT", "FLUSH")
    assert (await producer.publish()).first == 1


async def test_an_old_copy_begins_a_new_epoch_with_the_first_producer_that_knows_more(server, history):
    producer = Producer(history)
    old = await producer.publish()
    with redis.Redis.from_url(server.url) as client:
        copy = {key: client.dump(key) for key in client.scan_iter()}
        producer.known = Position(old.epoch, {"system": (await producer.publish(4)).first + 4})
        client.flushall()
        for key, value in copy.items():
            client.restore(key, 0, value)
    assert (await history.heads(["system"])).offsets == {"system": 1}
    placed = await producer.publish()
    assert (placed.epoch > old.epoch, placed.first) == (True, 0)
    assert not keys(server, f"*{old.epoch}*")
    # A copy from before that is behind too, though what its own epoch says is not.
    producer.known = Position(placed.epoch, {"system": 1})
    with redis.Redis.from_url(server.url) as client:
        client.flushall()
        for key, value in copy.items():
            client.restore(key, 0, value)
    again = await producer.publish()
    assert (again.epoch > placed.epoch, again.first) == (True, 0)


async def test_a_clock_that_is_set_back_changes_no_order(server, history):
    producer = Producer(history)
    await producer.publish()
    # As after an hour in which the clock was ahead.
    ahead = time.time() + 3_600
    server.command("HSET", "test.history", "at", f"{ahead:.6f}")
    placed = [await producer.publish(count) for count in (8, 2, 3)]
    assert [item.published_at for item in placed] == [pytest.approx(ahead, abs=1e-5)] * 3
    page = await history.since(await start(history))
    assert (timestamps(page.batches), page.lost) == (list(range(1, 14)), {"system": 1})
    assert (await history.since_time(["system"], ahead + 0.5)).offsets == {"system": 1}


async def test_what_is_published_at_one_instant_is_dropped_in_its_order(server):
    history = redis_history(server.url, Bounds(900.0, 40, 100_000_000), prefix="test")
    producer = Producer(history)
    await producer.publish()
    server.command("HSET", "test.history", "at", f"{time.time() + 3_600:.6f}")
    for _ in range(120):
        await producer.publish()
    assert timestamps((await history.since(await start(history))).batches) == list(range(82, 121))
    await history.close()


async def test_what_redis_evicted_counts_as_lost(server, history):
    producer = Producer(history)
    for count in (3, 4):
        epoch = (await producer.publish(count)).epoch
    stream = f"test.history.{epoch}.system"
    server.command("XTRIM", stream, "MAXLEN", "1")
    page = await history.since(Position(epoch, {"system": 1}))
    assert (timestamps(page.batches), page.lost) == ([3, 4, 5, 6], {"system": 2})
    for name in ("", ".marks", ".newest", ".newest_stretches"):
        server.command("DEL", stream + name)
        page = await history.since(Position(epoch, {"system": 1}))
        assert (page.batches, page.position.offsets, page.lost) == ([], {"system": 7}, {"system": 6})
    assert (await producer.publish()).first == 7
    page = await history.since(Position(epoch, {"system": 1}))
    assert (timestamps(page.batches), page.lost) == ([7], {"system": 6})


# --- what it leaves in Redis ---


async def test_all_keys_go_when_nothing_is_published_any_more(server, history):
    epoch = (await Producer(history).publish()).epoch
    stream = f"test.history.{epoch}.system"
    found = {key: server.command("TTL", key) for key in keys(server)}
    [producer] = [key for key in found if key.startswith("test.history.producer.")]
    expected = [stream, f"{stream}.marks", f"{stream}.newest", f"{stream}.newest_stretches", producer]
    assert sorted(found) == sorted(["test.history", *expected])
    assert all(900 <= found[key] <= 960 for key in expected)
    assert 29 * 86_400 < found["test.history"] <= 30 * 86_400


async def test_the_newest_of_a_source_has_its_own_runs_and_no_others(history):
    await history.set_active_runs([ActiveRun("r")])
    await Producer(history).send([metric(0, source="a"), metric(1, source="b")])
    assert [batch.runs for batch in await history.newest(["system"])] == [{"a": ("r",)}, {"b": ("r",)}]


async def test_active_runs_stay_until_they_are_set_again(server, history):
    await history.set_active_runs([ActiveRun("r")])
    assert server.command("TTL", "test.history.runs") == -1
    await history.set_active_runs([])
    assert not keys(server)


async def test_all_that_is_kept_beside_the_stretches_is_bounded(server):
    history = redis_history(server.url, Bounds(900.0, 200, 100_000_000), prefix="test")
    producer = Producer(history)
    for number in range(1_000):
        epoch = (await producer.send([metric(number, source=f"pod-{number}")])).epoch
    stream = f"test.history.{epoch}.system"
    assert 190 <= server.command("XLEN", stream) <= 200
    assert server.command("ZCARD", f"{stream}.newest") == server.command("XLEN", stream)
    assert server.command("HLEN", f"{stream}.newest_stretches") == server.command("XLEN", stream)
    assert server.command("ZCARD", f"{stream}.marks") <= 70
    await history.close()


# --- loops, threads, processes ---


async def test_many_who_read_at_once_share_few_connections(server, history):
    await Producer(history).publish()
    position = await start(history)
    pages = await asyncio.gather(*(history.since(position) for _ in range(200)))
    assert all(timestamps(page.batches) == [0] for page in pages)
    assert len(server.command("CLIENT", "LIST").splitlines()) <= MAX_QUESTIONS_AT_ONCE + 1


async def test_loops_of_threads_have_connections_of_their_own_that_end_with_them(server, history):
    await start(history)
    before = len(server.command("CLIENT", "LIST").splitlines())

    def publish() -> None:
        asyncio.run(Producer(history).publish(2))
        # Plain code makes such loops, and closes them without another word.
        loop = asyncio.new_event_loop()
        loop.run_until_complete(Producer(history, "hero").publish())
        loop.close()

    threads = [threading.Thread(target=publish) for _ in range(8)]
    for thread in threads:
        thread.start()
    await asyncio.to_thread(lambda: [thread.join() for thread in threads])
    assert (await history.heads(["system", "hero"])).offsets == {"system": 16, "hero": 8}

    async def are_gone() -> bool:
        return len(server.command("CLIENT", "LIST").splitlines()) == before

    await eventually(are_gone, 5)


async def test_it_can_be_used_again_after_it_was_closed(history):
    await Producer(history).publish()
    await history.close()
    await history.close()
    assert (await history.heads(["system"])).offsets == {"system": 1}


async def test_processes_see_one_order_and_prefixes_do_not_see_each_other(server, history):
    same, other = redis_history(server.url, prefix="test"), redis_history(server.url, prefix="test2")
    first, second = Producer(history), Producer(same)
    for _ in range(3):
        await first.publish()
        await second.publish(2)
    [page] = await read(same, await start(history))
    assert [len(batch.metrics) for batch in page.batches] == [1, 2] * 3
    assert (await other.heads(["system"])).offsets == {"system": 0}
    await same.close()
    await other.close()


PROGRAM = """
import asyncio, os, sys, msgspec
import django; django.setup()
from metrics_stream.conf import get_settings
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.history import open_history

history = open_history(get_settings())

async def publish(number, producer="main"):
    batch = [Metric("system", "host", 1.0, (), b'{"n":1}')]
    payload = msgspec.msgpack.encode(batch)
    return await history.append(batch, payload=payload, producer=f"{producer}-{os.getpid()}", number=number, known=None)
"""

FORK = """
async def main():
    await publish(1)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            import threading
            done = []
            thread = threading.Thread(target=lambda: done.append(asyncio.run(publish(1))))
            thread.start()
            thread.join()
            code = 0 if done[0].first == 1 else 2
        finally:
            os._exit(code)
    _, status = await asyncio.to_thread(os.waitpid, child, 0)
    assert status == 0, status
    assert (await publish(2)).first == 2

asyncio.run(main())
"""

GEVENT = """
import gevent, time
from metrics_stream.native_threads import NativeThread, prepare, wait_until

prepare()
places = []

def target(thread, loop):
    for number in range(200):
        places.append(loop.run_until_complete(publish(number, producer=str(id(thread)))).first)

ticks = 0
def tick():
    global ticks
    while True:
        gevent.sleep(0.001)
        ticks += 1

gevent.spawn(tick)
threads = [NativeThread(target, "a"), NativeThread(target, "b")]
"""


def run_program(code: str, url: str) -> None:
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "project.settings",
        "SECRET_KEY": "only-for-tests",
        "REDIS_URL": url,
        "DATABASE_URL": "sqlite://:memory:",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", textwrap.dedent(code)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


async def test_parent_and_forked_child_go_on_each_with_connections_of_its_own(server):
    await asyncio.to_thread(run_program, PROGRAM + FORK, server.url)


async def test_native_threads_of_a_program_that_gevent_has_patched(server):
    code = "from gevent import monkey; monkey.patch_all()\n" + PROGRAM + GEVENT
    code += "assert wait_until(lambda: all(thread.ended for thread in threads), 30)\n"
    code += "assert sorted(places) == [*range(400)], places\nassert ticks > 10, ticks\n"
    await asyncio.to_thread(run_program, code, server.url)


async def test_what_cannot_be_read_is_lost_and_hides_nothing_beside_it(history, caplog):
    producer, other = Producer(history), Producer(history, "hero")
    before = await start(history, "system", "hero")
    await producer.publish(2)
    foreign = producer.metrics(1)
    await history.append(
        foreign,
        payload=msgspec.msgpack.encode([{"not": "a metric"}]),
        producer="of another version",
        number=1,
        known=None,
    )
    await producer.publish(2)
    await other.publish(1)
    (page,) = await read(history, before)
    assert timestamps(page.batches) == [0, 1, 3, 4, 0]
    assert page.lost == {"system": None}
    assert page.position.offsets == {"system": 5, "hero": 1}
    assert "a stretch of system in the history cannot be read" in caplog.text
    assert timestamps(await history.newest(["system", "hero"])) == [4, 0]
