"""What a client shows to be admitted, and the welcome that it gets."""

from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django.db import DatabaseError
from django.test import TransactionTestCase, override_settings
from django.utils import timezone

from metrics_stream.access import monitor
from metrics_stream.broadcast import broadcast
from metrics_stream.bus.bus import declare_server
from metrics_stream.models import AccessToken
from metrics_stream.runtime.runtime import get_runtime, stop_runtime
from tests.support.access import bearer, make_token, make_viewer, page_of, settled, socket
from tests.support.clients import connected


@pytest.fixture(autouse=True)
async def stopped_runtime():
    yield
    await stop_runtime()


async def test_the_welcome_says_what_a_client_needs_to_know():
    async with connected() as client:
        welcome = client.welcome
    assert welcome.pop("client_id")
    assert welcome.pop("timestamp").endswith("Z")
    assert welcome.pop("message")
    assert welcome == {
        "type": "welcome",
        "protocol": 1,
        "metric_types": ["system", "agent", "business", "hero", "presentation", "request", "error", "stream"],
        "subscription": {
            "metric_types": [],
            "filters": {},
            "interval_seconds": 1.0,
            "batch_size": 10,
            "batch_timeout_seconds": 0.5,
            "mode": "all",
            "preset": None,
        },
        "limits": {
            "message_bytes": 65536,
            "messages_per_second": 10.0,
            "message_burst": 20,
            "errors_per_minute": 5,
            "filter_terms": 1000,
            "interval_seconds": [0.1, 60.0],
            "batch_size": [1, 1000],
            "batch_timeout_seconds": [0.0, 60.0],
            "backfill_seconds": [1.0, 31622400.0],
            "max_points": [10, 2000],
            "speed": [0.25, 60.0],
            "history_seconds": 900.0,
        },
    }


@override_settings(ANONYMOUS_READ=False)
class ClosedTests(TransactionTestCase):
    """With a database, which only Django's own test cases clean up behind asynchronous code."""

    def setUp(self):
        declare_server()

    async def test_a_client_without_a_credential_is_asked_for_one_and_gets_nothing(self):
        async with socket() as one:
            assert await one.hear() == {"type": "authentication_required", "within_seconds": 10.0}
            refused = await one.ask(type="subscribe", ref=1)
            assert (refused["code"], refused["ref"]) == ("not_authenticated", 1)
            await broadcast("system", {"n": 1})
            assert await one.receive_nothing(0.05)
            assert not get_runtime().hub.clients
        await stop_runtime()

    @override_settings(METRICS_STREAM={"AUTHENTICATE_SECONDS": 0.05})
    async def test_a_client_that_sends_no_credential_in_time_is_closed(self):
        async with socket() as one:
            await one.hear()
            assert await one.ends() == ("not_authenticated", 4502)
        await stop_runtime()

    async def test_a_token_is_accepted_in_the_handshake_and_as_the_first_message(self):
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

    async def test_tokens_that_give_no_access(self):
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

    async def test_a_user_without_a_policy_sees_nothing(self):
        _, browser = await make_viewer()
        async with socket(*page_of(browser)) as one:
            assert (await one.hear())["metric_types"] == []
            refused = await one.ask(type="subscribe", metric_types=["system"])
            assert refused["code"] == "unknown_metric_type"
            assert (await one.ask(type="subscribe"))["metric_types"] == []
        await stop_runtime()

    async def test_nobody_is_admitted_while_the_database_is_down(self):
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

    async def test_another_token_replaces_the_first(self):
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


class OpenTests(TransactionTestCase):
    """With ANONYMOUS_READ."""

    async def test_everything_is_visible_and_a_token_narrows_it(self):
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

    async def test_without_a_token_the_database_is_not_queried(self):
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
