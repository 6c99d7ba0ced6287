"""What a session does when its client is closed, or the access changes, while something is on its way."""

import asyncio
from contextlib import asynccontextmanager

from asgiref.sync import sync_to_async
from django.test import TransactionTestCase, override_settings
from django.utils import timezone

from metrics_stream.access import monitor
from metrics_stream.access.monitor import access_monitor_of
from metrics_stream.broadcast import broadcast, broadcast_many
from metrics_stream.bus.bus import declare_server
from metrics_stream.consumers import recovery, session
from metrics_stream.consumers.metrics import MetricsConsumer
from metrics_stream.consumers.session import Session
from metrics_stream.core.protocol.codes import CloseCode, ErrorCode
from metrics_stream.core.protocol.positions import parse_position
from metrics_stream.models import AccessPolicy
from metrics_stream.routing import stream_application
from metrics_stream.runtime.runtime import get_runtime, stop_runtime
from tests.support.access import make_viewer, page_of, socket
from tests.support.clients import opened
from tests.support.stack import eventually


async def test_a_client_that_is_closed_while_its_past_is_sent_is_forgotten(monkeypatch):
    """Its next message waits for the rest of the past, which is not sent any more."""
    declare_server()
    monkeypatch.setattr(recovery, "PAGE_METRICS", 1)
    await broadcast_many([{"metric_type": "system", "data": {"n": n}, "source": f"s{n}"} for n in range(3)])
    reads = asyncio.Event()
    reads.set()

    async def deaf(scope, receive, send):
        async def send_if_read(message):
            if '"replayed"' in message.get("text", ""):
                reads.clear()
            await reads.wait()
            await send(message)

        await stream_application(None)(scope, receive, send_if_read)

    async with opened(application=deaf) as client:
        await client.hear()
        await client.ask(type="subscribe", metric_types=["system"])
        hub = get_runtime().hub
        [one] = hub.clients.values()
        await eventually(lambda: one.busy_since is not None, 5)
        received = get_runtime().telemetry.messages_received
        await client.say(type="subscribe", metric_types=["hero"])
        await eventually(lambda: get_runtime().telemetry.messages_received > received, 5)
        hub.close(one.id, CloseCode.SLOW_CONSUMER, ErrorCode.SLOW_CONSUMER, "nothing was read")
        reads.set()
        await client.send_input({"type": "websocket.disconnect", "code": 1006})
        await eventually(client.future.done, 5)
    await stop_runtime()


@override_settings(ANONYMOUS_READ=False)
class NarrowedTests(TransactionTestCase):
    """With a database, which only Django's own test cases clean up behind asynchronous code."""

    def setUp(self):
        declare_server()

    async def test_metrics_that_wait_for_a_client_are_narrowed_too(self):
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

    async def narrow_new_client(self, owner, name, path):
        """Take rights away while `owner.name` runs for a new client, and wait until it has fewer."""
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

        async def recheck(self, *concerned):
            await rechecked(self, *concerned)
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

    async def test_rights_that_shrink_during_their_look_up_apply_to_a_new_client(self):
        await self.narrow_new_client(monitor, "_admit", "/ws/metrics/")

    async def test_rights_that_shrink_during_the_admission_apply_to_a_new_client(self):
        await self.narrow_new_client(MetricsConsumer, "_send_error", "/ws/metrics/?preset=none")

    async def test_a_recovery_is_narrowed_while_it_is_sent(self):
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

    async def test_a_backfill_is_narrowed_while_it_is_sent(self):
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

    async def test_a_replay_ends_when_its_access_changes(self):
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

    async def test_a_replay_that_waits_has_the_access_of_its_beginning(self):
        async with self.replay_while_rights_change(Session, "_settle") as one:
            assert (await one.hear())["type"] == "subscription_confirmed"
            heard = [await one.hear(), await one.hear()]
            [frame] = [item for item in heard if item["type"] != "replay_state"]
            assert frame["data"]["source"] == "b"
            await one.ask(type="live")
            assert (await one.hear())["type"] == "subscription_confirmed"
            assert (await one.hear())["data"]["source"] == "b"
        await stop_runtime()

    async def test_a_replay_ends_when_its_access_changes_while_it_begins(self):
        async with self.replay_while_rights_change(session, "open_replay_source") as one:
            assert await one.ends() == ("expired", 4005)
        await stop_runtime()
