import asyncio
from contextlib import contextmanager

import pytest
from channels.layers import channel_layers

from metrics_stream.broadcast import broadcast, broadcast_many
from metrics_stream.consumers import recovery
from metrics_stream.core.errors import BusError
from metrics_stream.core.protocol.positions import parse_position
from metrics_stream.runtime import newest
from metrics_stream.runtime.runtime import get_runtime
from tests.support.resuming import connected, metrics_of, publish

pytestmark = pytest.mark.usefixtures("server")


async def test_a_new_client_gets_the_newest_metric_of_each_kind_at_once():
    await publish(0, 1, source="a")
    await publish(2, source="b")
    await publish(3, metric_type="hero")
    async with connected() as client:
        await client.subscribe("system")
        assert await client.hear_until(2) == [(1, True), (2, True)]
        await publish(4)
        assert await client.hear_until(4) == [(4, False)]
        # Another type brings its own newest, and nothing of what the client has.
        await client.ask(type="subscribe", metric_types=["hero"])
        assert await client.hear_until(3) == [(3, True)]


async def test_the_newest_of_many_kinds_come_in_parts(monkeypatch):
    monkeypatch.setattr(newest, "PAGE_METRICS", 10)
    await broadcast_many([{"metric_type": "system", "data": {"n": n}, "source": f"s{n}"} for n in range(25)])
    async with connected() as client:
        await client.subscribe()
        frames = [metrics_of(await client.hear()) for _ in range(3)]
        assert [len(frame) for frame in frames] == [10, 10, 5]
        assert [number for frame in frames for number, _ in frame] == list(range(25))


async def test_the_newest_metrics_obey_the_filters():
    await publish(0, source="a")
    await publish(1, source="b")
    async with connected() as client:
        await client.ask(type="set_filters", filters={"sources": ["a"]})
        await client.subscribe()
        assert await client.hear_until(0) == [(0, True)]


async def test_a_client_that_comes_back_gets_what_it_missed_in_order_and_then_what_is_live():
    async with connected() as client:
        await client.subscribe()
        await publish(0)
        await client.hear_until(0)
    await publish(*range(1, 2_500))
    async with connected() as back:
        confirmed = await back.subscribe(resume_from=client.position)
        assert confirmed["recovered"] is True
        assert await back.hear_until(2_499) == [(number, True) for number in range(1, 2_500)]
        await publish(2_500)
        assert [number for number, _ in await back.hear_until(2_500)] == [2_500]


async def test_a_client_that_missed_nothing_gets_nothing_twice():
    async with connected() as client:
        await client.subscribe()
        await publish(0)
        await client.hear_until(0)
    async with connected() as back:
        assert (await back.subscribe(resume_from=client.position))["recovered"] is True
        await publish(1)
        assert await back.hear_until(1) == [(1, False)]


async def test_the_position_of_a_confirmation_is_where_the_subscription_begins():
    await publish(0)
    async with connected() as client:
        await client.subscribe()
        position = client.position
    await publish(1)
    async with connected() as back:
        await back.subscribe(resume_from=position)
        assert await back.hear_until(1) == [(1, True)]


async def test_no_position_leaves_out_a_type_whose_past_is_still_on_its_way(monkeypatch):
    monkeypatch.setattr(recovery, "PAGE_METRICS", 1)
    async with connected() as client:
        await client.subscribe("hero", "system")
        position = client.position
    for number in range(30):
        await publish(number)
    history = get_runtime().history
    since, goes_on = history.since, asyncio.Event()

    async def since_slowly(asked, **keys):
        if asked.offsets.get("system", 0) > 5:
            await goes_on.wait()
        return await since(asked, **keys)

    monkeypatch.setattr(history, "since", since_slowly)
    async with connected() as back:
        await back.subscribe("hero")
        epoch = parse_position(position).epoch
        confirmed = await back.ask(type="subscribe", metric_types=["system"], resume_from=f"{epoch}:system=0")
        assert parse_position(confirmed["position"]).offsets == {"hero": 0, "system": 0}
        # What is live of the other type goes on meanwhile.
        await publish(100, metric_type="hero")
        await back.hear_until(100)
        assert "position" not in await back.ask(type="ping")
        assert parse_position(back.position).offsets == {"hero": 0, "system": 0}
        goes_on.set()
        numbers = [number for number, _ in await back.hear_until(29)]
        assert numbers[-24:] == list(range(6, 30))
        await publish(101, metric_type="hero")
        await back.hear_until(101)
        assert parse_position(back.position).offsets == {"hero": 2, "system": 30}


