"""`/api/v1/stream/`: what a client of server-sent events gets, over HTTP, from this process as a real server."""

import asyncio
import json
from contextlib import asynccontextmanager
from urllib.parse import urlencode

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.core.asgi import get_asgi_application
from django.test import Client as Browser

from metrics_stream.access import monitor
from metrics_stream.broadcast import broadcast_many
from metrics_stream.bus.bus import declare_server
from metrics_stream.consumers import event_stream
from metrics_stream.models import AccessPolicy, AccessToken, ClientPreset
from metrics_stream.runtime.runtime import get_runtime, stop_runtime
from tests.support.events import EventClient, metrics_in
from tests.support.http_server import serving
from tests.support.stack import eventually

pytestmark = pytest.mark.django_db(transaction=True)

PATH = "/api/v1/stream/"


class Streams:
    """The server of this process, and its clients."""

    def __init__(self, server):
        self.server = server
        self.port = server.servers[0].sockets[0].getsockname()[1]
        self.clients = []

    async def open(self, query="", **headers):
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        client = await EventClient.open(self.port, f"{PATH}{query}", **named)
        self.clients.append(client)
        return client

    async def begin(self, query="?interval=0.1", **headers):
        """Return a client that has heard what is in force, and the position where it begins."""
        client = await self.open(query, **headers)
        assert client.status == 200, await client.reader.read(500)
        client.welcome = (await client.hear_named("welcome"))["data"]
        return client, (await client.hear_named("subscription_confirmed"))["id"]


@asynccontextmanager
async def running():
    declare_server()
    # Without what starts with a server, such as the recorder of test runs.
    async with serving(event_stream.with_event_streams(get_asgi_application())) as (server, _):
        found = Streams(server)
        try:
            yield found
        finally:
            for client in found.clients:
                client.cut()
            await stop_runtime()


@pytest.fixture
async def streams():
    async with running() as found:
        yield found


async def publish(*numbers, metric_type="system", **keys):
    await broadcast_many([{"metric_type": metric_type, "data": {"n": number}, **keys} for number in numbers])


async def hear_numbers(client, last):
    found = []
    while not found or found[-1] != last:
        event = await client.hear()
        found += [metric["data"]["n"] for metric in metrics_in(event)]
    return found


# --- what comes ---


async def test_a_client_hears_what_is_in_force_and_then_metrics_with_positions(streams):
    client, position = await streams.begin("?types=system&interval=0.1")
    assert client.headers["content-type"] == "text/event-stream"
    assert (client.headers["cache-control"], client.headers["x-accel-buffering"]) == ("no-store", "no")
    assert client.headers["x-content-type-options"] == "nosniff"
    subscription = client.welcome["subscription"]
    assert (subscription["metric_types"], subscription["interval_seconds"]) == (["system"], 0.1)
    await publish(1)
    event = await client.hear_named("metric_update")
    assert event["data"]["data"]["data"] == {"n": 1}
    assert event["id"] == event["data"]["position"] != position


async def test_filters_mode_and_preset_of_the_address(streams):
    await ClientPreset.objects.acreate(name="One", slug="one", metric_types=["system"], sources=["a"], mode="latest")
    client, _ = await streams.begin("?preset=one&sources=b,c&interval=0.2")
    subscription = client.welcome["subscription"]
    assert (subscription["preset"], subscription["mode"], subscription["interval_seconds"]) == ("one", "latest", 0.2)
    assert subscription["filters"]["sources"] == ["b", "c"]
    await publish(1, source="a")
    await publish(2, source="b")
    [metric] = metrics_in(await client.hear())
    assert metric["source"] == "b"


async def test_rows_are_filtered_by_the_parts_of_their_keys(streams):
    keys = urlencode({"keys": json.dumps({"name": ["/a*"]})})
    client, _ = await streams.begin(f"?types=request&{keys}")
    rows = [{"name": name, "method": "GET", "requests_total": 1} for name in ("/a/1", "/b", "/a/2")]
    await broadcast_many([{"metric_type": "request", "data": rows}])
    [metric] = metrics_in(await client.hear())
    assert [row["name"] for row in metric["data"]] == ["/a/1", "/a/2"]


