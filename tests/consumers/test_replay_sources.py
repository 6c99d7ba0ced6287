"""What replay sources bring: the history in memory and in a real Valkey, and recorded runs."""

import time

import pytest
import pytest_asyncio
from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from django.test import TransactionTestCase

from metrics_stream.broadcast import broadcast_many
from metrics_stream.bus.bus import declare_server
from metrics_stream.consumers import replay, replay_sources
from metrics_stream.consumers.replay_sources import HistoryReplaySource, RecordingReplaySource
from metrics_stream.core.clock_marks import ClockMarks
from metrics_stream.core.formatting import format_timestamp
from metrics_stream.core.metrics.permission import EVERYTHING
from metrics_stream.core.protocol.parsing import parse_instant
from metrics_stream.core.protocol.positions import Position
from metrics_stream.history import Bounds
from metrics_stream.history.memory import MemoryHistory
from metrics_stream.history.recent_series import RecentSeries
from metrics_stream.runtime.run_sources import RunSources
from metrics_stream.runtime.runtime import get_runtime, stop_runtime
from tests.support.history import Producer, redis_history
from tests.support.recording import START, Recording, start_run
from tests.support.recording import metric as metric_of_run
from tests.support.replays import connected
from tests.support.stack import eventually

BOUNDS = Bounds(16.0, 100_000, 100_000_000)
MARK_SECONDS = 16.0 / 64
"""How much before an instant a place by time may be in Redis."""


@pytest_asyncio.fixture(params=["memory", pytest.param("valkey", marks=pytest.mark.valkey)])
async def history(request):
    if request.param == "memory":
        history = MemoryHistory(BOUNDS)
    else:
        history = redis_history(request.getfixturevalue("valkey_url"), BOUNDS)
    yield history
    await history.close()


def replay_source_of(history):
    return HistoryReplaySource(
        history,
        RecentSeries(history, BOUNDS.seconds, ("system", "hero")),
        ("system", "hero"),
        RunSources(),
        permit=EVERYTHING,
        marks=ClockMarks(),
    )


def numbers(metrics):
    return [int(item.timestamp) for item in metrics]


async def read_all(replay_source, mark):
    found, is_last = [], False
    while not is_last:
        page = await replay_source.read(mark)
        found += [item for moment in page.moments for item in moment.metrics]
        mark, is_last = page.mark, page.is_last
    return found


async def test_it_begins_with_what_was_published_at_the_instant_and_not_before(history):
    producer, replay_source = Producer(history), replay_source_of(history)
    placed = [await producer.publish() for _ in range(5)]
    at = placed[2].published_at
    assert numbers(await read_all(replay_source, await replay_source.mark_at(at))) == [2, 3, 4]
    assert numbers(await replay_source.newest_at(at)) == [1]
    # As a client states it, in microseconds.
    at = parse_instant("at", format_timestamp(at))
    assert numbers(await read_all(replay_source, await replay_source.mark_at(at))) == [2, 3, 4]


async def test_from_the_beginning_it_brings_everything(history):
    producer, replay_source = Producer(history), replay_source_of(history)
    for _ in range(3):
        await producer.publish()
    first, _ = await replay_source.bounds()
    at = parse_instant("from", format_timestamp(first))
    assert numbers(await read_all(replay_source, await replay_source.mark_at(at))) == [0, 1, 2]
    assert await replay_source.newest_at(at) == []


@pytest.mark.parametrize("skew", [-300.0, 300.0])
async def test_the_end_is_now_by_the_clock_of_the_history(skew):
    history = MemoryHistory(BOUNDS, now=lambda: time.time() + skew)
    await Producer(history).publish()
    before = time.time() + skew
    first, last = await replay_source_of(history).bounds()
    assert before - 1 <= first <= last <= time.time() + skew


@pytest.mark.parametrize("comes_again", [True, False])
async def test_the_newest_of_what_comes_seldom_are_found_however_long_ago_they_came(history, monkeypatch, comes_again):
    monkeypatch.setattr(replay_sources, "NEWEST_SECONDS", 0.0)
    often, seldom = Producer(history), Producer(history, "hero", "seldom")
    slow_source = Producer(history, source="slow")
    replay_source = replay_source_of(history)
    await slow_source.publish()
    await seldom.publish()
    await seldom.publish()
    await _wait_for_marks(history, often)
    placed = await often.publish()
    for producer in (seldom, slow_source) if comes_again else ():
        await producer.publish()
    newest = await replay_source.newest_at(placed.published_at)
    assert [(item.source, int(item.timestamp)) for item in newest[:2]] == [("slow", 0), ("seldom", 1)]
    assert newest[2].source == "host"
    assert len(newest) == 3


async def _wait_for_marks(history, producer):
    """Publish until a place by time is behind what was published before."""
    begun_at = (await producer.publish()).published_at

    async def is_past():
        return (await producer.publish()).published_at > begun_at + 2 * MARK_SECONDS

    await eventually(is_past, 5, every_seconds=0.05)


async def test_the_newest_are_not_looked_for_in_more_than_can_be_read_at_once(history, monkeypatch):
    monkeypatch.setattr(replay_sources, "NEWEST_SECONDS", 0.0)
    monkeypatch.setattr(replay_sources, "MAX_LOOKED_THROUGH", 10)
    often, slow_source = Producer(history), Producer(history, source="slow")
    await slow_source.publish()
    await often.publish(30)
    await _wait_for_marks(history, often)
    placed = await often.publish()
    await slow_source.publish()
    assert {item.source for item in await replay_source_of(history).newest_at(placed.published_at)} <= {"host"}


