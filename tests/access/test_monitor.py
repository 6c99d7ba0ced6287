"""What a socket gets when nothing is open: tokens, sessions, policies, and what ends them while it is connected."""

import asyncio
import json
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta

from asgiref.sync import sync_to_async
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import Group, User
from django.db import DatabaseError
from django.test import Client as Browser
from django.test import TransactionTestCase, override_settings
from django.utils import timezone

from metrics_stream.access import monitor
from metrics_stream.access.monitor import access_monitor_of
from metrics_stream.broadcast import broadcast, broadcast_many
from metrics_stream.bus.bus import declare_server
from metrics_stream.consumers import session
from metrics_stream.consumers.metrics import MetricsConsumer
from metrics_stream.consumers.session import Session
from metrics_stream.core.protocol.positions import parse_position
from metrics_stream.models import AccessPolicy, AccessToken, ClientPreset
from metrics_stream.routing import stream_application
from metrics_stream.runtime.runtime import get_runtime, stop_runtime

PASSWORD = "correct horse battery"
HOST = [(b"host", b"testserver")]


class Socket(WebsocketCommunicator):
    async def say(self, **message):
        await self.send_to(text_data=json.dumps(message))

    async def hear(self):
        """Return the next message, without what differs each time."""
        message = json.loads(await self.receive_from(timeout=5))
        self.position = message.pop("position", None)
        return message

    async def ask(self, **message):
        await self.say(**message)
        return await self.hear()

    async def ends(self):
        """Return the code of the error that comes next, and that of the close behind it."""
        error = await self.hear()
        assert error["type"] == "error", error
        closed = await self.receive_output(timeout=5)
        assert closed["type"] == "websocket.close", closed
        return error["code"], closed["code"]


@asynccontextmanager
async def socket(*headers, path="/ws/metrics/", address="10.0.0.1"):
    one = Socket(stream_application(None), path, headers=[*HOST, *headers])
    one.scope["client"] = (address, 1234)
    accepted, _ = await one.connect(timeout=5)
    assert accepted
    try:
        yield one
    finally:
        await one.disconnect(timeout=5)


def bearer(text):
    return (b"authorization", f"Bearer {text}".encode())


def page_of(browser):
    """Return the headers that a page in the browser sends with a handshake."""
    cookies = "; ".join(f"{name}={morsel.value}" for name, morsel in browser.cookies.items())
    return (b"origin", b"http://testserver"), (b"cookie", cookies.encode())


@sync_to_async
def make_token(**values):
    return AccessToken.issue(**{"name": "probe", "scopes": ["subscribe"], "metric_types": ["system"]} | values)


@sync_to_async
def make_viewer(name="ann", **policy):
    """Return a person with a policy, and a browser in which she is signed in."""
    user = User.objects.create_user(name, password=PASSWORD)
    if policy:
        columns = {"metric_types": ["system"], **policy}
        AccessPolicy.objects.create(name=name, **columns).users.add(user)
    browser = Browser()
    browser.force_login(user)
    return user, browser


async def settled(client):
    """Return when everything that was published so far has been delivered or left out."""
    assert (await client.ask(type="ping"))["type"] == "pong"


