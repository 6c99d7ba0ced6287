"""What came before as columns, through the real routing."""

import asyncio
import json
import time
from contextlib import asynccontextmanager

import pytest
from channels.testing import WebsocketCommunicator

from metrics_stream.broadcast import broadcast_many
from metrics_stream.bus.bus import declare_server
from metrics_stream.consumers import backfill
from metrics_stream.consumers.sink import wait_until_idle
from metrics_stream.core.delivery.selection import Selection
from metrics_stream.core.protocol.parsing import encode
from metrics_stream.core.series.columns import SeriesColumns
from metrics_stream.history import recent_series
from metrics_stream.routing import stream_application
from metrics_stream.runtime.runtime import get_runtime, stop_runtime


def begin():
    """Return the beginning of a minute some minutes ago, and so of a bucket of any width that is used here."""
    return time.time() // 60 * 60 - 240


class Client(WebsocketCommunicator):
    async def hear(self):
        return json.loads(await self.receive_from(timeout=5))

    async def say(self, **message):
        await self.send_to(text_data=json.dumps(message))

    async def backfill(self):
        """Return the series of a backfill by field (and agent), and its messages."""
        messages, series = [], {}
        while not messages or not messages[-1]["done"]:
            message = await self.hear()
            if message["type"] == "backfill":
                messages.append(message)
                for item in message["series"]:
                    series[(item["source"], item.get("agent_id"), item["field"])] = item
        return series, messages


@asynccontextmanager
async def connected(path="/ws/metrics/"):
    client = Client(stream_application(None), path)
    await client.connect(timeout=5)
    await client.hear()
    try:
        yield client
    finally:
        await client.disconnect(timeout=5)


@pytest.fixture(autouse=True)
async def server():
    declare_server()
    yield
    await stop_runtime()


async def publish(values, metric_type="system", source="a", seconds=1.0):
    began = begin()
    await broadcast_many(
        [
            {"metric_type": metric_type, "data": value, "timestamp": began + index * seconds, "source": source}
            for index, value in enumerate(values)
        ]
    )


async def test_a_client_gets_what_came_before_as_columns():
    await publish([{"a": number, "nested": {"b": -number}, "word": "x"} for number in range(100)])
    async with connected() as client:
        await client.say(type="subscribe", metric_types=["system"], backfill_seconds=400)
        series, messages = await client.backfill()
    assert set(series) == {("a", None, "a"), ("a", None, "nested.b")}
    assert messages[0]["bucket_seconds"] == 2
    assert messages[0]["metric_types"] == ["system"]
    item = series["a", None, "a"]
    assert item["last"] == [float(number) for number in range(1, 100, 2)]
    assert item["min"] == [float(number) for number in range(0, 100, 2)]
    assert item["max"] == item["last"]


async def test_a_spike_survives_however_few_points_are_asked_for():
    await publish([{"v": 9_999 if number == 57 else 1} for number in range(200)])
    async with connected() as client:
        await client.say(type="subscribe", metric_types=["system"], backfill_seconds=400, max_points=10)
        series, _ = await client.backfill()
    item = series["a", None, "v"]
    assert len(item["buckets"]) <= 10
    assert max(item["max"]) == 9_999
    assert set(item["last"]) <= {1, 9_999}  # the spike may be the last of its bucket


async def test_filters_hold_for_what_came_before():
    await publish([[{"agent_id": "one", "x": 1, "y": 2}, {"agent_id": "two", "x": 3, "y": 4}]], metric_type="agent")
    await publish([{"x": 5}], source="b")
    async with connected() as client:
        await client.say(type="set_filters", filters={"agent_ids": ["two"], "fields": ["x"], "sources": ["a"]})
        await client.hear()
        await client.say(type="subscribe", metric_types=["agent", "system"], backfill_seconds=400)
        series, _ = await client.backfill()
    assert {key: item["last"] for key, item in series.items()} == {("a", "two", "x"): [3.0]}


async def test_what_never_was_is_an_empty_answer_that_is_done():
    async with connected() as client:
        await client.say(type="subscribe", metric_types=["system"], backfill_seconds=400)
        series, messages = await client.backfill()
    assert series == {}
    assert len(messages) == 1


async def test_without_a_history_the_answer_is_empty(settings):
    settings.METRICS_STREAM = {"HISTORY_SECONDS": 0}
    async with connected() as client:
        await client.say(type="subscribe", metric_types=["system"], backfill_seconds=400)
        assert (await client.backfill())[0] == {}


