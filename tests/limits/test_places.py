"""The places of clients count for all server processes, and come free however a process ends."""

import asyncio
import contextlib
import signal

import pytest
import pytest_asyncio
import redis

from metrics_stream.conf import get_settings
from metrics_stream.limits import places as places_module
from metrics_stream.limits import shared
from metrics_stream.limits.places import Places
from tests.support.redis_faults import layer_at
from tests.support.redis_process import RedisProcess
from tests.support.stack import eventually

pytestmark = pytest.mark.valkey

USER = {"user 1": 3}


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(places_module, "RENEW_SECONDS", 0.05)
    monkeypatch.setattr(places_module, "GATHER_SECONDS", 0.01)
    monkeypatch.setattr(places_module, "HOLD_SECONDS", 2)
    monkeypatch.setattr(shared, "PAUSE_SECONDS", 0.05)


@pytest_asyncio.fixture
async def make_process(quick, settings, valkey_url):
    """Return a function that starts a server process's places, and one that kills it."""
    settings.CHANNEL_LAYERS = layer_at(valkey_url)
    settings.METRICS_STREAM = {"GROUP_PREFIX": "places"}
    running = {}

    async def start() -> Places:
        places = Places(get_settings())
        running[places] = asyncio.create_task(places.run())
        return places

    yield start, running
    for places, task in running.items():
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await places._leave()


async def test_places_count_for_others_after_the_list_of_processes_has_expired(make_process, valkey_url):
    start, _ = make_process
    one, two = await start(), await start()
    assert await one.take({"user 1": 1}) is None
    with redis.Redis.from_url(valkey_url) as server:
        server.delete("places.limits.places")
        await eventually(lambda: server.exists("places.limits.places"), 5)
        assert server.ttl("places.limits.places") > 0
    assert await two.take({"user 1": 1}) == "user 1"


async def test_processes_share_the_places_of_an_owner(make_process):
    start, _ = make_process
    one, two = await start(), await start()
    taken = [await one.take(USER), await two.take(USER), await one.take(USER), await two.take(USER)]
    assert taken == [None, None, None, "user 1"]
    assert await two.take({"user 2": 1}) is None
    one.give_back("user 1")
    await eventually(lambda: is_free(two, USER), 2)


async def is_free(places: Places, limits) -> bool:
    return await places.take(limits) is None


async def test_all_places_are_taken_or_none(make_process):
    start, _ = make_process
    one, two = await start(), await start()
    assert await one.take({"address a": 1}) is None
    assert await two.take({"user 1": 1, "address a": 1}) == "address a"
    assert two.count("user 1") == 0
    assert await one.take({"user 1": 1}) is None


async def test_many_at_once_are_counted_exactly(make_process):
    start, _ = make_process
    processes = [await start() for _ in range(3)]
    limit = {"user 1": 20}
    answers = await asyncio.gather(*(processes[number % 3].take(limit) for number in range(60)))
    assert answers.count(None) == 20


async def test_the_places_of_a_killed_process_come_free(make_process):
    start, running = make_process
    one, two = await start(), await start()
    for _ in range(3):
        assert await one.take(USER) is None
    # As after a SIGKILL: nothing renews them, and nobody gives them back.
    running[one].cancel()
    one._client, client = None, one._client
    with contextlib.suppress(asyncio.CancelledError):
        await running[one]
    await client.aclose(close_connection_pool=True)
    assert await two.take(USER) == "user 1"
    await eventually(lambda: is_free(two, USER), 5)


async def test_places_are_renewed_also_in_a_redis_that_was_emptied(quick, settings, tmp_path, caplog):
    with RedisProcess(tmp_path) as server:
        settings.CHANNEL_LAYERS = layer_at(server.url)
        one, two = Places(get_settings()), Places(get_settings())
        tasks = [asyncio.create_task(each.run()) for each in (one, two)]
        for _ in range(3):
            assert await one.take(USER) is None
        await asyncio.to_thread(server.kill)
        # Alone now, each process has the whole limit.
        assert await two.take(USER) is None
        await asyncio.to_thread(server.start)
        await eventually(lambda: server.command("HGET", one._own_key, "user 1") == b"3", 5)
        await eventually(lambda: server.command("HGET", two._own_key, "user 1") == b"1", 5)
        assert await two.take(USER) == "user 1"
        for each, task in zip((one, two), tasks, strict=True):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await each._leave()
        assert server.command("KEYS", "metrics_stream.limits.places.*") == []
    said = [record.getMessage() for record in caplog.records if "limits hold" in record.getMessage()]
    assert len(said) == 2, said


async def test_what_changes_while_redis_hangs_is_written_afterwards(quick, settings, tmp_path):
    with RedisProcess(tmp_path) as server:
        settings.CHANNEL_LAYERS = layer_at(server.url)
        places = Places(get_settings())
        task = asyncio.create_task(places.run())
        for _ in range(2):
            assert await places.take(USER) is None
        server.signal(signal.SIGSTOP)
        places.give_back("user 1")
        assert await places.take({"user 2": 3}) is None
        server.signal(signal.SIGCONT)
        await eventually(lambda: server.command("HMGET", places._own_key, "user 1", "user 2") == [b"1", b"1"], 5)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_without_redis_a_process_counts_alone(settings):
    one = Places(get_settings())
    assert [await one.take(USER) for _ in range(4)] == [None, None, None, "user 1"]
    one.give_back("user 1")
    assert await one.take(USER) is None
