"""The history in Redis, used by several event loops, threads, processes and greenlets."""

import asyncio
import os
import subprocess
import sys
import textwrap
import threading

import pytest

from metrics_stream.history.redis import MAX_CALLS_AT_ONCE, RedisHistory
from tests.support.history import Producer, read, redis_history, start, timestamps
from tests.support.stack import ROOT, eventually

pytestmark = pytest.mark.valkey


@pytest.fixture
def history(history_on_server: RedisHistory) -> RedisHistory:
    return history_on_server


async def test_many_who_read_at_once_share_few_connections(server, history):
    await Producer(history).publish()
    position = await start(history)
    pages = await asyncio.gather(*(history.since(position) for _ in range(200)))
    assert all(timestamps(page.batches) == [0] for page in pages)
    assert len(server.command("CLIENT", "LIST").splitlines()) <= MAX_CALLS_AT_ONCE + 1


async def test_loops_of_threads_have_connections_of_their_own_that_end_with_them(server, history):
    await start(history)
    before = len(server.command("CLIENT", "LIST").splitlines())

    def publish() -> None:
        asyncio.run(Producer(history).publish(2))
        # Plain code makes such loops, and closes only the loop.
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
