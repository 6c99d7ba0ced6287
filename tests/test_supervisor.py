import asyncio
import contextlib
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import websockets

from tests.stack import Stack, eventually

CLIENTS = 6  # the kernel deals them out to the two workers


@pytest.fixture
def stack(valkey_url: str, tmp_path: Path) -> Iterator[Stack]:
    """A server of two workers that is not started yet."""
    stack = Stack(tmp_path, valkey_url, workers=2)
    yield stack
    stack.stop(signal.SIGKILL)


async def kill_supervisor(stack: Stack) -> list[psutil.Process]:
    """Kill it and return its two workers."""
    workers = [psutil.Process(pid) for pid in stack.worker_pids()]
    assert len(workers) == 2
    await asyncio.to_thread(stack.stop, signal.SIGKILL)
    return workers


async def end(workers: list[psutil.Process]) -> None:
    """Wait until all have ended of themselves; leave none behind in any case."""
    try:
        await eventually(lambda: not any(map(is_running, workers)), 30)
    finally:
        for worker in workers:
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.kill()


def is_running(process: psutil.Process) -> bool:
    """Return whether a process runs; one that has ended may wait in the table for a parent to look after it."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.valkey
async def test_workers_say_goodbye_and_end_when_their_supervisor_is_killed(stack):
    await asyncio.to_thread(stack.manage, "migrate", "--verbosity", "0")
    await asyncio.to_thread(stack.start)
    async with contextlib.AsyncExitStack() as clients:
        sockets = [await clients.enter_async_context(websockets.connect(stack.socket_url)) for _ in range(CLIENTS)]
        for socket in sockets:
            assert json.loads(await asyncio.wait_for(socket.recv(), 10))["type"] == "welcome"
        workers = await kill_supervisor(stack)
        try:
            for socket in sockets:
                assert json.loads(await asyncio.wait_for(socket.recv(), 10))["code"] == "going_away"
                with pytest.raises(websockets.ConnectionClosed) as closed:
                    await asyncio.wait_for(socket.recv(), 10)
                assert closed.value.rcvd.code == 4001
        finally:
            await end(workers)
    assert "Traceback" not in stack.log.read_text()


@pytest.mark.valkey
async def test_workers_end_whose_supervisor_is_killed_before_they_serve(stack):
    await asyncio.to_thread(stack.launch)
    await eventually(lambda: len(stack.worker_pids()) == 2, 30)
    await end(await kill_supervisor(stack))