async def test_the_newest_metric_of_each_kind_comes_first(streams):
    await publish(1, 2)
    client, _ = await streams.begin("?types=system")
    event = await client.hear()
    assert ([metric["data"]["n"] for metric in metrics_in(event)], event["data"]["replayed"]) == ([2], True)


async def test_a_client_that_is_cut_ten_times_misses_nothing_and_gets_nothing_twice(streams):
    ended = asyncio.Event()

    async def keep_publishing():
        for number in range(300):
            await publish(number)
            await asyncio.sleep(0.005)
        ended.set()

    client, position = await streams.begin("?types=system&interval=0.1")
    publishing = asyncio.create_task(keep_publishing())
    heard = []
    for cut in range(10):
        if cut:
            client, _ = await streams.begin("?types=system&interval=0.1", last_event_id=position)
        until = len(heard) + 12
        while len(heard) < until:
            event = await client.hear()
            heard += [metric["data"]["n"] for metric in metrics_in(event)]
            position = event["id"] or position
        client.cut()
    await ended.wait()
    client, _ = await streams.begin("?types=system&interval=0.1", last_event_id=position)
    if heard[-1] != 299:
        heard += await hear_numbers(client, 299)
    await publishing
    assert heard == list(range(300))


async def test_metrics_of_a_preset_with_one_a_frame_are_one_event_so_that_a_cut_repeats_none(streams):
    await ClientPreset.objects.acreate(
        name="Raw", slug="raw", metric_types=["system"], batch_size=1, sends_newest=False
    )
    client, position = await streams.begin("?preset=raw&interval=0.1")
    await publish(*range(5))
    event = await client.hear()
    assert [metric["data"]["n"] for metric in metrics_in(event)] == list(range(5))
    assert event["id"] not in (None, position)


async def test_a_position_of_a_history_that_is_gone_is_told_as_a_gap(streams):
    client = await streams.open("?types=system", last_event_id="01a207becfd716054d9f:system=1")
    confirmed = await client.hear_named("subscription_confirmed")
    assert confirmed["data"]["recovered"] is False
    assert (await client.hear_named("gap"))["data"]["reason"] == "history"


async def test_a_quiet_client_learns_its_position_from_heartbeats(streams, monkeypatch):
    monkeypatch.setattr(event_stream, "HEARTBEAT_SECONDS", 0.05)
    client, position = await streams.begin("?types=system&sources=nobody")
    await publish(1, source="somebody")
    text = b""
    while b"system=1\n" not in text:
        text += await asyncio.wait_for(client.reader.readline(), 5)
    assert b": heartbeat\nid: " in text
    assert position.endswith("system=0")


# --- who may ---


@pytest.fixture
def closed(settings):
    settings.ANONYMOUS_READ = False


async def issue(**values):
    defaults = {"name": "viewer", "scopes": ["subscribe"], "metric_types": ["system"]}
    return await sync_to_async(AccessToken.issue)(**{**defaults, **values})


async def refusal_of(client):
    length = int(client.headers["content-length"])
    return client.status, await asyncio.wait_for(client.reader.readexactly(length), 5)


async def test_without_access_there_is_no_stream(streams, closed):
    status, body = await refusal_of(await streams.open())
    assert status == 401
    assert b'"not_authenticated"' in body
    _, text = await issue(scopes=["publish"])
    status, body = await refusal_of(await streams.open(authorization=f"Bearer {text}"))
    assert status == 401
    assert b"scope subscribe" in body
    assert get_runtime().hub.clients == {}