async def test_many_series_come_in_parts(monkeypatch):
    monkeypatch.setattr(backfill, "MAX_MESSAGE_VALUES", 10)
    await publish([{f"f{number}": number for number in range(20)}])
    async with connected() as client:
        await client.say(type="subscribe", metric_types=["system"], backfill_seconds=400)
        series, messages = await client.backfill()
    assert len(series) == 20
    assert len(messages) == 10
    assert [message["done"] for message in messages] == [False] * 9 + [True]


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


async def test_backfills_that_are_asked_for_at_once_come_whole_one_after_the_other(monkeypatch):
    monkeypatch.setattr(backfill, "MAX_MESSAGE_VALUES", 10)
    for metric_type in ("system", "hero", "business"):
        await publish([{f"f{number}": number for number in range(20)}], metric_type)
    async with connected() as client:
        for metric_type in ("system", "hero", "business"):
            await client.say(type="subscribe", metric_types=[metric_type], backfill_seconds=400)
        answers = [await client.backfill() for _ in range(3)]
        for (series, messages), metric_type in zip(answers, ("system", "hero", "business"), strict=True):
            assert len(series) == 20
            assert {tuple(message["metric_types"]) for message in messages} == {(metric_type,)}
        # And nothing is held back for good.
        await client.say(type="set_update_interval", interval_seconds=0.1)
        for metric_type in ("system", "hero", "business"):
            await broadcast_many([{"metric_type": metric_type, "data": {"live": 1}}])
            while (await client.hear()).get("data", {}).get("data") != {"live": 1}:
                pass


async def test_any_number_may_wait_until_a_client_is_idle():
    async with connected() as client:
        await client.say(type="subscribe", metric_types=["system"])
        hub = get_runtime().hub
        (handle,) = hub.clients.values()
        handle.busy_since = 0.0
        waiting = [asyncio.create_task(wait_until_idle(handle)) for _ in range(3)]
        await asyncio.sleep(0)
        hub.written(handle)
        await asyncio.wait_for(asyncio.gather(*waiting), 5)


async def test_of_backfills_that_were_asked_for_again_before_they_were_sent_only_the_last_comes():
    await publish([{"v": number} for number in range(100)])
    async with connected() as client:
        await client.say(type="subscribe", metric_types=["hero"])
        async with get_runtime().recent._turn:
            for max_points in (100, 50, 10):
                await client.say(
                    type="subscribe",
                    metric_types=["system"],
                    backfill_seconds=400,
                    max_points=max_points,
                    ref=max_points,
                )
                while (await client.hear()).get("ref") != max_points:
                    pass
        series, _ = await client.backfill()
        assert len(series["a", None, "v"]["buckets"]) <= 10
        await client.say(type="ping")
        while (message := await client.hear())["type"] != "pong":
            assert message["type"] != "backfill"


async def test_a_client_that_goes_while_the_past_is_folded_leaves_nothing_out_and_nothing_twice(monkeypatch):
    monkeypatch.setattr(recent_series, "SLICE_METRICS", 10)
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


async def test_what_is_published_is_folded_before_anybody_asks(read):
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


async def test_others_have_their_turn_while_many_series_are_summed_up_and_forgotten(monkeypatch):
    monkeypatch.setattr(recent_series, "SLICE_SECONDS", 0.0)
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


@pytest.mark.parametrize(
    ("percentile", "is_worst", "said"),
    [
        (None, False, {}),
        ([4.5], False, {"percentile": [4.5]}),
        ([6.0], True, {"percentile": [6.0], "is_worst": True}),
    ],
)
def test_message_says_what_a_percentile_was(percentile, is_worst, said):
    columns = SeriesColumns(
        **{"metric_type": "system", "source": "a", "agent_id": None, "field": "p99_ms", "starts_at": 0.0},
        **{"bucket_seconds": 10.0, "buckets": [0], "min": [2.0], "max": [6.0], "mean": [4.0], "last": [3.0]},
        **{"count": [9], "percentile": percentile, "is_worst": is_worst},
    )
    message = json.loads(encode(backfill._as_message(columns)))
    expected = {"metric_type": "system", "source": "a", "field": "p99_ms", "buckets": [0], "last": [3.0]}
    assert message == expected | {"min": [2.0], "max": [6.0]} | said
