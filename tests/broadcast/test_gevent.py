"""`Broadcaster` in real programs that gevent has patched: their metrics arrive, and nothing blocks."""

import asyncio
import json
import os
import signal
import sys
import textwrap

import pytest

from metrics_stream.conf import get_settings
from metrics_stream.history import open_history
from tests.support.listener import Listener
from tests.support.redis_process import RedisProcess
from tests.support.stack import ROOT

pytestmark = pytest.mark.valkey

PATCH = "from gevent import monkey; monkey.patch_all()\n"
DJANGO = "import django; django.setup()\n"
HELPER = "from metrics_stream.broadcast import Broadcaster, BroadcastError\n"
TOOLS = """
import gevent, json, os, sys, time

class Ticker:
    # Counts the turns of the hub of gevent while other work goes on.
    def __enter__(self):
        self.ticks, self.began_at = 0, time.monotonic()
        self.greenlet = gevent.spawn(self.run)
        return self

    def run(self):
        while True:
            gevent.sleep(0.01)
            self.ticks += 1

    def __exit__(self, *_):
        self.greenlet.kill()
        self.seconds = time.monotonic() - self.began_at
        # A hundred turns per second are due. A busy machine loses some of them, a blocked hub nearly all.
        assert self.ticks > 5 * self.seconds, f"{self.ticks} ticks in {self.seconds} s"
"""


class Program:
    """A patched program that runs; at its end, it must have succeeded."""

    def __init__(self, code, url, *, start=PATCH + DJANGO + HELPER):
        self.code = start + TOOLS + textwrap.dedent(code)
        self.environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "project.settings",
            "SECRET_KEY": "only-for-tests",
            "REDIS_URL": url,
            "DATABASE_URL": "sqlite://:memory:",
            "PYTHONPATH": str(ROOT),
        }

    async def __aenter__(self):
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", self.code),
            cwd=ROOT,
            env=self.environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        return self

    async def line(self):
        """Return the next line that the program prints."""
        return (await asyncio.wait_for(self.process.stdout.readline(), 60)).decode().strip()

    async def __aexit__(self, kind, *_):
        try:
            if kind is None:
                out, err = await asyncio.wait_for(self.process.communicate(), 60)
                self.out, self.log = out.decode(), err.decode()
                assert self.process.returncode == 0, self.log
        finally:
            if self.process.returncode is None:
                self.process.kill()
                print((await self.process.communicate())[1].decode())


async def run(code, url, **options):
    """Run a program to its end and return it."""
    async with Program(code, url, **options) as program:
        pass
    return program


def numbers(bodies, source):
    return [body["data"]["n"] for body in bodies if body["source"] == source]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_fifty_greenlets_publish_and_none_waits(valkey_layer, host):
    code = """
        def produce(number):
            for n in range(40):
                stream.broadcast_system_metrics({"n": n}, source=f"greenlet-{number}")
                gevent.sleep(0.02)

        with Ticker(), Broadcaster() as stream:
            gevent.joinall([gevent.spawn(produce, number) for number in range(50)], raise_error=True)
            assert stream.flush()
        assert (stream.published, stream.dropped, stream.queued, stream.last_error) == (2000, 0, 0, None)
    """
    async with Listener() as listener, Program(code, valkey_layer.replace("127.0.0.1", host)):
        bodies = await listener.bodies(2000)
    for number in range(50):
        assert numbers(bodies, f"greenlet-{number}") == list(range(40))


async def test_other_greenlets_still_run_asyncio_and_the_orm(valkey_layer):
    code = """
        import asyncio
        from django.db import connection

        def consume():
            for _ in range(50):
                with connection.cursor() as cursor:
                    cursor.execute("SELECT 1")
                asyncio.run(asyncio.sleep(0.001))

        with Ticker(), Broadcaster(source="beside") as stream:
            consumers = [gevent.spawn(consume)]
            for n in range(100):
                stream.broadcast_system_metrics({"n": n})
                gevent.sleep(0.01)
            gevent.joinall(consumers, raise_error=True)
    """
    async with Listener() as listener, Program(code, valkey_layer):
        assert numbers(await listener.bodies(100), "beside") == list(range(100))


