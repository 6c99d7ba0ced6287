"""What breaks inside a server process: the hub's own work fails, or its event loop stands still."""

import asyncio
import contextlib

import pytest

from tests.faults.control import Control, catch_up
from tests.support.stack import eventually

pytestmark = pytest.mark.valkey


@pytest.mark.parametrize("fault", ["publish", "receive"])
async def test_a_hub_that_fails_goes_on_within_a_second_and_says_what_is_missing(stack, producer, fault):
    async with Control(stack) as control:
        await control.catches_up()
        await asyncio.to_thread(stack.get, f"/faults/{fault}")
        await eventually(lambda: control.gaps, 2)
        await control.heard_of_every_loss()
        assert {gap["reason"] for gap in control.gaps} <= {"bus", "internal"}
        assert control.age(1) < 1


async def test_a_metric_that_breaks_off_a_batch_leaves_no_view_waiting(stack, producer):
    async with Control(stack) as control, Control(stack, source="nobody"):
        await control.catches_up()
        await asyncio.to_thread(stack.get, "/faults/project")
        await eventually(lambda: len(control.gaps) == 2, 4)
        await control.heard_of_every_loss(2)


async def test_a_frame_that_cannot_be_built_is_announced_as_missing(stack, producer):
    async with Control(stack) as control:
        await control.catches_up()
        await asyncio.to_thread(stack.get, "/faults/encode")
        await eventually(lambda: control.gaps, 2)
        await control.heard_of_every_loss()


async def test_a_socket_whose_write_fails_takes_nothing_from_the_others(stack, producer):
    async with contextlib.AsyncExitStack() as clients:
        broken, *others = [await clients.enter_async_context(Control(stack)) for _ in range(6)]
        await catch_up(broken, *others)
        await asyncio.to_thread(stack.get, f"/faults/write/{broken.client_id}")
        await asyncio.gather(*(control.noticed_nothing() for control in others))
        # It hears of its loss, or is closed and may come back; it is not left waiting.
        await eventually(lambda: broken.gaps or broken.close_code is not None, 5)
        broken.check()


async def test_a_loop_that_stands_still_for_three_seconds_loses_nothing(stack, producer):
    async with Control(stack) as control:
        await control.catches_up()
        await asyncio.to_thread(stack.get, "/faults/block")
        await control.noticed_nothing()
        assert control.age(1) > 2, "the loop did not stand still"
