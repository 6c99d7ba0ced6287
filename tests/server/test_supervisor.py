import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import websockets
from uvicorn.supervisors import multiprocess

from metrics_stream.server.supervisor import Supervisor, WorkerConfig
from tests.support.stack import Stack, eventually

CLIENTS = 6  # the kernel distributes them to the two workers


async def application(*_: object) -> None:
    """Serve nothing: no request comes."""


class DiesWhenAsked(multiprocess.Process):
    """A worker that dies after the supervisor's ping, before it answers."""

    def pong(self) -> None:
        self.child_conn.recv()
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def own_signals() -> Iterator[None]:
    """Restore the signal handlers, which a supervisor replaces."""
    handlers = {number: signal.getsignal(number) for number in multiprocess.SIGNALS}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def stack(valkey_url: str, tmp_path: Path) -> Iterator[Stack]:
    """Return a server of two workers that is not started yet."""
    stack = Stack(tmp_path, valkey_url, workers=2)
    yield stack
    stack.stop(signal.SIGKILL)


async def kill_supervisor(stack: Stack) -> list[psutil.Process]:
    """Kill the supervisor and return its two workers."""
    workers = [psutil.Process(pid) for pid in stack.worker_pids()]
    assert len(workers) == 2
    await asyncio.to_thread(stack.stop, signal.SIGKILL)
    return workers


async def end(workers: list[psutil.Process]) -> None:
    """Wait until all workers have ended by themselves; leave none behind in any case."""
    try:
        await eventually(lambda: not any(map(is_running, workers)), 30)
    finally:
        for worker in workers:
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.kill()


def is_running(process: psutil.Process) -> bool:
    """Return whether a process runs; one that has ended can stay in the process table as a zombie."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.valkey
async def test_workers_say_goodbye_and_end_when_their_supervisor_is_killed(stack):
    await asyncio.to_thread(stack.make_database)
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


def test_a_worker_that_is_killed_while_it_is_asked_whether_it_lives_is_replaced_at_once(monkeypatch, own_signals):
    monkeypatch.setattr(multiprocess, "Process", DiesWhenAsked)
    config = WorkerConfig(f"{__name__}:application", lifespan="off", log_config=None, timeout_worker_healthcheck=40)
    supervisor = Supervisor(config, sockets=[])
    supervisor.init_processes()
    try:
        [first] = supervisor.processes
        began = time.monotonic()
        supervisor.keep_subprocess_alive()
        assert time.monotonic() - began < 20
        [second] = supervisor.processes
        assert first.exitcode == -signal.SIGKILL
        assert second.pid != first.pid
        assert second.process.is_alive()
    finally:
        for process in supervisor.processes:
            process.kill()
            process.join()