@pytest.mark.usefixtures("server")
async def test_the_recent_past_can_be_replayed_without_a_run():
    async with connected() as client:
        await broadcast_many([{"metric_type": "system", "data": {"n": number}} for number in range(3)])
        await client.hear_number(2)
        client.numbers.clear()
        state = await client.ask(type="replay", speed=2, **{"from": "2020-01-01T00:00:00Z"})
        assert state["run"] is None
        await client.hear_number(2)
        assert client.numbers[:3] == [0, 1, 2]


@pytest.mark.usefixtures("server")
@pytest.mark.valkey
async def test_a_replay_that_has_reached_the_present_goes_no_further(monkeypatch):
    monkeypatch.setattr(replay, "STATE_SECONDS", 0.0)
    monkeypatch.setattr(replay, "MORE_SECONDS", 0.05)
    await broadcast_many([{"metric_type": "system", "data": {"n": 0}}])
    async with connected() as client:
        await client.ask(type="replay", speed=60)
        for number in range(1, 20):
            await broadcast_many([{"metric_type": "system", "data": {"n": number}}])
            await client.hear_number(number)
            now = time.time()
            told = [state[name] for state in client.states for name in ("at", "until")]
            assert max(parse_instant("at", text) for text in told) <= now
    assert client.numbers[-20:] == list(range(20))


@pytest.mark.usefixtures("server")
async def test_the_recent_past_in_redis_can_be_replayed_from_any_instant(valkey_layer, settings):
    settings.METRICS_STREAM = {"GROUP_PREFIX": "replay"}
    async with connected() as client:
        for number in range(6):
            await broadcast_many([{"metric_type": "system", "data": {"n": number}}])
        await client.hear_number(5)
        history = get_runtime().history
        page = await history.since(Position((await history.heads(())).epoch, {"system": 0}))
        instants = [format_timestamp(batch.published_at) for batch in page.batches]
        client.numbers.clear()
        await client.ask(type="replay", speed=60, **{"from": "2020-01-01T00:00:00Z"})
        await client.hear_number(5)
        assert client.numbers == list(range(6))
        client.numbers.clear()
        await client.ask(type="pause")
        await client.ask(type="seek", to=instants[3])
        await client.hear_number(2)
        await client.ask(type="resume")
        await client.hear_number(5)
        assert client.numbers == [2, 3, 4, 5]
        # It goes on with what is published meanwhile.
        await broadcast_many([{"metric_type": "system", "data": {"n": 6}}])
        await client.hear_number(6)
        assert client.numbers == [2, 3, 4, 5, 6]
        assert client.flags == {False, True}
        client.numbers.clear()
        await client.ask(type="live")
        await client.hear_number(6)
        await broadcast_many([{"metric_type": "system", "data": {"n": 7}}])
        await client.hear_number(7)
        assert client.numbers == [6, 7]
    await stop_runtime()
    await get_channel_layer().flush()


@pytest.mark.usefixtures("server")
class RunTests(TransactionTestCase):
    """Runs need the database, which only Django's own test cases clean up behind async code."""

    async def test_an_unknown_run_is_an_error_and_live_goes_on(self):
        declare_server()
        async with connected() as client:
            for slug in ("nowhere", "a\0b", "a" * 500):
                answer = await client.ask(type="replay", run=slug)
                assert answer["code"] == "unknown_run"
            await broadcast_many([{"metric_type": "system", "data": {"n": 1}}])
            await client.hear_number(1)
            assert client.flags == {False}
        await stop_runtime()

    async def test_a_run_that_is_deleted_while_it_goes_on_ends(self):
        run = await sync_to_async(_record_three)()
        async with connected() as client:
            await client.ask(type="subscribe", metric_types=["system"])
            await client.ask(type="replay", run="soak", speed=60)
            await client.hear_number(2)
            await run.adelete()
            await client.hear_state("ended")
            assert (await client.ask(type="seek", to=format_timestamp(START)))["state"] == "paused"
        await stop_runtime()

    async def test_what_is_recorded_last_is_played_although_the_recording_ends_just_then(self):
        run = await sync_to_async(_record_three)()
        replay_source = RecordingReplaySource(run)
        bounds = replay_source.bounds

        def record_the_rest():
            recording = Recording("soak")
            recording.offsets["system"] = 3
            recording.record(metric_of_run(3.0, {"n": 3}))
            recording.end(run)

        async def record_the_rest_first():
            replay_source.bounds = bounds
            await sync_to_async(record_the_rest)()
            return await bounds()

        replay_source.bounds = record_the_rest_first
        played, mark, goes_on = [], 0, True
        while goes_on:
            page = await replay_source.read(mark)
            played += [moment.at - START for moment in page.moments]
            mark, goes_on = page.mark, replay_source.is_growing or not page.is_last
        assert played == [0.0, 1.0, 2.0, 3.0]


def _record_three():
    run = start_run()
    Recording("soak").record(*(metric_of_run(float(number), {"n": number}) for number in range(3)))
    return run