async def test_a_confirmation_does_not_say_that_was_reached_what_still_waits_for_the_client():
    async with connected() as client:
        await client.ask(type="set_update_interval", interval_seconds=0.1)
        await client.ask(type="subscribe", metric_types=["hero"])
        await publish(0, metric_type="hero")
        await client.hear_until(0)
        await client.ask(type="set_update_interval", interval_seconds=60)
        await publish(1, metric_type="hero")
        async with asyncio.timeout(5):
            while get_runtime().hub.offsets["hero"] < 2:
                await asyncio.sleep(0)
        confirmed = await client.ask(type="subscribe", metric_types=["system"])
    assert parse_position(confirmed["position"]).offsets == {"hero": 1, "system": 0}
    async with connected() as back:
        await back.subscribe("hero", "system", resume_from=confirmed["position"])
        assert await back.hear_until(1) == [(1, True)]


async def test_no_position_leaves_out_a_type_that_is_not_heard_yet(monkeypatch):
    async def join_later(metric_types):
        """Return as after a time that was too short."""

    async with connected() as client:
        await client.subscribe("hero")
        runtime = get_runtime()
        monkeypatch.setattr(runtime.membership, "wait_joined", join_later)
        monkeypatch.setattr(runtime.intake, "begin", _never)
        confirmed = await client.ask(type="subscribe", metric_types=["system"])
        assert "position" not in confirmed
        await publish(1, metric_type="hero")
        message = await client.hear()
        assert metrics_of(message) == [(1, False)]
        assert "position" not in message


async def _never(*_):
    await asyncio.Event().wait()


@pytest.mark.parametrize("page_metrics", [5, 1_000])
async def test_of_several_types_one_that_missed_much_keeps_nothing_of_the_others_away(monkeypatch, page_metrics):
    monkeypatch.setattr(recovery, "PAGE_METRICS", page_metrics)
    async with connected() as client:
        await client.subscribe("system", "hero", "business")
        position = client.position
    for number in range(30):
        await publish(number)
        if number % 10 == 0:
            await publish(100 + number, metric_type="hero")
    async with connected() as back:
        confirmed = await back.subscribe("system", "hero", "business", resume_from=position)
        assert confirmed["recovered"] is True
        expected = [item for number in range(30) for item in ([number] if number % 10 else [number, 100 + number])]
        assert await back.hear_until(29) == [(number, True) for number in expected]
        assert parse_position(back.position).offsets == {"system": 30, "business": 0, "hero": 3}
        for number, metric_type in enumerate(("system", "hero", "business"), start=200):
            await publish(number, metric_type=metric_type)
        assert [number for number, _ in await back.hear_until(202)] == [200, 201, 202]


