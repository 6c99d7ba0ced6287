"""Groups that are left, forgotten by the layer, or lose a message, in a runtime with one client."""

import asyncio

import pytest
from channels.layers import get_channel_layer

from metrics_stream.broadcast import broadcast_system_metrics
from metrics_stream.core.delivery.pending import Delivery
from metrics_stream.core.delivery.selection import Selection
from metrics_stream.core.errors import BusError
from metrics_stream.runtime.runtime import get_runtime, stop_runtime
from tests.support.inbox import Inbox


async def test_what_could_not_be_filled_in_when_it_was_missed_comes_as_soon_as_it_can(client, monkeypatch):
    runtime = get_runtime()
    await runtime.membership.wait_joined(("system",))
    await broadcast_system_metrics({"n": 0})
    assert (await client.hear())["data"]["data"] == {"n": 0}
    layer, history = get_channel_layer(), runtime.history
    groups, layer.groups = layer.groups, {}
    await broadcast_system_metrics({"n": 1})
    layer.groups = groups
    since = history.since

    async def fail_once(*_, **__):
        monkeypatch.setattr(history, "since", since)
        raise BusError("the history is away")

    monkeypatch.setattr(history, "since", fail_once)
    # The last metric for now: no later one reveals that one is missing.
    await broadcast_system_metrics({"n": 2})
    assert [entry["data"] for entry in (await client.hear())["data"]] == [{"n": 1}, {"n": 2}]


async def test_what_is_lost_while_the_history_is_read_comes_too(client, monkeypatch):
    runtime = get_runtime()
    await runtime.membership.wait_joined(("system",))
    layer, catch_up = get_channel_layer(), runtime.intake.catch_up

    async def catch_up_and_lose_more(metric_types):
        monkeypatch.setattr(runtime.intake, "catch_up", catch_up)
        await catch_up(metric_types)
        groups, layer.groups = layer.groups, {}
        await broadcast_system_metrics({"n": 1})
        layer.groups = groups
        runtime.membership.catch_up()  # as a lost canary does

    monkeypatch.setattr(runtime.intake, "catch_up", catch_up_and_lose_more)
    runtime.membership.catch_up()
    assert (await client.hear())["data"]["data"] == {"n": 1}


async def test_groups_that_the_layer_forgot_are_joined_again(settings, client):
    await stop_runtime()
    settings.METRICS_STREAM = {"REJOIN_SECONDS": 0.05}
    inbox = Inbox()
    runtime = get_runtime()
    runtime.hub.change(
        runtime.hub.add("two", inbox, connected_at=0.0), Selection(("system",)), Delivery(interval_seconds=0.1)
    )
    await runtime.membership.wait_joined(("system",))
    layer = get_channel_layer()
    joined = {group: dict(members) for group, members in layer.groups.items()}
    layer.groups.clear()
    async with asyncio.timeout(10):
        while {group: set(members) for group, members in layer.groups.items()} != {
            g: set(m) for g, m in joined.items()
        }:
            await asyncio.sleep(0)
    await broadcast_system_metrics({"n": 1})
    assert (await inbox.hear())["data"]["data"] == {"n": 1}


@pytest.mark.parametrize("history_seconds", [900, 0])
async def test_a_type_that_was_given_up_while_the_layer_was_away_begins_anew_when_it_is_wanted_again(
    settings, client, history_seconds
):
    await stop_runtime()
    settings.METRICS_STREAM = {"HISTORY_SECONDS": history_seconds}
    runtime, delivery = get_runtime(), Delivery(interval_seconds=0.1)
    first, second = Inbox(), Inbox()
    handle = runtime.hub.add("two", first, connected_at=0.0)
    runtime.hub.change(handle, Selection(("system",)), delivery)
    await runtime.membership.wait_joined(("system",))
    await broadcast_system_metrics({"n": 0})
    await first.hear()
    reset = runtime.bus.reset

    async def give_up_first():
        runtime.hub.remove(handle)
        await reset()

    runtime.bus.reset = give_up_first
    await runtime.reconnect()
    await runtime.membership.opened.wait()
    await broadcast_system_metrics({"n": 1})
    runtime.hub.change(runtime.hub.add("three", second, connected_at=0.0), Selection(("system",)), delivery)
    await runtime.membership.wait_joined(("system",))
    await broadcast_system_metrics({"n": 2})
    assert (await second.hear())["data"]["data"] == {"n": 2}
