"""Share links: what a WebSocket client with one gets, and how it ends."""

import json
import time

import pytest
from asgiref.sync import sync_to_async
from django.db import DatabaseError
from django.utils import timezone

from metrics_stream.access import monitor
from metrics_stream.broadcast import broadcast
from metrics_stream.consumers import replay_sources
from metrics_stream.models import Panel, ShareLink
from metrics_stream.runtime.runtime import stop_runtime
from tests.support.access import end_link, open_link
from tests.support.clients import connected, opened
from tests.support.recording import Recording, metric, start_run

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("closed")]


async def subscribe(viewer, *metric_types, **keys):
    await viewer.ask(type="set_update_interval", interval_seconds=0.1)
    return await viewer.ask(type="subscribe", metric_types=metric_types or ("all",), **keys)


async def hear_close(viewer):
    """Return the code of the close, and of the error that came before."""
    error = None
    while (message := await viewer.receive_output(timeout=5))["type"] == "websocket.send":
        error = json.loads(message["text"]).get("code")
    return message["code"], error


def key_of(client, link_and_text):
    open_link(client, link_and_text[1])
    return client.session.session_key


def watching(key):
    headers = [(b"host", b"testserver"), (b"origin", b"http://testserver"), (b"cookie", f"sessionid={key}".encode())]
    return connected(headers=headers)


@pytest.fixture
async def running(monkeypatch):
    monkeypatch.setattr(monitor, "SETTLE_SECONDS", 0.0)
    yield
    await stop_runtime()


async def publish():
    await broadcast("business", {"money_saved": 1})
    await broadcast("agent", [{"agent_id": "a-1", "agent_name": "Ada", "status": "healthy", "current_load": 0.5}])
    await broadcast("system", {"throughput_tps": 5, "error_rate": 0.5}, source="east")


async def data_of(viewer):
    """Return the data of both kinds of metrics that come, by their type."""
    found = {}
    while len(found) < 2:
        message = await viewer.hear()
        for item in [message["data"]] if message["type"] == "metric_update" else message.get("data", []):
            found[item["metric_type"]] = item["data"]
    return found


PERMITTED = {
    "system": {"throughput_tps": 5},
    "agent": [{"agent_id": "a-1", "agent_name": "Ada", "status": "healthy"}],
}


async def test_client_gets_the_fields_of_the_panels_whatever_it_asks_for(client, lobby, running):
    key = await sync_to_async(key_of)(client, await sync_to_async(ShareLink.issue)(name="x", dashboard=lobby))
    async with watching(key) as viewer:
        assert viewer.welcome["metric_types"] == ["system", "agent"]
        assert (await subscribe(viewer, "business"))["code"] == "unknown_metric_type"
        assert (await subscribe(viewer))["metric_types"] == ["system", "agent"]
        await publish()
        assert await data_of(viewer) == PERMITTED
        filters = {"fields": ["error_rate", "current_load", "throughput_tps", "status"]}
        assert (await viewer.ask(type="set_filters", filters=filters))["type"] == "filters_updated"
        await publish()
        assert await data_of(viewer) == PERMITTED


async def test_past_shows_no_more_than_live_metrics(client, lobby, running):
    key = await sync_to_async(key_of)(client, await sync_to_async(ShareLink.issue)(name="x", dashboard=lobby))
    async with watching(key) as viewer:
        await publish()
        confirmed = await subscribe(viewer, "all", backfill_seconds=60)
        assert confirmed["metric_types"] == ["system", "agent"]
        series = await backfilled(viewer)
        assert series == {("system", "throughput_tps")}
        begun = await viewer.ask(type="replay", backfill_seconds=60, ref="r")
        while begun.get("ref") != "r":
            begun = await viewer.hear()
        assert begun["type"] == "replay_state"
        assert await backfilled(viewer) == {("system", "throughput_tps")}
        error = await viewer.ask(type="replay", run="soak", ref="run")
        while error.get("ref") != "run":
            error = await viewer.hear()
        assert error["code"] == "unknown_run"


async def backfilled(viewer):
    """Return the metric types and fields that a backfill has series of."""
    series = set()
    while True:
        message = await viewer.hear()
        if message["type"] == "backfill":
            series |= {(item["metric_type"], item["field"]) for item in message["series"]}
            if message["done"]:
                return series


