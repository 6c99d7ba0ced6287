"""The interpreter of a server process."""

import asyncio
import gc
import sys

import pytest

from metrics_stream.server import interpreter
from metrics_stream.server.interpreter import ServingInterpreter, collect_garbage


class Ring:
    """Garbage that only a collection finds."""

    def __init__(self):
        self.ring = self


def test_threads_give_way_soon_and_old_objects_are_left_alone_until_the_end():
    before = sys.getswitchinterval(), gc.get_threshold()
    serving = ServingInterpreter()
    serving.start()
    try:
        assert sys.getswitchinterval() < before[0] / 5
        assert gc.get_freeze_count() > 1_000
        assert gc.get_threshold()[2] > 10**6
    finally:
        serving.stop()
    assert (sys.getswitchinterval(), gc.get_threshold()) == before
    assert gc.get_freeze_count() == 0


@pytest.mark.parametrize("limit", ["COLLECT_SECONDS", "COLLECT_AFTER"])
async def test_garbage_is_collected_now_and_then_and_when_there_may_be_much(monkeypatch, limit):
    monkeypatch.setattr(interpreter, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(interpreter, limit, 0)
    gc.collect()
    gc.disable()
    try:
        Ring()
        collecting = asyncio.create_task(collect_garbage())
        async with asyncio.timeout(5):
            while any(type(item) is Ring for item in gc.get_objects()):
                await asyncio.sleep(0)
        collecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await collecting
    finally:
        gc.enable()
