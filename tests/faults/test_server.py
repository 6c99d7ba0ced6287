"""A server process is killed or told to stop while it has clients and metrics in flight."""

import asyncio
import contextlib
import json
import os
import signal
import time

import psutil
import pytest

from tests.faults.slow_client import SlowClient
from tests.support.control import Control, Producer, catch_up, subscription_messages
from tests.support.stack import eventually

pytestmark = pytest.mark.valkey

EXIT_SECONDS = 15


async def workers(stack):
    """Return the statistics of each live worker, by process id."""
    answers = json.loads(await asyncio.to_thread(stack.manage, "stream_stats", "--json", "--wait", "0.4"))
    return {int(answer["process"].rpartition(":")[2]): answer for answer in answers}


async def test_a_killed_worker_is_replaced_without_disturbing_the_clients_of_the_other(make_stack):
    stack = await asyncio.to_thread(make_stack, workers=2)
    with Producer(stack):
        async with contextlib.AsyncExitStack() as clients:
            # The kernel distributes connections to the workers; with twelve, each worker very likely has one.
            controls = [await clients.enter_async_context(Control(stack)) for _ in range(12)]
            await catch_up(*controls)
            before = await workers(stack)
            assert before.keys() == stack.worker_pids()
            assert sum(worker["connected_clients"] for worker in before.values()) == len(controls)
            victim = next(pid for pid, worker in before.items() if worker["clients"])
            of_victim = {client["client_id"] for client in before[victim]["clients"]}

            os.kill(victim, signal.SIGKILL)
            orphans = [control for control in controls if control.client_id in of_victim]
            for orphan in orphans:
                await eventually(lambda orphan=orphan: orphan.close_code is not None, 5)
                orphan.check()
            again = [await clients.enter_async_context(Control(stack)) for _ in orphans]
            others = {*controls, *again}.difference(orphans)
            await asyncio.gather(*(control.assert_undisturbed() for control in others))

            await eventually(lambda: len(stack.worker_pids() - {victim}) == 2, 10)
            newcomers = stack.worker_pids() - before.keys()
            answers = await workers(stack)
            while not newcomers <= answers.keys():
                answers = await workers(stack)
            assert answers.keys() == stack.worker_pids()
            assert sum(worker["connected_clients"] for worker in answers.values()) == len(controls)
            await asyncio.gather(*(control.assert_undisturbed() for control in others))


async def test_a_server_that_stops_under_load_closes_its_clients_with_a_reason(make_stack):
    stack = await asyncio.to_thread(make_stack, workers=2)
    with Producer(stack, per_second=100, padding=10_000):
        async with contextlib.AsyncExitStack() as clients:
            controls = [await clients.enter_async_context(Control(stack)) for _ in range(50)]
            stalled = await clients.enter_async_context(SlowClient(stack))
            await stalled.send(subscription_messages("counter", fields=()))
            await catch_up(*controls)
            processes = [psutil.Process(pid) for pid in {stack.server.pid, *stack.worker_pids()}]
            began = time.monotonic()
            await asyncio.to_thread(stack.stop, timeout=EXIT_SECONDS)
            assert time.monotonic() - began < EXIT_SECONDS
            for control in controls:
                await eventually(lambda control=control: control.close_code is not None, 1)
                control.check()
            assert {control.close_code for control in controls} == {4001}
            assert {error["code"] for control in controls for error in control.errors} == {"going_away"}
            assert all(len(control.errors) == 1 for control in controls)
        assert not any(process.is_running() for process in processes)
    assert "Traceback" not in stack.log.read_text()


async def test_a_stop_closes_clients_over_some_seconds_so_that_they_do_not_return_all_at_once(make_stack):
    stack = await asyncio.to_thread(make_stack)
    async with contextlib.AsyncExitStack() as clients:
        controls = [await clients.enter_async_context(Control(stack)) for _ in range(300)]
        stopping = asyncio.create_task(asyncio.to_thread(stack.stop, timeout=EXIT_SECONDS))
        await eventually(lambda: any(control.close_code for control in controls), 5)
        first = time.monotonic()
        await eventually(lambda: all(control.close_code for control in controls), 10)
        # DRAINED_PER_SECOND in server/websocket.py is 200.
        assert 0.75 < time.monotonic() - first < 6
        await stopping
    assert {control.close_code for control in controls} == {4001}