@override_settings(ANONYMOUS_READ=False)
class ClosedTests(TransactionTestCase):
    """With a database, which only Django's own test cases clean up behind asynchronous code."""

    def setUp(self):
        declare_server()

    # --- who gets in ---

    async def test_who_shows_nothing_is_asked_and_gets_nothing(self):
        async with socket() as one:
            assert await one.hear() == {"type": "authentication_required", "within_seconds": 10.0}
            refused = await one.ask(type="subscribe", ref=1)
            assert (refused["code"], refused["ref"]) == ("not_authenticated", 1)
            await broadcast("system", {"n": 1})
            assert await one.receive_nothing(0.05)
            assert not get_runtime().hub.clients
        await stop_runtime()

    @override_settings(METRICS_STREAM={"AUTHENTICATE_SECONDS": 0.05})
    async def test_who_shows_nothing_in_time_has_to_go(self):
        async with socket() as one:
            await one.hear()
            assert await one.ends() == ("not_authenticated", 4502)
        await stop_runtime()

    async def test_a_token_opens_in_the_handshake_and_as_the_first_message(self):
        _, text = await make_token()
        async with socket(bearer(text)) as one:
            welcome = await one.hear()
            assert (welcome["type"], welcome["metric_types"]) == ("welcome", ["system"])
        async with socket() as one:
            await one.hear()
            welcome = await one.ask(type="authenticate", token=text, ref="a")
            assert (welcome["type"], welcome["ref"], welcome["metric_types"]) == ("welcome", "a", ["system"])
            assert (await one.ask(type="subscribe"))["metric_types"] == ["system"]
        token = await AccessToken.objects.aget()
        assert token.last_used_at is not None
        await stop_runtime()

    async def test_tokens_that_open_nothing(self):
        _, text = await make_token()
        await make_token(name="publisher", scopes=["publish"])
        _, expired = await make_token(name="old", expires_at=timezone.now() - timedelta(seconds=1))
        gone, revoked = await make_token(name="gone")
        await sync_to_async(gone.revoke)()
        _, numbering = await make_token(name="other publisher", scopes=["publish"])
        answers = {
            text[:-1] + ("0" if text[-1] != "0" else "1"): ("forbidden", 4503),
            text.upper(): ("forbidden", 4503),
            "": ("forbidden", 4503),
            "mst_": ("forbidden", 4503),
            "mst_zzzzzzzz_x": ("forbidden", 4503),
            "\x00": ("forbidden", 4503),
            "é" * 100: ("forbidden", 4503),
            revoked: ("forbidden", 4503),
            numbering: ("forbidden", 4503),
            expired: ("expired", 4005),
        }
        for shown, expected in answers.items():
            async with socket() as one:
                await one.hear()
                await one.say(type="authenticate", token=shown)
                assert await one.ends() == expected, shown
        async with socket((b"authorization", b"Basic YTpi")) as one:
            assert await one.ends() == ("forbidden", 4503)
        await stop_runtime()

    async def test_a_session_counts_for_pages_only(self):
        _, browser = await make_viewer(sources=[])
        origin, cookie = page_of(browser)
        async with socket(origin, cookie) as one:
            assert (await one.hear())["metric_types"] == ["system"]
        async with socket(cookie) as one:
            assert (await one.hear())["type"] == "authentication_required"
        async with socket(origin, (b"cookie", b"sessionid=guessed; x")) as one:
            assert (await one.hear())["type"] == "authentication_required"
        await stop_runtime()

    async def test_who_has_no_policy_sees_nothing(self):
        _, browser = await make_viewer()
        async with socket(*page_of(browser)) as one:
            assert (await one.hear())["metric_types"] == []
            refused = await one.ask(type="subscribe", metric_types=["system"])
            assert refused["code"] == "unknown_metric_type"
            assert (await one.ask(type="subscribe"))["metric_types"] == []
        await stop_runtime()

    async def test_a_database_that_is_away_lets_nobody_in(self):
        _, text = await make_token()

        def fails(*_, **__):
            raise DatabaseError("away")

        original = monitor._admit
        monitor._admit = sync_to_async(fails, thread_sensitive=False)
        try:
            async with socket(bearer(text)) as one:
                assert await one.ends() == ("internal", 4001)
        finally:
            monitor._admit = original
        await stop_runtime()

    # --- what they get ---

    async def test_only_what_is_allowed_comes_whatever_is_asked_for(self):
        await sync_to_async(ClientPreset.objects.create)(
            name="All", slug="all", metric_types=["all"], interval_seconds=0.1, sources=["theirs", "ours"]
        )
        _, browser = await make_viewer(
            metric_types=["system", "agent"], sources=["ours"], agent_ids=["a1"], fields=["n", "load"]
        )
        agents = [{"agent_id": "a1", "load": 1, "status": "x"}, {"agent_id": "a2", "load": 2}]
        items = [
            {"metric_type": metric_type, "data": data, "source": source}
            for source in ("theirs", "ours")
            for metric_type, data in (("system", {"n": 1, "secret": 2}), ("agent", agents), ("hero", {"n": 3}))
        ]
        await broadcast_many(items)
        async with socket(*page_of(browser), path="/ws/metrics/?preset=all&backfill_seconds=60") as one:
            assert (await one.hear())["subscription"]["metric_types"] == ["system", "agent"]
            frames = [await one.hear() for _ in range(3)]
            await broadcast_many(items)
            frames.append(await one.hear())
            await settled(one)
        replayed = [frame for frame in frames if frame.get("replayed")]
        metrics = [m for f in frames if f["type"] == "metric_batch" for m in f["data"]]
        assert replayed
        assert {metric["source"] for metric in metrics} == {"ours"}
        assert [metric["data"] for metric in metrics] == [{"n": 1}, [{"agent_id": "a1", "load": 1}]] * 2
        [columns] = [frame["series"] for frame in frames if frame["type"] == "backfill"]
        assert {(s["source"], s.get("agent_id"), s["field"]) for s in columns} == {
            ("ours", None, "n"),
            ("ours", "a1", "load"),
        }
        await stop_runtime()

    async def test_a_filter_for_what_is_not_allowed_gets_the_same_as_one_for_what_does_not_exist(self):
        _, browser = await make_viewer(sources=["ours"])
        await broadcast("system", {"n": 1}, source="theirs")
        answers = []
        for source in ("theirs", "no such source"):
            async with socket(*page_of(browser)) as one:
                await one.hear()
                answer = await one.ask(type="set_filters", filters={"sources": [source]})
                confirmed = await one.ask(type="subscribe", metric_types=["system"])
                await broadcast("system", {"n": 2}, source="theirs")
                await settled(one)
                answer["filters"].pop("sources")
                answers.append([answer, confirmed])
        assert answers[0] == answers[1]
        await stop_runtime()

    async def test_a_replay_of_the_history_shows_only_what_is_allowed(self):
        _, browser = await make_viewer(sources=["ours"], runs="none")
        await broadcast("system", {"n": 1}, source="theirs")
        await broadcast("system", {"n": 2}, source="ours")
        async with socket(*page_of(browser)) as one:
            await one.hear()
            await one.ask(type="subscribe", metric_types=["system"])
            assert (await one.hear())["data"]["data"] == {"n": 2}
            unknown = await one.ask(type="replay", run="soak")
            assert unknown["code"] == "unknown_run"
            until = timezone.now().isoformat()
            await one.say(type="replay", **{"from": until}, paused=True)
            heard = [await one.hear(), await one.hear()]
            [frame] = [item for item in heard if item["type"] != "replay_state"]
            assert frame["data"]["data"] == {"n": 2}
        await stop_runtime()

    async def test_viewers_with_other_rights_share_no_frame(self):
        _, ann = await make_viewer("ann", sources=["a"])
        _, bob = await make_viewer("bob", sources=["b"])
        async with socket(*page_of(ann)) as one, socket(*page_of(bob)) as two:
            for each in (one, two):
                await each.hear()
                await each.ask(type="subscribe", metric_types=["system"])
            assert get_runtime().hub.view_count == 2
            await broadcast_many([{"metric_type": "system", "data": {}, "source": name} for name in ("a", "b")])
            assert (await one.hear())["data"]["source"] == "a"
            assert (await two.hear())["data"]["source"] == "b"
        await stop_runtime()

    # --- what ends it ---

    async def ends_after(self, change, *headers):
        """Return how a socket ends that is connected while something is changed."""
        async with socket(*headers) as one:
            assert (await one.hear())["type"] == "welcome"
            await sync_to_async(change)()
            try:
                return await one.ends()
            finally:
                await stop_runtime()

    async def test_a_token_that_is_revoked_ends_its_sockets(self):
        token, text = await make_token()
        assert await self.ends_after(token.revoke, bearer(text)) == ("forbidden", 4503)

    async def test_a_token_that_is_deleted_ends_its_sockets(self):
        token, text = await make_token()
        assert await self.ends_after(token.delete, bearer(text)) == ("forbidden", 4503)

    async def test_who_is_deactivated_has_to_go(self):
        user, browser = await make_viewer(sources=[])
        user.is_active = False
        assert await self.ends_after(user.save, *page_of(browser)) == ("forbidden", 4503)

    async def test_who_has_another_password_has_to_sign_in_again(self):
        user, browser = await make_viewer(sources=[])
        await sync_to_async(user.set_password)("another")
        assert await self.ends_after(user.save, *page_of(browser)) == ("forbidden", 4503)

    async def test_who_signs_out_has_to_go(self):
        _, browser = await make_viewer(sources=[])
        assert await self.ends_after(browser.logout, *page_of(browser)) == ("forbidden", 4503)

    async def test_who_does_not_read_keeps_nobody_else_from_their_end(self):
        token, text = await make_token()
        is_deaf = asyncio.Event()

        async def deaf(scope, receive, send):
            async def stuck(message):
                if is_deaf.is_set():
                    await asyncio.Event().wait()
                await send(message)

            await stream_application(None)(scope, receive, stuck)

        others = [Socket(deaf, "/ws/metrics/", headers=[*HOST, bearer(text)]) for _ in range(4)]
        for other in others:
            await other.connect(timeout=5)
            await other.hear()
        async with socket(bearer(text)) as one:
            await one.hear()
            is_deaf.set()
            await sync_to_async(token.revoke)()
            assert await one.ends() == ("forbidden", 4503)
        assert not get_runtime().hub.clients
        await stop_runtime()
        for other in others:
            await other.disconnect(timeout=5)

    @override_settings(METRICS_STREAM={"RECHECK_SECONDS": 0.05})
    async def test_what_nobody_was_told_of_is_found_out(self):
        token, text = await make_token()
        expire = AccessToken.objects.filter(pk=token.pk).update
        past = timezone.now() - timedelta(seconds=1)
        assert await self.ends_after(lambda: expire(expires_at=past), bearer(text)) == ("expired", 4005)

    async def test_a_policy_that_changes_narrows_and_widens_live_sockets(self):
        user, browser = await make_viewer(metric_types=["system", "hero"])
        policy = await AccessPolicy.objects.aget()
        async with socket(*page_of(browser)) as one:
            await one.hear()
            await one.ask(type="subscribe")
            policy.metric_types = ["hero", "agent"]
            await sync_to_async(policy.save)()
            assert await one.hear() == {"type": "subscription_confirmed", "metric_types": ["hero"]}
            await broadcast("system", {"n": 1})
            await broadcast("hero", {"n": 2})
            assert (await one.hear())["data"]["metric_type"] == "hero"
            assert (await one.ask(type="subscribe"))["metric_types"] == ["agent", "hero"]
            await sync_to_async(policy.users.remove)(user)
            assert await one.hear() == {"type": "subscription_confirmed", "metric_types": []}
            group = await Group.objects.acreate(name="team")
            await sync_to_async(policy.groups.add)(group)
            await sync_to_async(user.groups.add)(group)
            assert await one.hear() == {"type": "subscription_confirmed", "metric_types": []}
            assert (await one.ask(type="subscribe"))["metric_types"] == ["agent", "hero"]
        await stop_runtime()

    async def test_what_waits_for_a_client_is_narrowed_too(self):
        _, browser = await make_viewer(sources=["a", "b"])
        policy = await AccessPolicy.objects.aget()
        async with socket(*page_of(browser)) as one:
            await one.hear()
            await one.ask(type="set_update_interval", interval_seconds=2)
            await one.ask(type="subscribe", metric_types=["system"])
            await broadcast("system", {"n": 0}, source="a")
            await one.hear()
            await broadcast_many([{"metric_type": "system", "data": {"n": 1}, "source": name} for name in ("a", "b")])
            policy.sources = ["b"]
            await sync_to_async(policy.save)()
            assert (await one.hear())["type"] == "subscription_confirmed"
            frame = await one.hear()
            assert frame["data"]["source"] == "b"
        await stop_runtime()

    async def narrow_who_comes(self, owner, name, path):
        """Take rights away while `owner.name` is done for a client that comes, and wait until it has fewer."""
        _, browser = await make_viewer(sources=["a", "b"])
        policy = await AccessPolicy.objects.aget()
        original, rechecked = getattr(owner, name), monitor.AccessMonitor.recheck

        async def narrow_afterwards(*args, **keys):
            setattr(owner, name, original)
            result = await original(*args, **keys)
            policy.sources = ["b"]
            await sync_to_async(policy.save)()
            await watched.wait()
            await asyncio.sleep(0)
            return result

        async def recheck(self):
            await rechecked(self)
            watched.set()

        watched = asyncio.Event()
        setattr(owner, name, narrow_afterwards)
        monitor.AccessMonitor.recheck = recheck
        try:
            async with socket(*page_of(browser), path=path) as one:
                await one.say(type="ping")
                while (await one.hear())["type"] != "pong":
                    pass
                [client] = get_runtime().hub.clients.values()
                async with asyncio.timeout(5):
                    while not client.selection.permit.grants or client.selection.permit.grants_for("system", "a"):
                        await asyncio.sleep(0)
        finally:
            monitor.AccessMonitor.recheck = rechecked
        await stop_runtime()

    async def test_rights_that_become_less_while_they_are_looked_up_hold_for_who_comes(self):
        await self.narrow_who_comes(monitor, "_admit", "/ws/metrics/")

    async def test_rights_that_become_less_while_somebody_is_let_in_hold_for_who_comes(self):
        await self.narrow_who_comes(MetricsConsumer, "_send_error", "/ws/metrics/?preset=none")

    async def test_what_comes_of_the_past_is_narrowed_while_it_is_on_its_way(self):
        _, browser = await make_viewer(metric_types=["system", "hero"])
        policy = await AccessPolicy.objects.aget()
        await broadcast("system", {"n": 1})
        await broadcast("hero", {"n": 2})
        async with socket(*page_of(browser)) as one:
            await one.hear()
            membership = get_runtime().membership
            wait_joined = membership.wait_joined

            async def narrow_first(metric_types):
                policy.metric_types = ["hero"]
                await sync_to_async(policy.save)()
                await access_monitor_of(get_runtime()).recheck()
                await asyncio.sleep(0)
                await wait_joined(metric_types)

            membership.wait_joined = narrow_first
            await one.say(type="subscribe", backfill_seconds=60)
            heard = [await one.hear() for _ in range(4)]
            assert heard[1] == {"type": "subscription_confirmed", "metric_types": ["hero"]}
            assert heard[2]["data"]["metric_type"] == "hero"
            assert [series["metric_type"] for series in heard[3]["series"]] == ["hero"]
            [client] = get_runtime().hub.clients.values()
            assert client.selection.metric_types == ("hero",)
            assert parse_position((await one.ask(type="ping"), one.position)[1]).offsets == {"hero": 1}
        await stop_runtime()

    async def test_a_backfill_is_narrowed_while_it_is_on_its_way(self):
        _, browser = await make_viewer(sources=["a", "b"])
        policy = await AccessPolicy.objects.aget()
        await broadcast_many([{"metric_type": "system", "data": {"n": 1}, "source": source} for source in ("a", "b")])
        async with socket(*page_of(browser)) as one:
            await one.hear()
            recent = get_runtime().recent
            series = recent.series

            async def narrow_afterwards(*args):
                found = await series(*args)
                policy.sources = ["b"]
                await sync_to_async(policy.save)()
                await access_monitor_of(get_runtime()).recheck()
                await asyncio.sleep(0)
                return found

            recent.series = narrow_afterwards
            await one.say(type="subscribe", metric_types=["system"], backfill_seconds=60)
            while (message := await one.hear())["type"] != "backfill":
                pass
            assert [series["source"] for series in message["series"]] == ["b"]
        await stop_runtime()

    async def test_a_replay_ends_when_its_authority_changes(self):
        _, browser = await make_viewer(sources=["a"])
        policy = await AccessPolicy.objects.aget()
        await broadcast("system", {"n": 1}, source="a")
        async with socket(*page_of(browser)) as one:
            await one.hear()
            assert (await one.ask(type="replay", paused=True))["type"] == "replay_state"
            policy.sources = ["b"]
            await sync_to_async(policy.save)()
            assert await one.ends() == ("expired", 4005)
        await stop_runtime()

    @asynccontextmanager
    async def replay_while_rights_change(self, owner, name):
        """Ask for a replay of the sources a and b, and take a away just before `owner.name` goes on."""
        _, browser = await make_viewer(sources=["a", "b"])
        policy = await AccessPolicy.objects.aget()
        await broadcast_many([{"metric_type": "system", "data": {"n": 1}, "source": source} for source in ("a", "b")])
        original = getattr(owner, name)

        async def narrow_first(*args):
            setattr(owner, name, original)
            policy.sources = ["b"]
            await sync_to_async(policy.save)()
            await access_monitor_of(get_runtime()).recheck()
            await asyncio.sleep(0)
            return await original(*args)

        async with socket(*page_of(browser)) as one:
            await one.hear()
            await one.ask(type="set_update_interval", interval_seconds=0.1)
            await one.ask(type="subscribe", metric_types=["system"])
            await one.hear()
            setattr(owner, name, narrow_first)
            await one.say(type="replay", paused=True, **{"from": timezone.now().isoformat()})
            yield one

    async def test_a_replay_that_waits_shows_what_may_be_seen_when_it_begins(self):
        async with self.replay_while_rights_change(Session, "_settle") as one:
            assert (await one.hear())["type"] == "subscription_confirmed"
            heard = [await one.hear(), await one.hear()]
            [frame] = [item for item in heard if item["type"] != "replay_state"]
            assert frame["data"]["source"] == "b"
            await one.ask(type="live")
            assert (await one.hear())["type"] == "subscription_confirmed"
            assert (await one.hear())["data"]["source"] == "b"
        await stop_runtime()

    async def test_a_replay_ends_when_its_authority_changes_while_it_begins(self):
        async with self.replay_while_rights_change(session, "open_replay_source") as one:
            assert await one.ends() == ("expired", 4005)
        await stop_runtime()

    async def test_a_database_that_is_away_cuts_viewers_after_five_minutes_and_not_before(self):
        _, text = await make_token()
        now = 1000.0

        def fails(_):
            raise DatabaseError("away")

        original, clock = monitor._resolve, monitor.time.monotonic
        monitor._resolve = sync_to_async(fails, thread_sensitive=False)
        monitor.time.monotonic = lambda: now
        try:
            async with socket(bearer(text)) as one:
                await one.hear()
                watch = access_monitor_of(get_runtime())
                await watch.recheck()
                now += 299
                await watch.recheck()
                await settled(one)
                now += 1
                await watch.recheck()
                assert await one.ends() == ("expired", 4005)
        finally:
            monitor._resolve, monitor.time.monotonic = original, clock
        await stop_runtime()

    async def test_another_token_takes_over(self):
        _, first = await make_token()
        _, second = await make_token(name="second", metric_types=["hero"])
        async with socket(bearer(first)) as one:
            await one.hear()
            await one.ask(type="subscribe")
            await one.say(type="authenticate", token=second)
            assert await one.hear() == {"type": "subscription_confirmed", "metric_types": []}
            assert (await one.hear())["metric_types"] == ["hero"]
            await AccessToken.objects.filter(name="probe").adelete()
            await settled(one)
        await stop_runtime()

    @contextmanager
    def token_taken_over_during_recheck(self, one, text):
        """Let a client show another token while it is looked up what its first one opens."""
        original = monitor._resolve

        async def take_over_first(credential):
            monitor._resolve = original
            await one.say(type="authenticate", token=text)
            while (await one.hear())["type"] != "welcome":
                pass
            return await original(credential)

        monitor._resolve = take_over_first
        try:
            yield
        finally:
            monitor._resolve = original

    async def test_a_token_that_is_looked_up_changes_nothing_for_who_has_another_by_then(self):
        for what in ("narrower", "instead of a revoked one"):
            first, text = await make_token(name=what)
            _, second = await make_token(name=f"{what}, second", metric_types=["hero"])
            async with socket(bearer(text)) as one:
                await one.hear()
                watch = access_monitor_of(get_runtime())
                if what != "narrower":
                    await AccessToken.objects.filter(pk=first.pk).aupdate(revoked_at=timezone.now())
                with self.token_taken_over_during_recheck(one, second):
                    await watch.recheck()
                assert (await one.ask(type="subscribe", metric_types=["system"]))["code"] == "unknown_metric_type"
                assert (await one.ask(type="subscribe", metric_types=["hero"]))["metric_types"] == ["hero"]
            await stop_runtime()

    # --- places ---

    @override_settings(METRICS_STREAM={"MAX_CLIENTS_PER_USER": 2})
    async def test_one_user_or_token_has_so_many_places(self):
        _, text = await make_token()
        _, other = await make_token(name="other")
        async with socket(bearer(text)) as one, socket(bearer(text)) as two:
            assert [(await each.hear())["type"] for each in (one, two)] == ["welcome"] * 2
            async with socket(bearer(text)) as three:
                assert await three.ends() == ("too_many_connections", 4013)
            async with socket(bearer(other)) as four:
                assert (await four.hear())["type"] == "welcome"
        async with socket(bearer(text)) as five:
            assert (await five.hear())["type"] == "welcome"
        assert get_runtime().telemetry.refused_clients
        await stop_runtime()

    @override_settings(METRICS_STREAM={"MAX_CLIENTS_PER_USER": 1})
    async def test_a_client_that_shows_another_token_takes_a_place_of_that_one(self):
        texts = [(await make_token(name=name))[1] for name in ("one", "two")]
        async with socket(bearer(texts[1])) as two:
            assert (await two.hear())["type"] == "welcome"
            async with socket(bearer(texts[0])) as one:
                assert (await one.hear())["type"] == "welcome"
                assert (await one.ask(type="authenticate", token=texts[0], ref="a"))["type"] == "welcome"
                await one.say(type="authenticate", token=texts[1])
                assert await one.ends() == ("too_many_connections", 4013)
        async with socket(bearer(texts[0])) as three:
            assert (await three.hear())["type"] == "welcome"
            await three.say(type="authenticate", token=texts[1])
            assert [(await three.hear())["type"] for _ in range(2)] == ["subscription_confirmed", "welcome"]
            async with socket(bearer(texts[0])) as four:
                assert (await four.hear())["type"] == "welcome"
        await stop_runtime()

    @override_settings(METRICS_STREAM={"MAX_CLIENTS_PER_ADDRESS": 1})
    async def test_one_address_has_so_many_places_and_this_machine_any_number(self):
        async with socket() as one:
            await one.hear()
            async with socket() as two:
                assert await two.ends() == ("too_many_connections", 4013)
            async with socket(address="10.0.0.2") as three:
                assert (await three.hear())["type"] == "authentication_required"
        async with socket() as four:
            assert (await four.hear())["type"] == "authentication_required"
        async with socket(address="127.0.0.1") as five, socket(address="::1") as six:
            assert [(await each.hear())["type"] for each in (five, six)] == ["authentication_required"] * 2
        await stop_runtime()

    async def test_nothing_is_left_of_sockets_that_came_and_went(self):
        _, text = await make_token()
        for headers in ([], [bearer(text)], [bearer("mst_12345678_x")]):
            async with socket(*headers) as one:
                await one.hear()
        watch = access_monitor_of(get_runtime())
        assert not watch._clients
        assert not watch._places
        assert not get_runtime().hub.clients
        await stop_runtime()
        assert len(asyncio.all_tasks()) == 1


class OpenTests(TransactionTestCase):
    """With ANONYMOUS_READ."""

    async def test_everybody_sees_everything_and_a_token_narrows_it(self):
        _, text = await make_token()
        async with socket() as one:
            assert (await one.hear())["metric_types"][:3] == ["system", "agent", "business"]
            await one.ask(type="subscribe", metric_types=["system", "hero"])
            await one.say(type="authenticate", token=text)
            assert await one.hear() == {"type": "subscription_confirmed", "metric_types": ["system"]}
            assert (await one.hear())["metric_types"] == ["system"]
        async with socket(bearer("mst_12345678_x")) as one:
            assert await one.ends() == ("forbidden", 4503)
        await stop_runtime()

    async def test_without_a_token_the_database_is_not_asked(self):
        def fails(*_, **__):
            raise AssertionError("asked")

        original = monitor._admit
        monitor._admit = fails
        try:
            async with socket((b"origin", b"http://testserver"), (b"cookie", b"sessionid=x")) as one:
                assert (await one.hear())["type"] == "welcome"
        finally:
            monitor._admit = original
        await stop_runtime()