async def test_native_threads_of_a_patched_program_publish_too(valkey_layer):
    code = """
        def produce(number):
            for n in range(100):
                stream.broadcast_system_metrics({"n": n}, source=f"thread-{number}")
            assert stream.flush()

        with Broadcaster() as stream:
            for work in [gevent.get_hub().threadpool.spawn(produce, number) for number in range(4)]:
                work.get()
    """
    async with Listener() as listener, Program(code, valkey_layer):
        bodies = await listener.bodies(400)
    for number in range(4):
        assert numbers(bodies, f"thread-{number}") == list(range(100))


@pytest.mark.parametrize(
    "start",
    [DJANGO + HELPER + PATCH, PATCH + HELPER + DJANGO, DJANGO + HELPER + PATCH.replace("all()", "all(thread=False)")],
    ids=["patched later", "imported before Django is set up", "threads left alone"],
)
async def test_the_order_of_imports_does_not_matter(valkey_layer, start):
    code = """
        with Broadcaster(source="later") as stream:
            for n in range(100):
                stream.broadcast_system_metrics({"n": n})
    """
    async with Listener() as listener, Program(code, valkey_layer.replace("127.0.0.1", "localhost"), start=start):
        assert numbers(await listener.bodies(100), "later") == list(range(100))


async def test_a_program_that_is_patched_while_it_publishes_is_told(valkey_layer):
    code = """
        stream = Broadcaster()
        stream.broadcast_system_metrics({"n": 1})
        assert stream.flush()
        from gevent import monkey; monkey.patch_all()
        try:
            stream.broadcast_system_metrics({"n": 2})
        except BroadcastError as error:
            print(error)
        assert stream.close()
    """
    program = await run(code, valkey_layer, start=DJANGO + HELPER)
    assert "call monkey.patch_all() before" in program.out


async def test_a_patched_program_without_uvloop_gets_an_error(valkey_layer):
    code = """
        sys.modules["uvloop"] = None
        try:
            Broadcaster()
        except BroadcastError as error:
            print(error)
    """
    assert "pip install uvloop" in (await run(code, valkey_layer)).out


async def test_waiting_in_a_greenlet_stops_no_other(unused_tcp_port):
    code = """
        stream = Broadcaster()
        stream.broadcast_system_metrics({"n": 1})
        with Ticker():
            waiting = [gevent.spawn(stream.flush, 0.5), gevent.spawn(stream.flush, 0.5)]
            gevent.joinall(waiting, raise_error=True)
            assert [greenlet.value for greenlet in waiting] == [False, False]
            assert gevent.spawn(stream.close, 0.5).get() is False
        assert (stream.published, stream.dropped) == (0, 1), (stream.published, stream.dropped)
    """
    program = await run(code, f"redis://127.0.0.1:{unused_tcp_port}")
    assert "1 metrics were not published: the channel layer could not" in program.log


@pytest.fixture
def redis(tmp_path):
    with RedisProcess(tmp_path) as process:
        yield process


async def test_an_outage_costs_what_the_queue_cannot_hold_and_is_reported(redis, settings):
    code = """
        stream = Broadcaster(source="outage", max_queued=50)
        stream.broadcast_system_metrics({"n": 0})
        assert stream.flush()
        print("published", flush=True)
        sys.stdin.readline()
        with Ticker():
            stream.broadcast_system_metrics({"n": 1})
            while stream.last_error is None:
                gevent.sleep(0.01)
            for n in range(2, 102):
                stream.broadcast_system_metrics({"n": n})
            print("waiting", flush=True)
            assert not stream.flush(20)  # the queue could not hold all of them
        assert (stream.published, stream.dropped, stream.last_error) == (51, 51, None)
    """
    async with Program(code, redis.url) as program:
        assert await program.line() == "published"
        redis.kill()
        program.process.stdin.write(b"killed\n")
        assert await program.line() == "waiting"
        # The program waits, so that the listener subscribes first.
        program.process.send_signal(signal.SIGSTOP)
        await asyncio.to_thread(redis.start)
        settings.CHANNEL_LAYERS = {
            "default": {
                "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
                "CONFIG": {"hosts": [redis.url]},
            }
        }
        async with Listener() as listener:
            program.process.send_signal(signal.SIGCONT)
            assert numbers(await listener.bodies(50), "outage") == [1, *range(53, 102)]
    assert program.log.count("metrics wait to be published: the channel layer could not") == 1
    assert program.log.count("metrics are published again") == 1
    assert "50 waited, 51 were dropped meanwhile" in program.log


