"""The history in Redis when another Redis takes over, without the last metrics."""

import asyncio

import pytest
import pytest_asyncio

from metrics_stream.core.errors import BusError
from metrics_stream.core.protocol.positions import Position
from tests.support.history import Producer, redis_history
from tests.support.redis_process import RedisProcess
from tests.support.stack import eventually

pytestmark = pytest.mark.valkey


@pytest.fixture
def replica(server, tmp_path):
    """A Redis that was a replica of the server until now, and may take over its address."""
    (tmp_path / "replica").mkdir()
    with RedisProcess(tmp_path / "replica") as running:
        yield running


async def copy(server: RedisProcess, replica: RedisProcess) -> None:
    """Copy what the server has now."""
    replica.command("REPLICAOF", server.host, str(server.port))
    await eventually(lambda: replica.command("INFO", "replication")["master_link_status"] == "up", 10)
    await eventually(lambda: replica.command("DBSIZE") == server.command("DBSIZE"), 10)
    replica.command("REPLICAOF", "NO", "ONE")


@pytest.fixture
def no_doubt(monkeypatch):
    monkeypatch.setattr("metrics_stream.history.redis_node.DOUBT_SECONDS", 0.3)


async def append_until_taken(producer: Producer, batch) -> object:
    """Publish a batch as producers do, until the history takes it."""
    producer.number += 1
    for _ in range(100):
        try:
            return await producer.send(batch, number=producer.number)
        except BusError as error:
            assert "moved to another Redis" in str(error), error
            await asyncio.sleep(0.02)
    raise AssertionError("never taken")


@pytest_asyncio.fixture
async def programs(server):
    """Histories of three programs at a name that leads to the server, until `lead_to` changes it."""
    opened = [redis_history(server.url, prefix="test", timeout_seconds=2.0) for _ in range(3)]

    async def lead_to(replica: RedisProcess) -> None:
        for one in opened:
            await one.close()
            one._host["address"] = replica.url

    yield *opened, lead_to
    for one in opened:
        await one.close()


async def publish_and_copy(programs, server, replica):
    """Publish by two programs what the replica gets, too; return their producers, and where the first metric is."""
    first, second = Producer(programs[0]), Producer(programs[1])
    before = await first.publish()
    await second.publish()
    await copy(server, replica)
    return first, second, before


async def test_what_a_replica_lacks_is_noticed_though_others_append_before_its_producer(
    server, replica, programs, no_doubt
):
    one, _, _, lead_to = programs
    first, second, before = await publish_and_copy(programs, server, replica)
    lost = first.metrics(3)
    one.note_accepted(lost, await first.send(lost, number=2))
    server.kill()
    await lead_to(replica)
    # The producer that lost nothing comes first, and must not get the offsets of what is lost.
    with pytest.raises(BusError, match="moved to another Redis and waits for what its producers know"):
        await second.publish(5)
    first.number = 2
    place = await append_until_taken(first, first.metrics(1))
    assert place.epoch > before.epoch
    [report] = await one.lost_reports()
    assert report.epoch == before.epoch
    assert [item.counts for item in report.items] == [[(2, 3)]]
    assert (await second.publish(5)).epoch == place.epoch


async def test_a_replica_that_lacks_nothing_continues_the_epoch(server, replica, programs, no_doubt):
    lead_to = programs[-1]
    first, second, before = await publish_and_copy(programs, server, replica)
    server.kill()
    await lead_to(replica)
    places = [await append_until_taken(producer, producer.metrics(1)) for producer in (second, first)]
    assert [(place.epoch, place.first) for place in places] == [(before.epoch, 2), (before.epoch, 3)]


async def test_what_a_reader_has_seen_and_a_replica_lacks_begins_a_new_epoch(server, replica, programs, no_doubt):
    one, two, three, lead_to = programs
    await Producer(one).publish()
    await copy(server, replica)
    await Producer(one).publish()
    seen = await three.heads(["system"])
    server.kill()
    await lead_to(replica)
    await three.confirm(Position(seen.epoch, {"system": 1}))
    assert (await three.heads(["system"])).epoch == seen.epoch
    await three.confirm(seen)
    assert (await three.heads(["system"])).epoch > seen.epoch
    assert (await Producer(two).publish()).first == 0


async def test_a_user_who_may_not_ask_for_the_id_of_redis_has_a_history_all_the_same(server, tmp_path):
    server.command("ACL", "SETUSER", "least", "on", ">pw", "~*", "&*", "+@all", "-info")
    history = redis_history(server.url.replace("//", "//least:pw@"), prefix="test")
    assert (await Producer(history).publish()).first == 0
    await history.close()