async def test_an_outage_of_the_history_between_two_pages_is_a_gap_and_live_goes_on(monkeypatch):
    monkeypatch.setattr(recovery, "PAGE_METRICS", 1)
    async with connected() as client:
        await client.subscribe()
        position = client.position
    for number in range(5):
        await publish(number)
    history = get_runtime().history
    since = history.since

    async def fail_later(asked, **keys):
        if "max_bytes" in keys and asked.offsets["system"] > 2:  # what the client asks for, not the hub
            raise BusError("away")
        return await since(asked, **keys)

    monkeypatch.setattr(history, "since", fail_later)
    async with connected() as back:
        assert (await back.subscribe(resume_from=position))["recovered"] is True
        *metrics, gap = [*await back.hear_until(2), await back.hear()]
        assert metrics == [(0, True), (1, True), (2, True)]
        assert gap == {"type": "gap", "reason": "bus", "dropped": None, "metric_types": ["system"]}
        await get_runtime().membership.wait_joined(("system",))
        await publish(5)
        assert await back.hear_until(5) == [(5, False)]


@contextmanager
def deaf_hub():
    """Let the channel layer lose what it carries to this process."""
    layer = channel_layers["default"]
    groups, layer.groups = layer.groups, {}
    try:
        yield
    finally:
        layer.groups = groups


@pytest.mark.parametrize("page_metrics", [1, 1_000])
async def test_what_a_client_got_from_another_worker_does_not_come_again_from_one_that_is_behind(
    monkeypatch, page_metrics
):
    monkeypatch.setattr(recovery, "PAGE_METRICS", page_metrics)
    async with connected() as watcher:
        await watcher.subscribe()
        await publish(0)
        await watcher.hear_until(0)
        with deaf_hub():
            for number in range(1, 6):
                await publish(number)
        epoch = parse_position(watcher.position).epoch
        async with connected() as back:
            # The other worker brought what came up to 2.
            assert (await back.subscribe(resume_from=f"{epoch}:system=3"))["recovered"] is True
            await publish(6)
            assert [number for number, _ in await back.hear_until(6)] == [3, 4, 5, 6]
        assert await watcher.hear_until(6) == [(number, False) for number in range(1, 7)]


async def test_what_a_client_got_in_a_new_epoch_does_not_come_again_from_a_worker_in_the_old_one():
    async with connected() as watcher:
        await watcher.subscribe()
        await publish(0)
        await watcher.hear_until(0)
        get_runtime().history.forget()
        with deaf_hub():
            await publish(1)
            await publish(2)
        position = (await get_runtime().history.heads(["system"])).text()
        async with connected() as back:
            assert (await back.subscribe(resume_from=position))["recovered"] is True
            await publish(3)
            assert [number for number, _ in await back.hear_until(3)] == [3]


async def test_what_a_filter_leaves_out_moves_the_position_that_a_pong_tells():
    async with connected() as client:
        await client.ask(type="set_filters", filters={"sources": ["nobody"]})
        await client.subscribe()
        await publish(0)
        async with asyncio.timeout(5):
            while parse_position((await client.ask(type="ping"))["position"]).offsets != {"system": 1}:
                await asyncio.sleep(0)


async def test_a_position_of_another_epoch_is_a_gap_before_what_is_kept():
    await publish(1, 2)
    async with connected() as client:
        confirmed = await client.subscribe(resume_from="0a:system=7")
        assert confirmed["recovered"] is False
        gap, *metrics = await client.hear_until(2)
        assert gap == {"type": "gap", "reason": "history", "dropped": None, "metric_types": ["system"]}
        assert metrics == [(1, True), (2, True)]


async def test_what_is_not_kept_any_more_is_a_gap_with_its_number(settings):
    settings.METRICS_STREAM = {"HISTORY_METRICS": 3}
    async with connected() as client:
        await client.subscribe()
        for number in range(10):
            await publish(number)
        await client.hear_until(9)
        epoch = parse_position(client.position).epoch
    async with connected() as back:
        assert (await back.subscribe(resume_from=f"{epoch}:system=5"))["recovered"] is False
        gap, *metrics = await back.hear_until(9)
        assert gap == {"type": "gap", "reason": "history", "dropped": 2, "metric_types": ["system"]}
        assert metrics == [(7, True), (8, True), (9, True)]