async def test_the_log_is_written_in_the_thread_of_the_greenlets(unused_tcp_port):
    # A native thread and greenlets that wait for the lock of one handler can block each other for ever.
    code = """
        import logging
        seen = []
        native_ident = monkey.get_original("_thread", "get_ident")

        class Handler(logging.Handler):
            def emit(self, record):
                seen.append((record.getMessage(), native_ident() == main))

        main = native_ident()
        logging.getLogger("metrics_stream").handlers = [Handler()]
        stream = Broadcaster()
        stream.broadcast_system_metrics({"n": 1})
        while not seen:
            gevent.sleep(0.01)
        print(json.dumps(seen))
        stream.close(0.1)
    """
    [[message, in_main]] = json.loads((await run(code, f"redis://127.0.0.1:{unused_tcp_port}")).out)
    assert message.startswith("metrics wait to be published")
    assert in_main


async def test_a_program_that_ends_without_closing_has_published(valkey_layer):
    code = """
        stream = Broadcaster(source="exit")
        for n in range(100):
            stream.broadcast_system_metrics({"n": n})
    """
    async with Listener() as listener, Program(code, valkey_layer):
        assert numbers(await listener.bodies(100), "exit") == list(range(100))


async def test_a_forked_child_of_a_patched_program_publishes_its_own(valkey_layer):
    code = """
        with Broadcaster(source="parent") as stream:
            stream.broadcast_system_metrics({"n": 0})
            assert stream.flush()
            child = os.fork()
            if child == 0:
                stream.broadcast_system_metrics({"n": 1}, source="child")
                os._exit(0 if stream.close() and stream.published == 1 else 1)
            assert os.waitpid(child, 0)[1] == 0
            stream.broadcast_system_metrics({"n": 2})
    """
    async with Listener() as listener, Program(code, valkey_layer):
        bodies = await listener.bodies(3)
    assert [(body["source"], body["data"]["n"]) for body in bodies] == [("parent", 0), ("child", 1), ("parent", 2)]


async def test_a_test_run_of_a_patched_program(valkey_layer, tmp_path):
    code = """
        from django.core.management import call_command
        from metrics_stream.broadcast import stress_test_run
        from metrics_stream.models import TestRun

        call_command("migrate", verbosity=0)

        def produce(number):
            with stress_test_run(f"greenlet {number}", sources=["gevent"]) as run:
                stream.broadcast_system_metrics({"n": number}, source="gevent")
                gevent.sleep(0.2)
                assert stream.published > 0
                return run.slug

        def run_for_good():
            with stress_test_run("killed"):
                gevent.sleep(60)

        with Ticker(), Broadcaster() as stream:
            killed = gevent.spawn(run_for_good)
            greenlets = [gevent.spawn(produce, number) for number in range(3)]
            gevent.joinall(greenlets, raise_error=True)
            killed.kill()
            killed.join()
        runs = {run.name: run.status for run in TestRun.objects.all()}
        assert runs == {**{f"greenlet {number}": "completed" for number in range(3)}, "killed": "cancelled"}, runs
        assert {greenlet.value for greenlet in greenlets} < set(TestRun.objects.values_list("slug", flat=True))
    """
    program = Program(code, valkey_layer)
    program.environment["DATABASE_URL"] = f"sqlite:///{tmp_path / 'db.sqlite3'}"
    history = open_history(get_settings())
    place = await history.heads(["system"])
    async with program:
        pass
    published = (await history.since(place)).batches
    assert sum(len(batch.metrics) for batch in published) == 3
    assert {run.split("-20")[0] for batch in published for run in batch.runs["gevent"]} == {
        *("greenlet-0", "greenlet-1", "greenlet-2")
    }
    assert await history.active_runs() == ()
    assert "not assigned" not in program.log
