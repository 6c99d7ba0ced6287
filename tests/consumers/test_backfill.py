"""What came before as columns, over the real routing."""

import asyncio
import json

import pytest

from metrics_stream.broadcast import broadcast_many
from metrics_stream.consumers import backfill
from metrics_stream.consumers.sink import wait_until_idle
from metrics_stream.core.protocol.parsing import encode
from metrics_stream.core.series.columns import SeriesColumns
from metrics_stream.runtime.runtime import get_runtime
from tests.support.backfills import connected, publish

pytestmark = pytest.mark.usefixtures("server")


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
        **{"metric_type": "system", "source": "a", "row": None, "field": "p99_ms", "starts_at": 0.0},
        **{"bucket_seconds": 10.0, "buckets": [0], "min": [2.0], "max": [6.0], "mean": [4.0], "last": [3.0]},
        **{"count": [9], "percentile": percentile, "is_worst": is_worst},
    )
    message = json.loads(encode(backfill._as_message(columns)))
    expected = {"metric_type": "system", "source": "a", "field": "p99_ms", "buckets": [0], "last": [3.0]}
    assert message == expected | {"min": [2.0], "max": [6.0]} | said


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (None, {}),
        ("agent_id=a1", {"agent_id": "a1"}),
        ("name=/users\x1fmethod=GET", {"key": {"name": "/users", "method": "GET"}}),
    ],
)
def test_message_says_whose_row_a_series_is_of(row, said):
    columns = SeriesColumns(
        **{"metric_type": "request", "source": "a", "row": row, "field": "n", "starts_at": 0.0, "count": [1]},
        **{"bucket_seconds": 1.0, "buckets": [0], "min": [2.0], "max": [2.0], "mean": [2.0], "last": [2.0]},
    )
    message = json.loads(encode(backfill._as_message(columns)))
    assert message == {"metric_type": "request", "source": "a", "field": "n", "buckets": [0], "last": [2.0]} | said