async def test_a_position_that_is_none_is_an_error_and_changes_nothing():
    async with connected() as client:
        answer = await client.ask(type="subscribe", metric_types=["system"], resume_from="yesterday")
        assert answer["code"] == "invalid_message"
        assert "`resume_from` is 'yesterday'" in answer["message"]
        assert (await client.ask(type="unsubscribe", metric_types=[]))["metric_types"] == []


async def test_types_that_the_position_does_not_name_come_with_their_newest():
    await publish(1, metric_type="hero")
    async with connected() as client:
        await client.subscribe()
        position = client.position
    await publish(2)
    async with connected() as back:
        assert (await back.subscribe("system", "hero", resume_from=position))["recovered"] is True
        assert await back.hear_until(1) == [(2, True), (1, True)]


async def test_without_a_history_nothing_is_recovered_and_the_client_is_told(settings):
    settings.METRICS_STREAM = {"HISTORY_SECONDS": 0}
    async with connected() as client:
        confirmed = await client.subscribe(resume_from="0a:system=1")
        assert confirmed["recovered"] is False
        assert "position" not in confirmed
        assert await client.hear() == {"type": "gap", "reason": "history", "dropped": None, "metric_types": ["system"]}
        await publish(1)
        assert await client.hear_until(1) == [(1, False)]


async def test_a_mode_of_the_newest_gets_the_newest_of_what_it_missed():
    async with connected() as client:
        await client.subscribe()
    await publish(1, 2, 3)
    async with connected() as back:
        await back.ask(type="set_batching", mode="latest")
        await back.subscribe(resume_from=client.position)
        assert await back.hear_until(3) == [(3, True)]


async def test_other_messages_are_answered_while_the_past_is_on_its_way(monkeypatch):
    monkeypatch.setattr(recovery, "PAGE_METRICS", 10)
    await publish(*range(3_000))
    async with connected() as client:
        epoch = (await client.subscribe("hero"))["position"].partition(":")[0]
        await client.ask(type="subscribe", metric_types=["system"], resume_from=f"{epoch}:system=0")
        await client.send_to(text_data='{"type":"ping"}')
        kinds = []
        while "pong" not in kinds:
            kinds.append((await client.hear())["type"])
        assert len(kinds) < 100


@pytest.mark.parametrize("page_metrics", [1, 7, 1_000])
async def test_between_the_past_and_what_is_live_nothing_is_missing_while_a_publisher_never_pauses(
    monkeypatch, page_metrics
):
    monkeypatch.setattr(recovery, "PAGE_METRICS", page_metrics)
    number = 0

    async def never_pause():
        nonlocal number
        while True:
            await publish(number)
            number += 1
            await asyncio.sleep(0)

    numbering = asyncio.create_task(never_pause())
    heard, position = [], None
    for _ in range(6):
        async with connected() as client:
            keys = {} if position is None else {"resume_from": position}
            confirmed = await client.subscribe(**keys)
            assert confirmed.get("recovered", True)
            if position is None:
                while (await client.hear()).get("replayed"):
                    pass
                position = client.position
                continue
            for _ in range(4):
                message = await client.hear()
                assert message["type"].startswith("metric_"), message
                if client.position != position:
                    heard += metrics_of(message)
            position = client.position
    numbering.cancel()
    numbers = [number for number, _ in heard]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


async def test_an_outage_of_the_history_while_a_client_comes_is_a_gap(monkeypatch):
    await publish(0)
    async with connected() as client:
        await client.subscribe()
        await client.hear_until(0)
        position = client.position
    history = get_runtime().history

    async def fail(*_, **__):
        raise BusError("away")

    with monkeypatch.context() as patch:
        patch.setattr(history, "since", fail)
        async with connected() as back:
            assert (await back.subscribe(resume_from=position))["recovered"] is False
            assert (await back.hear())["reason"] == "bus"
            await broadcast("system", {"n": 1})
            assert await back.hear_until(1) == [(1, False)]
