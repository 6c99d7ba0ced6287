"""The admin page Connections, through the real views and real sockets: who sees it, what it says, whom it closes."""

import asyncio
import json
import signal

import pytest
import websockets
from asgiref.sync import sync_to_async
from channels.testing import WebsocketCommunicator
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.contrib.contenttypes.models import ContentType
from django.test import AsyncClient, TransactionTestCase
from django.urls import reverse

from metrics_stream.broadcast import broadcast_agent_metrics, broadcast_system_metrics
from metrics_stream.bus import processes as control
from metrics_stream.bus.bus import declare_server
from metrics_stream.bus.messages import CloseClient
from metrics_stream.core.delivery.explanation import Question
from metrics_stream.models import AccessPolicy, Connection
from metrics_stream.routing import stream_application
from metrics_stream.runtime.runtime import get_runtime, stop_runtime
from tests.support.stack import Stack

LIST = "/admin/metrics_stream/connection/"


class Socket(WebsocketCommunicator):
    """A client over the real routing."""

    async def say(self, **message):
        await self.send_to(text_data=json.dumps(message))

    async def hear(self):
        return json.loads(await self.receive_from(timeout=5))

    async def hear_a(self, *types):
        while (message := await self.hear())["type"] not in types:
            pass
        return message

    async def closed(self):
        while (message := await self.receive_output(timeout=5))["type"] != "websocket.close":
            self.last = json.loads(message["text"])
        return message


async def connect(**subscription):
    socket = Socket(stream_application(None), "/ws/metrics/")
    socket.scope["client"] = ("203.0.113.7", 40_000)
    assert (await socket.connect(timeout=5))[0]
    socket.id = (await socket.hear())["client_id"]
    await socket.say(type="set_update_interval", interval_seconds=0.1)
    await socket.hear_a("update_interval_set")
    if "filters" in subscription:
        await socket.say(type="set_filters", filters=subscription["filters"])
        await socket.hear_a("filters_updated")
    if "metric_types" in subscription:
        await socket.say(type="subscribe", metric_types=subscription["metric_types"])
        await socket.hear_a("subscription_confirmed")
    return socket


def page_of(client_id):
    return f"{LIST}{client_id}/"


def kick_page(client_id):
    return f"{LIST}{client_id}/disconnect/"


def make_staff(*permissions, superuser=False):
    """Make a member of staff with these permissions; return a browser that is signed in."""
    user = User.objects.create_user("staff", password="x", is_staff=True, is_superuser=superuser)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    browser = AsyncClient()
    browser.force_login(user)
    return browser


staff = sync_to_async(make_staff)


async def text_of(browser, address):
    response = await browser.get(address)
    assert response.status_code == 200
    return response.content.decode()


