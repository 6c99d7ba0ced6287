"""What connected clients get of metric types and presets that change while they stay."""

import pytest
from asgiref.sync import sync_to_async

from metrics_stream.access import monitor
from metrics_stream.broadcast import broadcast
from metrics_stream.bus.bus import declare_server
from metrics_stream.definitions import signals
from metrics_stream.models import ClientPreset, MetricTypeDeclaration, MetricTypeField
from metrics_stream.runtime import definitions
from metrics_stream.runtime.runtime import stop_runtime
from tests.support.access import bearer, make_token, socket
from tests.support.clients import connected

pytestmark = pytest.mark.django_db(transaction=True)

make = sync_to_async(MetricTypeDeclaration.objects.create)
FAST = {"type": "set_update_interval", "interval_seconds": 0.1}


@pytest.fixture(autouse=True)
async def server(monkeypatch):
    monkeypatch.setattr(monitor, "SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(definitions, "DEFINITIONS_SECONDS", 60.0)
    declare_server()
    yield
    await stop_runtime()


async def hear_types(client, slug="queue"):
    """Return the types that are confirmed, and the description of one that came or changed."""
    confirmed, changed = None, None
    while changed is None:
        message = await client.hear()
        if message["type"] == "subscription_confirmed":
            confirmed = message["metric_types"]
        elif message["type"] == "catalogue_changed":
            [changed] = [item for item in message["changed"] if item["slug"] == slug]
    return confirmed, changed


async def test_who_subscribed_to_all_gets_a_new_type_without_doing_anything():
    async with connected() as client:
        await client.ask(FAST)
        before = (await client.ask(type="subscribe", metric_types=["ALL"]))["metric_types"]
        await make(slug="queue", label="Queues")
        confirmed, described = await hear_types(client)
        assert confirmed == [*before, "queue"]
        assert (described["label"], described["fields"]) == ("Queues", [])
        await broadcast("queue", {"depth": 3}, source="a")
        metric = (await client.hear())["data"]
        assert (metric["metric_type"], metric["data"]) == ("queue", {"depth": 3})


async def test_who_named_types_learns_of_a_new_one_and_does_not_get_it():
    async with connected() as client:
        await client.ask(type="subscribe", metric_types=["system"])
        await make(slug="queue")
        confirmed, described = await hear_types(client)
        assert confirmed == ["system"]
        assert described["label"] == "Queue"
        assert (await client.ask(type="subscribe", metric_types=["queue"]))["metric_types"] == ["system", "queue"]


async def test_who_unsubscribed_from_all_gets_no_later_type():
    async with connected() as client:
        await client.ask(type="subscribe")
        await client.ask(type="unsubscribe")
        await make(slug="queue")
        assert (await hear_types(client))[0] == []


async def test_a_label_and_units_arrive_without_a_new_subscription():
    declared = await make(slug="queue")
    async with connected() as client:
        before = (await client.ask(type="subscribe"))["metric_types"]
        assert "queue" in before
        await sync_to_async(MetricTypeField.objects.create)(
            metric_type=declared, name="wait", label="Waiting time", unit="ms", good="lower"
        )
        _, described = await hear_types(client)
        assert described["fields"] == [
            {
                "name": "wait",
                "label": "Waiting time",
                "unit": "ms",
                "kind": "gauge",
                "minimum": None,
                "maximum": None,
                "good": "lower",
            }
        ]


async def test_a_type_that_is_deleted_is_no_longer_sent():
    declared = await make(slug="queue")
    async with connected() as client:
        await client.ask(type="subscribe", metric_types=["queue", "system"])
        await sync_to_async(declared.delete)()
        assert (await client.hear())["metric_types"] == ["system"]
        message = await client.hear()
        assert (message["type"], message["changed"]) == ("catalogue_changed", [])
        assert "queue" not in message["metric_types"]


async def test_a_change_of_which_no_message_tells_is_noticed(monkeypatch):
    monkeypatch.setattr(definitions, "DEFINITIONS_SECONDS", 0.05)
    monkeypatch.setattr(signals, "_tell", lambda: None)
    async with connected() as client:
        await client.ask(type="subscribe")
        await make(slug="queue")
        assert (await hear_types(client))[0][-1] == "queue"


@pytest.mark.usefixtures("closed")
async def test_a_client_learns_of_no_type_that_it_may_not_see():
    _, narrow = await make_token()
    _, wide = await make_token(name="wide", metric_types=["all"])
    async with socket(bearer(narrow)) as one, socket(bearer(wide)) as other:
        for client in (one, other):
            await client.hear()
            await client.ask(type="subscribe")
        await make(slug="queue")
        assert (await hear_types(other))[0][-1] == "queue"
        assert (await one.ask(type="ping"))["type"] == "pong"


async def test_a_replay_goes_on_when_a_type_comes():
    await broadcast("system", {"n": 1}, source="a")
    async with connected() as client:
        await client.ask(type="subscribe")
        while (message := await client.ask(type="replay", paused=True))["type"] != "replay_state":
            pass
        await make(slug="queue")
        confirmed, _ = await hear_types(client)
        assert confirmed[-1] == "queue"
        await client.say(type="live", ref=1)
        assert (await client.hear_reply(1))["state"] == "live"
        while (message := await client.hear())["type"] != "subscription_confirmed":
            pass
        assert message["metric_types"][-1] == "queue"


# --- presets ---


async def hear_changed(client):
    while (message := await client.hear())["type"] != "subscription_changed":
        pass
    return message


@sync_to_async
def change(preset, **columns):
    for name, value in columns.items():
        setattr(preset, name, value)
    preset.save()


async def test_a_changed_preset_reaches_those_who_began_with_it():
    preset = await sync_to_async(ClientPreset.objects.create)(name="Wall", slug="wall", metric_types=["system"])
    async with connected("/ws/metrics/?preset=wall") as client, connected() as other:
        assert client.welcome["subscription"]["metric_types"] == ["system"]
        await change(preset, metric_types=["hero", "system"], sources=["a"], interval_seconds=0.2, mode="latest")
        message = await hear_changed(client)
        subscription = message["subscription"]
        assert subscription == message["granted"]
        assert subscription["metric_types"] == ["system", "hero"]
        assert subscription["filters"] == {"sources": ["a"]}
        assert (subscription["interval_seconds"], subscription["mode"]) == (0.2, "latest")
        assert (await client.hear())["metric_types"] == ["system", "hero"]
        await broadcast("hero", {"n": 1}, source="b")
        await broadcast("hero", {"n": 2}, source="a")
        assert (await client.hear())["data"]["data"] == {"n": 2}
        assert (await other.ask(type="ping"))["type"] == "pong"


async def test_what_a_client_has_set_itself_stays():
    preset = await sync_to_async(ClientPreset.objects.create)(name="Wall", slug="wall", metric_types=["system"])
    async with connected("/ws/metrics/?preset=wall") as client:
        await client.ask(type="set_filters", filters={"sources": ["mine"]})
        await client.ask(type="set_batching", mode="latest")
        await client.ask(type="subscribe", metric_types=["business"])
        await change(preset, metric_types=["hero"], sources=["a"], interval_seconds=0.2, mode="aggregate")
        message = await hear_changed(client)
        subscription = message["subscription"]
        assert subscription["metric_types"] == ["system", "business"]
        assert subscription["filters"] == {"sources": ["mine"]}
        assert (subscription["interval_seconds"], subscription["mode"]) == (0.2, "latest")
        assert (message["granted"]["metric_types"], message["granted"]["mode"]) == (["hero"], "aggregate")


async def test_a_preset_of_all_types_has_those_that_come_later():
    await sync_to_async(ClientPreset.objects.create)(name="Everything", slug="everything", metric_types=["all"])
    async with connected("/ws/metrics/?preset=everything") as client:
        assert "system" in client.welcome["subscription"]["metric_types"]
        await make(slug="queue")
        assert (await hear_types(client))[0][-1] == "queue"


async def test_a_deleted_preset_leaves_its_clients_alone():
    preset = await sync_to_async(ClientPreset.objects.create)(name="Wall", slug="wall", metric_types=["system"])
    async with connected("/ws/metrics/?preset=wall") as client:
        await sync_to_async(preset.delete)()
        await make(slug="queue")
        assert (await hear_types(client))[0] == ["system"]
