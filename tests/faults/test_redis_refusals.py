"""Redis refuses, is replaced by its replica, or forbids something: a server says so once, and nothing kept is lost."""

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from tests.support.control import Control, Producer
from tests.support.redis_process import RedisProcess
from tests.support.stack import ROOT, eventually

pytestmark = pytest.mark.valkey


@pytest.fixture
def own_redis(tmp_path) -> Iterator[RedisProcess]:
    """A Redis that no other test uses."""
    with RedisProcess(tmp_path) as running:
        yield running


def readiness(stack):
    """Return status and content of /readyz."""
    try:
        with urllib.request.urlopen(f"{stack.url}/readyz", timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


async def has_fault(stack, kind):
    status, answer = await asyncio.to_thread(readiness, stack)
    return status == 503 and kind in [fault["fault"] for fault in answer["faults"]]


async def is_whole(stack):
    _, answer = await asyncio.to_thread(readiness, stack)
    return answer["checks"]["channel layer"] == "ok"


def lines_about(stack, kind):
    return [line for line in stack.log.read_text().splitlines() if f"fault {kind} " in line]


@pytest.mark.faults
async def test_a_redis_without_memory_is_told_and_what_producers_keep_arrives(own_redis, make_stack):
    stack = await asyncio.to_thread(make_stack, redis_url=own_redis.url)
    with Producer(stack):
        async with Control(stack) as control:
            await control.catches_up()
            await asyncio.to_thread(own_redis.command, "CONFIG", "SET", "maxmemory", "1")
            await eventually(lambda: has_fault(stack, "publishing"), 10, every_seconds=0.2)
            assert "no memory left" in str(readiness(stack)[1]["checks"]["channel layer"])
            await asyncio.sleep(5)
            await asyncio.to_thread(own_redis.command, "CONFIG", "SET", "maxmemory", "0")
            await eventually(lambda: is_whole(stack), 20, every_seconds=0.2)
            await control.assert_losses_announced(15)
            assert control.missing == 0
    assert len(lines_about(stack, "publishing")) == 2


@pytest.mark.faults
async def test_a_redis_that_forbids_scripts_is_told_before_anybody_connects_and_a_neighbour_goes_on(
    own_redis, make_stack
):
    own_redis.command("ACL", "SETUSER", "default", "-@scripting")
    own_redis.command("ACL", "SETUSER", "neighbour", "on", "nopass", "~*", "&*", "+@all")
    neighbour = await asyncio.to_thread(make_stack, redis_url=own_redis.url.replace("//", "//neighbour:any@"))
    with Producer(neighbour):
        async with Control(neighbour) as control:
            await control.catches_up()
            stack = await asyncio.to_thread(make_stack, redis_url=own_redis.url)
            await eventually(lambda: has_fault(stack, "redis"), 10, every_seconds=0.2)
            assert "Redis forbids the command EVAL, the command EVALSHA" in lines_about(stack, "redis")[0]
            async with Control(stack) as viewer:
                await eventually(lambda: [bus for _, bus in viewer.statuses] == ["stale"], 10)
                await asyncio.to_thread(own_redis.command, "ACL", "SETUSER", "default", "+@scripting")
                await eventually(lambda: [bus for _, bus in viewer.statuses] == ["stale", "live"], 20)
                with Producer(stack):
                    await viewer.assert_losses_announced(15)
            assert len(lines_about(stack, "redis")) == 2
            await control.assert_undisturbed()
    assert lines_about(neighbour, "redis") == []


# In each process that Python starts with this folder in its path, the name leads to the address in a file.
SITECUSTOMIZE = """
import os, pathlib, socket, sys
sys.modules["uvloop"] = None  # It looks names up without Python.
resolve = socket.getaddrinfo
def look_up(host, *args, **options):
    if host == "redis.example.test":
        host = pathlib.Path(os.environ["REDIS_ADDRESS_FILE"]).read_text()
    return resolve(host, *args, **options)
socket.getaddrinfo = look_up
"""


@pytest.mark.faults
async def test_a_master_that_is_replaced_under_its_name_loses_nothing(tmp_path, monkeypatch, make_stack):
    (tmp_path / "sitecustomize.py").write_text(SITECUSTOMIZE)
    address = tmp_path / "address"
    with RedisProcess(tmp_path) as master, RedisProcess(tmp_path, host="127.0.0.2", port=master.port) as replica:
        address.write_text(master.host)
        replica.command("REPLICAOF", master.host, str(master.port))
        await eventually(lambda: replica.command("INFO", "replication")["master_link_status"] == "up", 10)
        monkeypatch.setenv("REDIS_ADDRESS_FILE", str(address))
        stack = await asyncio.to_thread(
            make_stack,
            redis_url=f"redis://redis.example.test:{master.port}/0",
            python_path=f"{tmp_path}:{ROOT}",
        )
        with Producer(stack, per_second=100):
            async with Control(stack) as control:
                await control.catches_up()
                await asyncio.to_thread(master.command, "CLIENT", "PAUSE", "1000", "WRITE")
                await asyncio.sleep(0.3)
                await asyncio.to_thread(replica.command, "REPLICAOF", "NO", "ONE")
                await asyncio.to_thread(master.command, "REPLICAOF", replica.host, str(master.port))
                await eventually(lambda: control.statuses, 10)
                address.write_text(replica.host)
                await control.assert_losses_announced(20)
                assert control.missing == 0
                await eventually(lambda: is_whole(stack), 20, every_seconds=0.2)
    assert len(lines_about(stack, "publishing")) == 2