class ConnectionsTests(TransactionTestCase):
    """Pages need the database, which only Django's own test cases clean up behind async code."""

    async def test_the_list_says_who_is_connected_with_what_and_how_it_fares(self):
        socket = await connect(metric_types=["system"], filters={"sources": ["a", "b"], "fields": ["error_rate"]})
        await broadcast_system_metrics({"error_rate": 0.5}, source="a")
        await socket.hear_a("metric_update")
        text = await text_of(await staff("view_connection"), LIST)
        for shown in (
            "1 client of 1 server process",
            "anybody",
            f"{socket.id[:8]}, 203.0.113.7",
            "only sources a, b; field error_rate",
            "all, every 0.1 s",
            "state--live",
            get_runtime().statistics.sample().process,
            page_of(socket.id),
        ):
            assert shown in text
        [client] = (await asyncio.to_thread(control.gather_clients))[0]["clients"]
        assert (client["metrics_sent"], client["metrics_waiting"], client["bytes_waiting"]) == (1, 0, 0)
        assert 0 <= client["seconds_since_frame"] < 5
        await socket.disconnect()
        await stop_runtime()

    async def test_rows_are_filtered_and_sorted(self):
        first = await connect(metric_types=["hero"])
        second = await connect(metric_types=["system"])
        browser = await staff("view_connection")
        text = await text_of(browser, f"{LIST}?q=203.0.113+HERO")
        assert f"client-{first.id}" in text
        assert f"client-{second.id}" not in text
        assert "2 clients of 1 server process; 1 fits the filter" in text
        assert "No client fits “nobody-at-all”." in await text_of(browser, f"{LIST}?q=nobody-at-all")
        for order, expected in (("subscription", [first, second]), ("-subscription", [second, first])):
            text = await text_of(browser, f"{LIST}?o={order}")
            assert sorted((first, second), key=lambda one: text.index(f"client-{one.id}")) == expected
        for order in ("", "junk", "--", *(name for name in ("who", "state", "age", "-waiting", "since", "process"))):
            assert f"client-{first.id}" in await text_of(browser, f"{LIST}?o={order}")
        await first.disconnect()
        await second.disconnect()
        await stop_runtime()

    async def test_without_clients_and_without_a_server_the_page_says_so(self):
        browser = await staff("view_connection")
        assert "0 clients of 0 server processes" in await text_of(browser, LIST)
        declare_server()
        get_runtime()
        text = await text_of(browser, LIST)
        assert "0 clients of 1 server process" in text
        assert "No client is connected." in text
        await stop_runtime()

    async def test_a_channel_layer_that_is_away_is_said(self):
        with self.settings(
            CHANNEL_LAYERS={
                "default": {
                    "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
                    "CONFIG": {"hosts": ["redis://127.0.0.1:1"]},
                }
            }
        ):
            browser = await staff("view_connection", "disconnect_connection")
            for address in (LIST, page_of("0" * 32)):
                assert "The server processes could not be asked: the channel layer could not" in await text_of(
                    browser, address
                )
            response = await browser.post(kick_page("0" * 32), {"reason": "x"}, follow=True)
            assert "No client was disconnected: the channel layer could not" in response.content.decode()

    async def test_a_client_is_disconnected_with_the_reason_and_the_log_keeps_who_whom_and_why(self):
        socket = await connect(metric_types=["system"])
        other = await connect(metric_types=["system"])
        browser = await staff("view_connection", "disconnect_connection")
        asked = await text_of(browser, kick_page(socket.id))
        assert "Disconnect anybody" in asked
        assert socket.id in get_runtime().hub.clients
        response = await browser.post(kick_page(socket.id), {"reason": "Ümläuts " + "ü" * 90}, follow=True)
        text = response.content.decode()
        assert f"Disconnected anybody ({socket.id[:8]}) from 203.0.113.7." in text
        closing = await socket.closed()
        assert closing["code"] == 4503
        assert closing["reason"].startswith("disconnected by an admin: Ümläuts üü")
        assert len(closing["reason"].encode()) <= 123
        assert socket.last == {
            "type": "error",
            "code": "forbidden",
            "message": "disconnected by an admin: Ümläuts " + "ü" * 90,
        }
        entry = await LogEntry.objects.select_related("user").aget()
        assert (entry.user.username, entry.object_id) == ("staff", socket.id)
        assert entry.object_repr == f"anybody ({socket.id[:8]}) from 203.0.113.7"
        assert entry.get_change_message() == "Disconnected: Ümläuts " + "ü" * 90
        text = await text_of(browser, LIST)
        assert f"client-{socket.id}" not in text
        assert f"client-{other.id}" in text
        assert "Disconnected: Ümläuts" in text
        assert "Disconnected: Ümläuts" in await text_of(browser, page_of(socket.id))
        await other.disconnect()
        await stop_runtime()

    async def test_a_client_that_is_gone_meanwhile_is_said_to_be_and_nothing_is_logged(self):
        control.ANSWER_SECONDS, before = 0.1, control.ANSWER_SECONDS
        self.addCleanup(setattr, control, "ANSWER_SECONDS", before)
        socket = await connect()
        await socket.disconnect()
        browser = await staff("view_connection", "disconnect_connection")
        for send in (browser.get, browser.post):
            response = await send(kick_page(socket.id), {"reason": "x"}, follow=True)
            assert f"The client {socket.id[:8]} is no longer connected." in response.content.decode()
        assert "This client is no longer connected." in await text_of(browser, page_of(socket.id))
        assert not await LogEntry.objects.aexists()
        await stop_runtime()

    async def test_a_reason_is_needed_and_is_a_line_that_can_be_kept(self):
        socket = await connect()
        browser = await staff("view_connection", "disconnect_connection")
        for reason, problem in (("", "This field is required"), ("a\x1b[31m", "holds the"), ("x" * 101, "at most 100")):
            response = await browser.post(kick_page(socket.id), {"reason": reason})
            assert response.status_code == 200
            assert problem in response.content.decode()
        assert socket.id in get_runtime().hub.clients
        await socket.disconnect()
        await stop_runtime()

    async def test_what_a_client_may_not_do_is_refused_to_everybody_without_the_permission(self):
        socket = await connect()
        addresses = (LIST, page_of(socket.id), kick_page(socket.id))
        nobody = AsyncClient()
        viewer = await sync_to_async(User.objects.create_user)("viewer", password="x")
        signed_in = AsyncClient()
        await sync_to_async(signed_in.force_login)(viewer)
        for browser in (nobody, signed_in):
            for address in addresses:
                for response in (await browser.get(address), await browser.post(address, {"reason": "x"})):
                    assert response.status_code == 302
                    assert response["Location"].startswith("/admin/login/")
        without = await staff()
        for address in addresses:
            assert (await without.get(address)).status_code == 403
            assert (await without.post(address, {"reason": "x"})).status_code == 403
        assert "Connections" not in await text_of(without, "/admin/")
        user = await User.objects.aget(username="staff")
        await user.user_permissions.aset([await Permission.objects.aget(codename="view_connection")])
        assert LIST in await text_of(without, "/admin/")
        for address in (LIST, page_of(socket.id)):
            text = await text_of(without, address)
            assert socket.id[:8] in text
            assert "/disconnect/" not in text
        assert (await without.get(kick_page(socket.id))).status_code == 403
        assert (await without.post(kick_page(socket.id), {"reason": "x"})).status_code == 403
        # To disconnect, one must be able to look.
        await user.user_permissions.aset([await Permission.objects.aget(codename="disconnect_connection")])
        assert (await without.post(kick_page(socket.id), {"reason": "x"})).status_code == 403
        assert socket.id in get_runtime().hub.clients
        await socket.disconnect()
        await stop_runtime()

    async def test_a_forged_form_disconnects_nobody(self):
        socket = await connect()
        browser = await staff(superuser=True)
        strict = AsyncClient(enforce_csrf_checks=True)
        strict.cookies = browser.cookies
        assert (await strict.post(kick_page(socket.id), {"reason": "x"})).status_code == 403
        assert socket.id in get_runtime().hub.clients
        await socket.disconnect()
        await stop_runtime()

    async def test_why_is_answered_by_the_process_that_has_the_client(self):
        socket = await connect(metric_types=["agent"], filters={"agent_ids": ["x"]})
        await broadcast_agent_metrics([{"agent_id": "x", "status": "ok"}, {"agent_id": "y"}], source="a")
        await socket.hear_a("metric_update")
        browser = await staff(superuser=True)
        page = page_of(socket.id)
        assert "agent of a, 2 agents" in await text_of(browser, page)
        for asked, gets, text in (
            ("metric_type=agent&agent_id=x", True, "Nothing waits; a metric that arrived now would be sent in"),
            ("metric_type=agent&agent_id=y", False, "It wants only: x. The metric is of y."),
            ("metric_type=agent&agent_id=x&field=status", True, "The newest of agent, agent x is"),
            ("metric_type=hero", False, "It has subscribed to agent only; the client has to send `subscribe`."),
            ("metric_type=nothing", False, "&#x27;nothing&#x27; is unknown; there are: system, agent"),
        ):
            shown = await text_of(browser, f"{page}?{asked}")
            assert ("It gets this metric." in shown) == gets
            assert text in shown
        await socket.disconnect()
        await stop_runtime()

    async def test_why_names_what_the_client_may_see_and_shows_the_asker_no_more_than_he_may_see(self):
        with self.settings(ANONYMOUS_READ=False):
            viewer = await sync_to_async(User.objects.create_user)("viewer", password="x")
            policy = await AccessPolicy.objects.acreate(name="team a", metric_types=["system"], sources=["a"])
            await policy.users.aadd(viewer)
            signed_in = AsyncClient()
            await sync_to_async(signed_in.force_login)(viewer)
            cookie = f"sessionid={signed_in.cookies['sessionid'].value}".encode()
            socket = Socket(
                stream_application(None),
                "/ws/metrics/",
                headers=[(b"cookie", cookie), (b"host", b"testserver"), (b"origin", b"http://testserver")],
            )
            socket.scope["scheme"] = "ws"
            assert (await socket.connect(timeout=5))[0]
            client_id = (await socket.hear())["client_id"]
            await socket.say(type="subscribe", metric_types=["system"])
            await socket.hear_a("subscription_confirmed")
            await broadcast_system_metrics({"error_rate": 0.5}, source="secret-source")
            address = f"{page_of(client_id)}?metric_type=system"
            await socket.say(type="set_filters", filters={"sources": ["secret-source", "b"]})
            await socket.hear_a("filters_updated")
            browser = await staff("view_connection")
            assert "Subscription" in (text := await text_of(browser, address))
            assert "system" not in text.partition('<dl class="connections__facts">')[2].partition("</dl>")[0]
            asker = await User.objects.aget(username="staff")
            own = await AccessPolicy.objects.acreate(name="team b", metric_types=["system"], sources=["b"])
            await own.users.aadd(asker)
            for each in (LIST, address, "/api/stats/"):
                text = await text_of(browser, each)
                assert "(1 hidden)" in text
                assert "secret-source" not in text
            text = await text_of(browser, address)
            assert "It may see only: metrics of system, only the sources 1 that you may not see." in text
            assert "It wants only: b and 1 that you may not see." in text
            assert "Nothing of system was published in the last" in text
            assert "that you may see yourself" in text
            await User.objects.filter(username="staff").aupdate(is_superuser=True)
            text = await text_of(browser, f"{address}&source=secret-source")
            assert "It may see only: metrics of system, only the sources a." in text
            assert "viewer" in text
            await socket.disconnect()
            await stop_runtime()

    async def test_hostile_names_are_text_and_hostile_questions_have_answers(self):
        evil = '<script>alert(1)</script>"'
        socket = await connect(metric_types=["system"], filters={"sources": [evil]})
        await broadcast_system_metrics({evil: 1}, source=evil)
        await socket.hear_a("metric_update")
        browser = await staff(superuser=True)
        for address in (
            LIST,
            page_of(socket.id),
            f"{page_of(socket.id)}?metric_type=system&source={evil}&field={evil}",
            f"{page_of(socket.id)}?metric_type={evil}",
            f"{page_of(socket.id)}?metric_type=system&source={'x' * 300}&agent_id=%00",
            f"{LIST}?q={evil}&o={evil}",
        ):
            assert "<script>alert" not in await text_of(browser, address)
        await socket.disconnect()
        await stop_runtime()


