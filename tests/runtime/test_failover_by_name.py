"""A Redis that is replaced by its replica while connections to it stay open: only its name leads to the new master."""

import asyncio
import socket

import pytest

from metrics_stream.broadcast import Broadcaster
from metrics_stream.observation.faults import of_process as faults
from metrics_stream.runtime.runtime import get_runtime
from tests.support.redis_faults import hurry, told, viewer_on
from tests.support.redis_process import RedisProcess
from tests.support.stack import eventually

NAME = "redis.example.test"


@pytest.fixture
def name(monkeypatch):
    """Make a name whose address a test can change; return a dict with the address."""
    address = {"host": ""}
    resolve = socket.getaddrinfo

    def look_up(host, *args, **options):
        return resolve(address["host"] if host == NAME else host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return address


@pytest.fixture
def nodes(tmp_path):
    """Start a master and its replica on the same port of two addresses."""
    with RedisProcess(tmp_path) as master, RedisProcess(tmp_path, host="127.0.0.2", port=master.port) as replica:
        replica.command("REPLICAOF", master.host, str(master.port))
        yield master, replica


@pytest.mark.valkey
async def test_everything_moves_to_the_new_master_and_nothing_is_lost(settings, monkeypatch, caplog, name, nodes):
    hurry(monkeypatch)
    master, replica = nodes
    name["host"] = master.host
    await eventually(lambda: replica.command("INFO", "replication")["master_link_status"] == "up", 10)
    url = f"redis://{NAME}:{master.port}/0"
    async with viewer_on(settings, url, "system") as viewer:
        await get_runtime().membership.wait_joined(("system",))
        with Broadcaster(source="producer") as stream:
            stream.broadcast_system_metrics({"n": 0})
            await eventually(lambda: viewer.metrics == [{"n": 0}], 5)
            await asyncio.to_thread(demote, master, replica)
            for number in range(1, 40):
                stream.broadcast_system_metrics({"n": number})
            await eventually(lambda: viewer.statuses == ["stale"], 5)
            assert "replica" in " ".join(fault.message for fault in faults.current())
            name["host"] = replica.host
            await eventually(lambda: viewer.metrics == [{"n": number} for number in range(40)], 15)
            assert await asyncio.to_thread(stream.flush, 10)
        await eventually(lambda: viewer.statuses == ["stale", "live"] and not faults.current(), 10)
        assert not [frame for frame in viewer.seen if frame["type"] == "gap"]
        # Nothing of this process is left on the old one, although it still answers.
        await eventually(lambda: clients_of(master) == 0, 5)
        assert len(told(caplog, "publishing")) == 2
        assert get_runtime().bus_watch.find_problem() is None


def demote(master, replica):
    """Promote the replica when it has everything, and make the master its replica; connections stay open."""
    master.command("CLIENT", "PAUSE", "2000", "WRITE")
    offset = master.command("INFO", "replication")["master_repl_offset"]
    while replica.command("INFO", "replication")["slave_repl_offset"] < offset:
        pass
    replica.command("REPLICAOF", "NO", "ONE")
    master.command("REPLICAOF", replica.host, str(replica.port))
    master.command("CLIENT", "UNPAUSE")


def clients_of(node):
    """Return how many clients a node has, apart from replication and from the one that asks."""
    kinds = [node.command("CLIENT", "LIST", "TYPE", kind).splitlines() for kind in ("NORMAL", "PUBSUB")]
    return len([line for lines in kinds for line in lines if b"cmd=client" not in line])
