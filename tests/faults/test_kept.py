"""Redis is restarted empty during a recorded run: what was accepted is recorded or counted as lost."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import fault_stack
from tests.support.control import SOURCE, Control
from tests.support.kept import Load
from tests.support.redis_process import RedisProcess
from tests.support.server_recording import ServerRecording
from tests.support.stack import Stack, eventually

pytestmark = pytest.mark.valkey

# Long enough that the recorder, producers and clients find Redis away.
AWAY_SECONDS = 1.5


@pytest.fixture
def redis_process(tmp_path: Path) -> Iterator[RedisProcess]:
    with RedisProcess(tmp_path) as running:
        yield running


@pytest.fixture
def stack(redis_process: RedisProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    own = fault_stack(tmp_path_factory.mktemp("kept"), redis_process.url, workers=2)
    own.make_database()
    own.start()
    yield own
    own.stop()


async def restart_empty(redis_process: RedisProcess, recording: ServerRecording) -> None:
    """Kill Redis, start it empty, and wait until the recording goes on."""
    before = recording.count
    await eventually(lambda: recording.count > before, 30)
    await asyncio.to_thread(redis_process.kill)
    await asyncio.sleep(AWAY_SECONDS)
    await asyncio.to_thread(redis_process.start)
    before = recording.count
    await eventually(lambda: recording.count > before, 30)


@pytest.mark.parametrize("restarts", [1, pytest.param(10, marks=pytest.mark.faults)])
async def test_redis_restarted_empty_during_a_run_loses_only_what_is_counted(stack, redis_process, restarts):
    async with Load(stack).running() as load:
        for _ in range(restarts):
            await restart_empty(redis_process, load.recording)
            await load.control.assert_losses_announced(30)
        await load.control.catches_up()
    await load.assert_kept(f"{restarts} restarts")


async def test_a_run_that_goes_on_while_redis_is_away_for_long_misses_nothing_accepted_later(stack, redis_process):
    recording = ServerRecording(stack)
    await asyncio.to_thread(recording.start)
    async with Control(stack) as control:
        await eventually(lambda: control.is_subscribed, 10)
        await asyncio.to_thread(redis_process.kill)
        # The recorder has failed several times in a row.
        await asyncio.sleep(4)
        await asyncio.to_thread(redis_process.start)
        code = "for n in range(200): stream.broadcast_system_metrics({'n': n})"
        await asyncio.to_thread(stack.publish, code, source=SOURCE)
        await eventually(lambda: control.numbers[-1:] == [199], 30)
        control.check()
        assert (control.close_code, control.errors) == (None, [])
    await asyncio.to_thread(recording.end)
    assert await asyncio.to_thread(recording.numbers) == list(range(200))
