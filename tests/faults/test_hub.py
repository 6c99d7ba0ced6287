"""Faults inside a server process: the work of the hub fails, or its event loop is blocked."""

import asyncio
import contextlib

import pytest

from tests.support.control import Control, catch_up
from tests.support.stack import eventually

pytestmark = pytest.mark.valkey


@pytest.mark.parametrize("fault", ["publish", "receive"])
async def test_a_hub_that_fails_continues_within_a_second_and_announces_losses(stack, producer, fault):
    async with Control(stack) as control:
        await control.catches_up()
        await asyncio.to_thread(stack.get, f"/faults/{fault}")
        await eventually(lambda: control.gaps, 2)
        await control.assert_losses_announced()
        assert {gap["reason"] for gap in control.gaps} <= {"bus", "internal"}
        assert control.age(1) < 1


async def test_a_metric_that_breaks_a_batch_leaves_no_view_waiting(stack, producer):
    async with Control(stack) as control, Control(stack, source="unused"):
        await control.catches_up()
        await asyncio.to_thread(stack.get, "/faults/project")
        await eventually(lambda: len(control.gaps) == 2, 4)
        await control.assert_losses_announced(2)


async def test_a_frame_that_cannot_be_built_is_announced_as_missing(stack, producer):
    async with Control(stack) as control:
        await control.catches_up()
        await asyncio.to_thread(stack.get, "/faults/encode")
        await eventually(lambda: control.gaps, 2)
        await control.assert_losses_announced()


async def test_a_failing_write_to_one_socket_does_not_disturb_other_clients(stack, producer):
    async with contextlib.AsyncExitStack() as clients:
        broken, *others = [await clients.enter_async_context(Control(stack)) for _ in range(6)]
        await catch_up(broken, *others)
        await asyncio.to_thread(stack.get, f"/faults/write/{broken.client_id}")
        await asyncio.gather(*(control.assert_undisturbed() for control in others))
        # The client gets a gap, or is closed and may reconnect; it is not left waiting.
        await eventually(lambda: broken.gaps or broken.close_code is not None, 5)
        broken.check()


async def test_an_event_loop_that_is_blocked_for_three_seconds_loses_nothing(stack, producer):
    async with Control(stack) as control:
        await control.catches_up()
        await asyncio.to_thread(stack.get, "/faults/block")
        await control.assert_undisturbed()
        assert control.age(1) > 2, "the event loop was not blocked"
