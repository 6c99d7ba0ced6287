"""The history in Redis where things go wrong, and what it leaves there."""

import asyncio
import signal
import time

import msgspec
import pytest
import redis

from metrics_stream.core.errors import BusError
from metrics_stream.core.protocol.positions import Position
from metrics_stream.history import ActiveRun, Bounds, Page
from metrics_stream.history.accepted import LostItem
from metrics_stream.history.redis import RedisHistory
from tests.support.history import Producer, metric, read, redis_history, start, timestamps
from tests.support.redis_process import RedisProcess

pytestmark = pytest.mark.valkey


@pytest.fixture
def history(history_on_server: RedisHistory) -> RedisHistory:
    return history_on_server


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
    assert (placed.first, placed.epoch > old.epoch, placed.runs) == (0, True, None)
    page = await history.since(Position(old.epoch, {"system": 2}))
    assert (timestamps(page.batches), page.lost) == ([4], {"system": None})


async def test_the_next_producer_in_a_new_redis_reports_what_was_lost_with_the_old(server, history):
    producer = Producer(history)
    await history.set_active_runs([ActiveRun("r")])
    lost = [producer.metrics(3), producer.metrics(2)]
    old = [await producer.send(batch) for batch in lost]
    # Only of the second was its producer told that it is accepted.
    history.note_accepted(lost[1], old[1])
    server.kill()
    server.start()
    assert await history.lost_reports() == []
    await producer.publish()
    [report] = await history.lost_reports()
    assert (report.epoch, report.items) == (
        old[0].epoch,
        [LostItem("system", "host", ("r",), int(old[1].published_at), [(3, 2)])],
    )
    assert 0 < server.command("TTL", "test.history.lost") <= 3600
    await history.drop_lost_reports([report])
    await producer.publish()
    assert await history.lost_reports() == []


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
    # Redis has executed the abandoned calls by now, before or after the last one.
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
    await history.set_active_runs([ActiveRun("r")])
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
    assert await history.active_runs() is None, "those of the copy may be over"
    # The recorder has a minute to read the rest of the old epoch.
    left = keys(server, f"*{old.epoch}*")
    assert {name.rpartition(".")[2] for name in left} == {"system", "marks"}
    assert all(0 < server.command("TTL", name) <= 60 for name in left)
    page = await history.since(Position(old.epoch, {"system": 0, "hero": 0}), is_past=True)
    assert (timestamps(page.batches), page.lost, page.is_last) == ([0], {}, True)
    assert page.position == Position(old.epoch, {"system": 1, "hero": 0})
    beyond = Position(old.epoch, {"system": 3})
    assert await history.since(beyond, is_past=True) == Page([], beyond, True, {})
    # An older copy is behind, too, although the position in its own epoch is not.
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
    # As if the clock had been an hour ahead.
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
    assert "a batch of system in the history cannot be decoded" in caplog.text
    assert timestamps(await history.newest(["system", "hero"])) == [4, 0]


# --- what it leaves in Redis ---


async def test_all_keys_go_when_nothing_is_published_any_more(server, history):
    epoch = (await Producer(history).publish()).epoch
    stream = f"test.history.{epoch}.system"
    found = {key: server.command("TTL", key) for key in keys(server)}
    [producer] = [key for key in found if key.startswith("test.history.producer.")]
    [share] = [key for key in found if key.startswith(f"{stream}.newest.")]
    newest = [f"{stream}.newest", *(f"{stream}.newest_{part}" for part in ("stretches", "shares", "bytes"))]
    [program] = [key for key in found if key.startswith("test.history.process.")]
    expected = [stream, f"{stream}.marks", *newest, share, producer, program]
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
    assert server.command("TTL", "test.history.runs") == -1


async def test_all_that_is_kept_beside_the_batches_is_bounded(server):
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
