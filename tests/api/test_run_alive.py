"""What a token publishes for the sources of its run keeps the run alive, without a request that says so."""

import asyncio
from unittest import mock

import pytest
from asgiref.sync import sync_to_async
from django.db import connection

from metrics_stream.conf import get_settings
from metrics_stream.models import TestRun
from metrics_stream.runs import lifecycle, recorder
from metrics_stream.runs.liveness import SILENT_RUN_SECONDS
from tests.support.api import Program, item

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
async def program(runtime, async_client):
    """A program that may publish and start test runs."""
    made = Program(async_client, "publish", "runs")
    await made.token()
    return made


class Steps:
    """A recorder in a thread of its own, with the clock of the test: it records, and time passes."""

    def __init__(self):
        self.clock = mock.Mock(return_value=0.0)
        self.recorder = recorder.Recorder(get_settings(), name="here", clock=self.clock)

    def _step(self, seconds):
        if self.recorder._loop is None:
            self.recorder.open()
        self.clock.return_value += seconds
        self.recorder.step()
        connection.close()

    async def step(self, seconds=0.0):
        await asyncio.to_thread(self._step, seconds)

    async def close(self):
        await asyncio.to_thread(self.recorder.close)


@pytest.fixture
async def steps(runtime):
    made = Steps()
    yield made
    await made.close()


async def pass_time(steps, rounds, action):
    """Let more time pass than a silent program has, with an action every third of it."""
    await steps.step()
    for _ in range(rounds):
        await action()
        await steps.step(SILENT_RUN_SECONDS / 3)


async def status(slug):
    return (await TestRun.objects.aget(slug=slug)).status


async def test_what_a_token_publishes_for_its_run_keeps_the_run_alive(program, steps):
    slug = await program.start(sources=["load"])
    before = (await TestRun.objects.aget(slug=slug)).alive_at

    async def publish():
        assert (await program.publish([item(1), item(2, source="another")])).status_code == 202

    await pass_time(steps, 6, publish)
    run = await TestRun.objects.aget(slug=slug)
    assert (run.status, run.metrics_recorded) == ("running", 6)
    assert run.alive_at > before

    async def nothing():
        pass

    await pass_time(steps, 3, nothing)
    assert await status(slug) == "failed"


async def test_a_run_of_every_source_is_kept_alive_by_any(program, steps):
    slug = await program.start()
    await pass_time(steps, 4, lambda: program.publish(item(1, source="any")))
    assert await status(slug) == "running"


async def test_it_is_kept_alive_in_a_pause(program, steps):
    slug = await program.start(sources=["load"])
    await sync_to_async(lifecycle.pause)(await TestRun.objects.aget(slug=slug))
    await pass_time(steps, 4, lambda: program.publish(item(1)))
    run = await TestRun.objects.aget(slug=slug)
    assert (run.status, run.metrics_recorded) == ("paused", 0)


async def test_other_sources_and_other_tokens_do_not_keep_it_alive(program, steps):
    slug = await program.start(sources=["load"])
    other = Program(program.client, "publish")
    await other.token(name="another")

    async def publish():
        await other.publish(item(1))
        await program.publish(item(2, source="another"))

    await pass_time(steps, 4, publish)
    run = await TestRun.objects.aget(slug=slug)
    assert run.status == "failed"
    assert run.metrics_recorded > 0


async def test_a_run_is_marked_alive_as_often_as_a_program_would(program, steps, monkeypatch):
    await program.start(sources=["load"])
    marked = mock.Mock(side_effect=lifecycle.mark_alive)
    monkeypatch.setattr(lifecycle, "mark_alive", marked)
    for _ in range(8):
        await program.publish(item(1))
        await steps.step(1.0)
    assert marked.call_count == 2