def recorded_run():
    run = start_run("soak")
    recording = Recording("soak")
    recording.record(
        metric(1, {"throughput_tps": 7, "error_rate": 0.1}), metric(2, {"money_saved": 7}, metric_type="business")
    )
    return recording.end(run)


async def test_link_of_a_run_shows_the_run_and_nothing_live(client, lobby, running):
    run = await sync_to_async(recorded_run)()
    await sync_to_async(start_run)("another")
    link = await sync_to_async(ShareLink.issue)(name="x", dashboard=lobby, run=run)
    async with watching(await sync_to_async(key_of)(client, link)) as viewer:
        await publish()
        assert (await subscribe(viewer, "all", backfill_seconds=60))["metric_types"] == ["system", "agent"]
        assert await backfilled(viewer) == set()
        await publish()
        assert (await viewer.ask(type="replay"))["code"] == "unknown_run"
        assert (await viewer.ask(type="replay", run="another"))["code"] == "unknown_run"
        assert (await viewer.ask(type="live"))["type"] == "error"
        begun = await viewer.ask(type="replay", run="soak", speed=60, backfill_seconds=60)
        assert (begun["type"], begun["run"]) == ("replay_state", "soak")
        while not (frame := await viewer.hear())["type"].startswith("metric_"):
            pass
        item = frame["data"] if frame["type"] == "metric_update" else frame["data"][0]
        assert item["data"] == {"throughput_tps": 7}
        await publish()
        assert (await viewer.ask(type="live"))["type"] == "error"


async def test_link_of_a_run_shows_nothing_live_after_a_replay_that_could_not_begin(
    client, lobby, running, monkeypatch
):
    async def away(*_):
        raise DatabaseError("away")

    run = await sync_to_async(recorded_run)()
    link = await sync_to_async(ShareLink.issue)(name="x", dashboard=lobby, run=run)
    async with watching(await sync_to_async(key_of)(client, link)) as viewer:
        await publish()
        with monkeypatch.context() as patch:
            patch.setattr(replay_sources, "_read_newest", away)
            assert (await viewer.ask(type="replay", run="soak"))["code"] == "internal"
        await subscribe(viewer, "all", backfill_seconds=60)
        # Metrics come before the columns.
        assert (message := await viewer.hear())["type"] == "backfill"
        assert message["series"] == []
        await publish()
        assert (await viewer.ask(type="ping"))["type"] == "pong"
        assert (await viewer.ask(type="replay", run="soak"))["type"] == "replay_state"


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("revoked", (4503, "forbidden")),
        ("deleted", (4503, "forbidden")),
        ("unpublished", (4503, "forbidden")),
        ("expired", (4005, "expired")),
    ],
)
async def test_live_client_is_closed_with_its_link(client, lobby, running, how, expected):
    link, text = await sync_to_async(ShareLink.issue)(name="x", dashboard=lobby)
    async with watching(await sync_to_async(key_of)(client, (link, text))) as viewer:
        await subscribe(viewer)
        began = time.monotonic()
        await sync_to_async(end)(link, how)
        assert await hear_close(viewer) == expected
        assert time.monotonic() - began < 5
    # A client that reconnects is refused at once.
    async with watching(client.session.session_key) as viewer:
        assert viewer.welcome["code"] == expected[1]


def end(link, how):
    """End a link as the admin does, so that the servers hear of it."""
    match how:
        case "expired":
            link.expires_at = timezone.now()
            link.save()
        case "unpublished":
            link.dashboard.published = False
            link.dashboard.save()
        case _:
            end_link(link, how)


async def test_client_sees_no_field_of_a_deleted_panel(client, lobby, running):
    key = await sync_to_async(key_of)(client, await sync_to_async(ShareLink.issue)(name="x", dashboard=lobby))
    async with watching(key) as viewer:
        await subscribe(viewer)
        await sync_to_async(_delete_load)()
        assert (await viewer.hear())["metric_types"] == ["agent"]
        await publish()
        message = await viewer.hear()
        assert message["data"]["metric_type"] == "agent"


def _delete_load():
    Panel.objects.get(title="Load").delete()


async def test_link_alone_does_not_admit_programs(client, lobby, running):
    key = await sync_to_async(key_of)(client, await sync_to_async(ShareLink.issue)(name="x", dashboard=lobby))
    async with opened(headers=[(b"cookie", f"sessionid={key}".encode())]) as program:
        assert (await program.hear())["type"] == "authentication_required"