async def test_a_token_sees_its_types_and_the_end_of_its_access_ends_the_stream(streams, closed, monkeypatch):
    monkeypatch.setattr(monitor, "SETTLE_SECONDS", 0.0)
    token, text = await issue()
    client, _ = await streams.begin(authorization=f"Bearer {text}")
    assert client.welcome["metric_types"] == ["system"]
    await publish(1, metric_type="hero")
    await publish(2)
    assert [metric["data"]["n"] for metric in metrics_in(await client.hear())] == [2]
    await sync_to_async(token.revoke)()
    event = await client.hear_named("closed")
    assert (event["data"]["code"], event["data"]["error"], event["data"]["retry"]) == (4503, "forbidden", False)
    assert await client.hear() is None
    await eventually(lambda: get_runtime().hub.clients == {}, 5)


async def test_less_access_narrows_a_stream_that_goes_on(streams, closed, monkeypatch):
    monkeypatch.setattr(monitor, "SETTLE_SECONDS", 0.0)
    token, text = await issue(metric_types=["system", "hero"])
    client, _ = await streams.begin(authorization=f"Bearer {text}")
    token.metric_types = ["hero"]
    await sync_to_async(token.save)()
    confirmed = await client.hear_named("subscription_confirmed")
    assert confirmed["data"]["metric_types"] == ["hero"]


async def test_a_session_gives_access_but_not_from_another_site(streams, closed):
    def sign_in():
        user = User.objects.create_user("ann")
        AccessPolicy.objects.create(name="all", metric_types=["all"]).users.add(user)
        browser = Browser()
        browser.force_login(user)
        return browser.cookies["sessionid"].value

    cookie = f"sessionid={await sync_to_async(sign_in)()}"
    client, _ = await streams.begin(cookie=cookie, sec_fetch_site="same-origin")
    assert "system" in client.welcome["metric_types"]
    status, _ = await refusal_of(await streams.open(cookie=cookie, sec_fetch_site="cross-site"))
    assert status == 401


async def test_a_stream_takes_a_place_of_its_owner_and_gives_it_back(streams, closed, settings):
    settings.METRICS_STREAM = {"MAX_CLIENTS_PER_USER": 1}
    await stop_runtime()
    _, text = await issue()
    headers = {"authorization": f"Bearer {text}"}
    client, _ = await streams.begin(**headers)
    status, body = await refusal_of(await streams.open(**headers))
    assert (status, b"1 clients of token viewer are connected already" in body) == (429, True)
    # What was refused has taken no place.
    client.cut()
    await eventually(lambda: get_runtime().hub.clients == {}, 5)
    await streams.begin(**headers)


# --- the end ---


async def test_a_server_that_stops_ends_its_streams_with_the_reason(streams):
    client, _ = await streams.begin()
    streams.server.should_exit = True
    event = await client.hear_named("closed")
    assert (event["data"]["code"], event["data"]["retry"]) == (4001, True)
    assert await client.hear() is None


async def test_a_client_that_reads_nothing_is_closed_and_forgotten_while_others_go_on(streams, settings):
    settings.METRICS_STREAM = {"SLOW_CLIENT_SECONDS": 1, "SLOW_CLIENT_BYTES": 65_536}
    await stop_runtime()
    silent, _ = await streams.begin("?types=system&interval=0.1")
    silent.reader._transport.pause_reading()
    other, _ = await streams.begin("?types=system&interval=0.1")
    text = "x" * 100_000

    async def publish_much():
        number = 0
        while True:
            number += 1
            await broadcast_many([{"metric_type": "system", "data": {"n": number, "text": text}} for _ in range(5)])
            await asyncio.sleep(0.05)

    publishing = asyncio.create_task(publish_much())
    hub = get_runtime().hub
    assert len(hub.clients) == 2

    async def keep_hearing():
        while True:
            assert await other.hear() is not None

    hearing = asyncio.create_task(keep_hearing())
    await eventually(lambda: len(hub.clients) == 1, 20)
    assert not hearing.done()
    for task in (publishing, hearing):
        task.cancel()
    assert get_runtime().telemetry.slow_clients_closed == 1


async def test_a_server_without_the_application_says_that_it_sends_no_events(async_client):
    response = await async_client.get(PATH)
    assert (response.status_code, response.json()["error"]) == (501, "no_stream")
    assert (await async_client.post(PATH)).status_code == 405
    await stop_runtime()
