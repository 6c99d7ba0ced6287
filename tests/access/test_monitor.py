"""How tokens, sessions and policies that end or change are applied to connected clients."""

import asyncio
from contextlib import contextmanager
from datetime import timedelta
from unittest import mock

from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group
from django.db import DatabaseError
from django.test import Client as Browser
from django.test import TransactionTestCase, override_settings
from django.utils import timezone

from metrics_stream.access import monitor
from metrics_stream.access.grants import resolve
from metrics_stream.access.monitor import access_monitor_of
from metrics_stream.broadcast import broadcast
from metrics_stream.bus.bus import declare_server
from metrics_stream.bus.messages import AccessChanged
from metrics_stream.models import AccessPolicy, AccessToken, Dashboard, ShareLink
from metrics_stream.routing import stream_application
from metrics_stream.runtime.runtime import get_runtime, stop_runtime
from tests.support.access import HOST, bearer, make_token, make_viewer, open_link, page_of, settled, socket
from tests.support.clients import Client


@override_settings(ANONYMOUS_READ=False)
class ClosedTests(TransactionTestCase):
    """With a database, which only Django's own test cases clean up behind asynchronous code."""

    def setUp(self):
        declare_server()

    async def ends_after(self, change, *headers):
        """Return how a client is closed that is connected during a change."""
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

    async def test_a_deactivated_user_is_closed(self):
        user, browser = await make_viewer(sources=[])
        user.is_active = False
        assert await self.ends_after(user.save, *page_of(browser)) == ("forbidden", 4503)

    async def test_a_user_with_a_new_password_has_to_sign_in_again(self):
        user, browser = await make_viewer(sources=[])
        await sync_to_async(user.set_password)("another")
        assert await self.ends_after(user.save, *page_of(browser)) == ("forbidden", 4503)

    async def test_a_user_who_signs_out_is_closed(self):
        _, browser = await make_viewer(sources=[])
        assert await self.ends_after(browser.logout, *page_of(browser)) == ("forbidden", 4503)

    async def lookups_after(self, change):
        """Return whose access is looked up because of a change, of two users and a token that are connected."""
        token, text = await make_token()
        ann, ann_browser = await make_viewer("ann", sources=[])
        _, ben_browser = await make_viewer("ben", sources=[])
        looked_up = []
        async with (
            socket(*page_of(ann_browser)) as one,
            socket(*page_of(ben_browser)) as two,
            socket(bearer(text)) as three,
        ):
            for client in (one, two, three):
                assert (await client.hear())["type"] == "welcome"
            watch = access_monitor_of(get_runtime())
            names = {client.credential: client.access.who for client in watch._clients}

            async def note(credential):
                looked_up.append(names[credential])
                return await sync_to_async(resolve)(credential)

            ended = asyncio.Event()
            recheck = watch.recheck

            async def recheck_and_say(*concerned):
                await recheck(*concerned)
                ended.set()

            with mock.patch.object(monitor, "_resolve", note), mock.patch.object(watch, "recheck", recheck_and_say):
                await sync_to_async(change)(ann=ann, browser=ben_browser, token=token)
                await asyncio.wait_for(ended.wait(), 5)
        await stop_runtime()
        return looked_up

    async def test_a_change_of_a_user_looks_up_that_user_only(self):
        def change(ann, **_):
            ann.first_name = "Anna"
            ann.save()

        assert await self.lookups_after(change) == ["ann"]

    async def test_a_sign_out_looks_up_that_user_only(self):
        def change(browser, **_):
            browser.post("/logout/")

        assert await self.lookups_after(change) == ["ben"]

    async def test_a_change_of_a_token_looks_up_that_token_only(self):
        def change(token, **_):
            token.save()

        assert await self.lookups_after(change) == ["token probe"]

    async def test_a_change_of_a_policy_looks_up_everybody(self):
        def change(**_):
            AccessPolicy.objects.first().save()

        assert sorted(await self.lookups_after(change)) == ["ann", "ben", "token probe"]

    async def test_a_sign_out_of_nobody_changes_nothing(self):
        with mock.patch("metrics_stream.access.signals.tell_servers") as tell:
            await sync_to_async(Browser().post)("/logout/")
            tell.assert_not_called()
            dashboard = await sync_to_async(Dashboard.objects.create)(slug="d", title="D", published=True)
            _, text = await sync_to_async(ShareLink.issue)(name="lobby", dashboard=dashboard)
            guest = Browser()
            await sync_to_async(open_link)(guest, text)
            tell.reset_mock()
            key = guest.session.session_key
            await sync_to_async(guest.post)("/logout/")
            # It ends what the links that were opened in this browser show, and concerns no other.
            tell.assert_called_once_with(AccessChanged(monitor.name_of_session(key)))

    async def test_a_client_that_does_not_read_does_not_delay_the_end_of_the_others(self):
        token, text = await make_token()
        is_deaf = asyncio.Event()

        async def deaf(scope, receive, send):
            async def stuck(message):
                if is_deaf.is_set():
                    await asyncio.Event().wait()
                await send(message)

            await stream_application(None)(scope, receive, stuck)

        others = [Client(deaf, "/ws/metrics/", headers=[*HOST, bearer(text)]) for _ in range(4)]
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
    async def test_a_change_without_a_message_is_found_by_the_recheck(self):
        token, text = await make_token()
        expire = AccessToken.objects.filter(pk=token.pk).update
        past = timezone.now() - timedelta(seconds=1)
        assert await self.ends_after(lambda: expire(expires_at=past), bearer(text)) == ("expired", 4005)

    async def test_a_policy_that_changes_narrows_and_widens_connected_clients(self):
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

    async def test_viewers_are_closed_when_the_database_is_down_for_five_minutes_and_not_before(self):
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

    @contextmanager
    def token_taken_over_during_recheck(self, one, text):
        """Let a client send another token during the look-up of its first one."""
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

    async def test_the_look_up_of_a_token_changes_nothing_for_a_client_that_has_another_by_then(self):
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

    async def test_nothing_is_left_of_clients_that_came_and_went(self):
        _, text = await make_token()
        for headers in ([], [bearer(text)], [bearer("mst_12345678_x")]):
            async with socket(*headers) as one:
                await one.hear()
        watch = access_monitor_of(get_runtime())
        assert not watch._clients
        assert not watch.places._counts
        assert not get_runtime().hub.clients
        await stop_runtime()
        assert len(asyncio.all_tasks()) == 1

    async def test_a_token_narrows_with_the_policies_of_its_maker(self):
        user, _ = await make_viewer(metric_types=["system", "hero"], sources=["ours"])
        _, text = await make_token(metric_types=["system", "hero"], created_by=user)
        async with socket(bearer(text)) as one:
            assert (await one.hear())["metric_types"] == ["system", "hero"]
            await one.ask(type="set_update_interval", interval_seconds=0.1)
            await one.ask(type="subscribe")
            await sync_to_async(narrow)(metric_types=["system"], sources=["theirs"])
            assert (await one.hear())["metric_types"] == ["system"]
            await broadcast("system", {"n": 1}, source="ours")
            await broadcast("system", {"n": 2}, source="theirs")
            assert (await one.hear())["data"]["data"] == {"n": 2}
            await sync_to_async(user.delete)()
            assert await one.ends() == ("forbidden", 4503)
        await stop_runtime()


def narrow(**columns):
    policy = AccessPolicy.objects.get()
    for name, value in columns.items():
        setattr(policy, name, value)
    policy.save()
