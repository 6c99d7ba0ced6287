"""The series of the recent past: folded ahead, once for all clients, and forgotten in time."""

import asyncio
import time

import pytest

from metrics_stream import pacing
from metrics_stream.broadcast import broadcast_many
from metrics_stream.bus.bus import declare_server
from metrics_stream.core.delivery.selection import Selection
from metrics_stream.history import recent_series
from metrics_stream.runtime.runtime import get_runtime, stop_runtime
from tests.support.backfills import begin, connected, publish


@pytest.fixture(autouse=True)
async def server():
    declare_server()
    yield
    await stop_runtime()


async def test_what_was_folded_before_is_not_folded_again():
    await publish([{"v": 1}])
    async with connected() as client:
        await client.say(type="subscribe", metric_types=["system"], backfill_seconds=400)
        await client.backfill()
        recent = get_runtime().recent
        await publish([{"v": 2}], seconds=1)
        await recent.keep_up({"system"})
        now = time.time()
        (item,) = await recent.series(Selection(("system",)), begin(), now, 300)
        assert (item.count, item.min, item.max) == ([2], [1.0], [2.0])


async def test_a_client_that_goes_while_the_past_is_folded_leaves_nothing_out_and_nothing_twice(monkeypatch):
    monkeypatch.setattr(pacing, "SLICE_SECONDS", 0.0)
    await publish([{"v": number} for number in range(100)])
    async with connected() as client:
        await client.say(type="subscribe", metric_types=["hero"])
        recent = get_runtime().recent
        wish = Selection(("system",)), begin(), time.time(), 300
        asked = asyncio.create_task(recent.series(*wish))
        await asyncio.sleep(0)
        asked.cancel()
        await asyncio.wait([asked])
        assert asked.cancelled()
        (item,) = await recent.series(*wish)
        assert sum(item.count) == 100


async def test_what_is_said_to_be_of_another_day_takes_no_memory_until_then():
    recent, now = get_runtime().recent, time.time()
    ahead = [60, 86_400, 2 * recent._seconds]
    await broadcast_many([{"metric_type": "system", "data": {"v": 1}, "timestamp": now + item} for item in ahead])
    (item,) = await recent.series(Selection(("system",)), now, now + 200_000, 300)
    assert sum(item.count) == 1


@pytest.fixture
async def read(monkeypatch):
    """Return the positions from which the series of the recent past are folded on, as they come."""
    runtime, positions = get_runtime(), []
    since = runtime.history.since

    def note(position, **limits):
        positions.append(dict(position.offsets))
        return since(position, **limits)

    monkeypatch.setattr(runtime.history, "since", note)
    return positions


def let_pass(monkeypatch, seconds):
    """Let so much time pass for the series of the recent past."""
    recent = get_runtime().recent
    monkeypatch.setattr(recent, "_now", lambda: time.monotonic() + seconds)


async def test_what_is_published_is_folded_before_a_client_requests_it(read):
    await publish([{"v": 1}])
    runtime = get_runtime()
    await runtime.recent.keep_up(runtime.hub.interest)
    read.clear()
    async with connected() as client:
        await client.say(type="subscribe", metric_types=["system"], backfill_seconds=400)
        series, _ = await client.backfill()
    assert series["a", None, "v"]["last"] == [1.0]
    assert read[-1] == {"system": 1}


async def test_page_that_is_reloaded_after_hours_waits_for_no_more_than_the_newest(monkeypatch, read):
    await publish([{"v": 1}])
    async with connected() as client:
        await client.say(type="subscribe", metric_types=["system"], backfill_seconds=400)
        await client.backfill()
        runtime = get_runtime()
        for hour in range(1, 4):
            let_pass(monkeypatch, 3600 * hour)
            await runtime.recent.keep_up(runtime.hub.interest)
    read.clear()
    async with connected() as client:
        await client.say(type="subscribe", metric_types=["system"], backfill_seconds=400)
        await client.backfill()
    # What the hub may have missed meanwhile is looked for, too.
    assert {position["system"] for position in read} == {1}


async def test_what_no_client_had_for_long_is_not_read_until_one_asks_again(monkeypatch, read):
    await publish([{"v": 1}])
    await publish([{"v": 1}], "hero")
    async with connected() as client:
        await client.say(type="subscribe", metric_types=["system", "hero"], backfill_seconds=400)
        await client.backfill()
        await client.say(type="unsubscribe", metric_types=["hero"])
        await client.hear()
        runtime = get_runtime()
        await publish([{"v": 2}])
        await publish([{"v": 2}], "hero")
        let_pass(monkeypatch, runtime.settings.history_seconds + 1)
        read.clear()
        await runtime.recent.keep_up(runtime.hub.interest)
        assert read == [{"system": 1}]
    let_pass(monkeypatch, 3 * runtime.settings.history_seconds)
    await runtime.recent.keep_up(runtime.hub.interest)
    assert len(read) == 1
    async with connected() as client:
        await client.say(type="subscribe", metric_types=["hero"], backfill_seconds=400)
        series, _ = await client.backfill()
        assert series["a", None, "v"]["max"] == [2.0]


async def test_others_have_their_turn_while_few_metrics_of_many_fields_are_folded(monkeypatch):
    monkeypatch.setattr(pacing, "SLICE_SECONDS", 0.0)
    await publish([{f"f{number}": number for number in range(100)}] * 20)
    turns = []
    folding = asyncio.create_task(get_runtime().recent.keep_up({"system"}))
    while not folding.done():
        turns.append(len(get_runtime().recent._waiting))
        await asyncio.sleep(0)
    assert set(range(1, 20)) <= set(turns)


async def test_others_have_their_turn_while_many_series_are_summed_up_and_forgotten(monkeypatch):
    monkeypatch.setattr(pacing, "SLICE_SECONDS", 0.0)
    await publish([{f"f{number}": number for number in range(100)}])
    recent = get_runtime().recent
    await recent.keep_up({"system"})
    turns = 0

    async def others():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    running = asyncio.create_task(others())
    assert len(await recent.series(Selection(("system",)), begin(), time.time(), 300)) == 100
    running.cancel()
    assert turns > 100


async def test_series_that_are_too_many_are_told_once(monkeypatch, caplog):
    monkeypatch.setattr(recent_series, "MAX_SERIES", 3)
    recent = get_runtime().recent
    recent._begin_epoch("", ())
    for _ in range(2):
        await publish([{f"f{number}": number for number in range(5)}])
        assert len(await recent.series(Selection(("system",)), begin(), time.time(), 300)) == 3
    assert [record.getMessage().partition(" (")[0] for record in caplog.records] == [
        "the recent past has more than 3 series"
    ]