def test_the_log_of_the_admin_leads_to_the_page_of_the_client(db):
    staff_user = User.objects.create_user("staff", is_staff=True, is_superuser=True)
    kind = ContentType.objects.get_for_model(Connection)
    entry = LogEntry(user=staff_user, content_type=kind, object_id="0" * 32, object_repr="x", action_flag=2)
    assert entry.get_admin_url() == reverse("admin:metrics_stream_connection_change", args=["0" * 32])


@pytest.mark.valkey
async def test_clients_of_all_processes_are_seen_asked_about_and_closed_from_another_one(
    valkey_url, valkey_layer, tmp_path
):
    stack = Stack(tmp_path, valkey_url, workers=2)
    await asyncio.to_thread(stack.make_database)
    await asyncio.to_thread(stack.start)
    sockets = {}
    try:
        # The system deals them out as it likes.
        while len({process for _, process in sockets.values()}) < 2:
            socket = await websockets.connect(stack.socket_url)
            client_id = json.loads(await socket.recv())["client_id"]
            answer = await asyncio.to_thread(control.ask_about_client, Question(client_id=client_id))
            assert answer["client"]["client_id"] == client_id
            sockets[client_id] = socket, answer["process"]
        processes = await asyncio.to_thread(control.gather_clients)
        assert {client["client_id"]: stats["process"] for stats in processes for client in stats["clients"]} == {
            client_id: process for client_id, (_, process) in sockets.items()
        }
        for client_id, (socket, _) in sockets.items():
            question = Question(client_id=client_id, metric_type="hero")
            answer = await asyncio.to_thread(control.ask_about_client, question)
            assert "It has subscribed to nothing" in json.dumps(answer["explanation"])
            assert await asyncio.to_thread(control.tell_servers, CloseClient(client_id, "enough"))
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await asyncio.wait_for(_read_to_the_end(socket), 10)
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4503, "enough")
    finally:
        await asyncio.to_thread(stack.stop, signal.SIGKILL)


async def _read_to_the_end(socket):
    while True:
        await socket.recv()
