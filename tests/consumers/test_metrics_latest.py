"""`get_latest`: the newest metrics that a client may see, once, over the real routing."""

import asyncio
import json

import pytest
from asgiref.sync import sync_to_async
from django.test import TransactionTestCase, override_settings

from metrics_stream.access.monitor import access_monitor_of
from metrics_stream.broadcast import broadcast, broadcast_many
from metrics_stream.bus.bus import declare_server
from metrics_stream.consumers import metrics as consumer
from metrics_stream.core.errors import BusError
from metrics_stream.history import ActiveRun
from metrics_stream.models import AccessPolicy, Dashboard, Panel, ShareLink
from metrics_stream.runtime.runtime import get_runtime, stop_runtime
from tests.support.access import bearer, make_token, make_viewer, page_of, settled, socket
from tests.support.clients import connected
from tests.support.recording import Recording, metric, start_run


@pytest.fixture(autouse=True)
async def server():
    declare_server()
    yield
    await stop_runtime()


async def latest(client, **keys):
    """Return the parts of the answer to `get_latest`, and fail for anything else that comes."""
    await client.say(type="get_latest", ref="now", **keys)
    parts = []
    while not parts or not parts[-1]["done"]:
        part = await client.hear()
        assert (part["type"], part["ref"], part["count"]) == ("latest", "now", len(part["data"])), part
        parts.append(part)
    return parts


AT = 1_700_000_000
"""2023-11-14T22:13:20Z."""


async def newest(client, **keys):
    """Return type, source and data of the metrics of an answer."""
    parts = await latest(client, **keys)
    return [(item["metric_type"], item["source"], item["data"]) for part in parts for item in part["data"]]


async def test_the_newest_of_each_kind_comes_once_and_nothing_is_subscribed():
    await broadcast("system", {"n": 1}, AT + 1, source="a")
    await broadcast("hero", {"n": 2}, AT + 2, source="a")
    await broadcast("system", {"n": 3}, AT + 3, source="b")
    await broadcast("system", {"n": 4}, AT + 4, source="a")
    async with connected() as client:
        answer = await client.ask(type="get_latest", metric_types=["hero", "system"], ref=7)
        at = "2023-11-14T22:13:2{}.000000Z".format
        assert answer == {
            "type": "latest",
            "ref": 7,
            "metric_types": ["system", "hero"],
            "count": 3,
            "data": [
                {"metric_type": "hero", "timestamp": at(2), "source": "a", "data": {"n": 2}},
                {"metric_type": "system", "timestamp": at(3), "source": "b", "data": {"n": 3}},
                {"metric_type": "system", "timestamp": at(4), "source": "a", "data": {"n": 4}},
            ],
            "done": True,
        }
        assert client.position is None
        assert get_runtime().hub.interest == frozenset()
        await broadcast("system", {"n": 5}, source="a")
        await settled(client)
        assert await newest(client, metric_types=["system"]) == [("system", "b", {"n": 3}), ("system", "a", {"n": 5})]


async def test_all_is_the_default_and_leaves_out_what_has_to_be_named():
    await broadcast("hero", {"n": 1}, source="a")
    async with connected() as client:
        answer = await client.ask(type="get_latest")
        assert answer["metric_types"] == ["system", "agent", "business", "hero", "presentation", "request", "error"]
        assert [item["metric_type"] for item in answer["data"]] == ["hero"]
        assert "ref" not in answer
        [part] = await latest(client, metric_types=["stream", "system"])
        assert (part["metric_types"], part["data"]) == (["system", "stream"], [])


async def test_the_filters_in_force_apply():
    agents = [{"agent_id": "a1", "load": 1, "status": "x"}, {"agent_id": "a2", "load": 2}]
    await broadcast("agent", agents, source="ours")
    await broadcast("system", {"n": 1, "m": 2}, source="ours")
    await broadcast("system", {"n": 3}, source="theirs")
    async with connected() as client:
        await client.ask(
            type="set_filters", filters={"sources": ["ours"], "agent_ids": ["a1"], "fields": ["n", "load"]}
        )
        assert await newest(client) == [
            ("agent", "ours", [{"agent_id": "a1", "load": 1}]),
            ("system", "ours", {"n": 1}),
        ]


async def test_subscription_position_and_interval_stay_as_they_are():
    async with connected() as client:
        await client.ask(type="set_update_interval", interval_seconds=60)
        await client.ask(type="subscribe", metric_types=["system"])
        await broadcast("system", {"n": 1}, source="a")
        assert (await client.hear())["data"]["data"] == {"n": 1}
        reached = client.position
        await broadcast("system", {"n": 2}, source="a")
        [one] = get_runtime().hub.clients.values()
        frame_at, waiting = one.last_frame_at, len(one.view.pending)
        assert await newest(client) == [("system", "a", {"n": 2})]
        assert (one.last_frame_at, len(one.view.pending)) == (frame_at, waiting)
        assert waiting == 1
        assert one.selection.metric_types == ("system",)
        # The metric that waits has not arrived, whatever `latest` has shown: the position is not told meanwhile.
        assert (await client.ask(type="ping"), client.position)[1] is None
        # What waits leaves with the next frame, which starts where the frame before ended.
        await client.ask(type="set_update_interval", interval_seconds=0.1)
        assert (await client.hear())["data"]["data"] == {"n": 2}
        assert client.position.partition("=")[0] == reached.partition("=")[0]


async def test_an_unknown_type_gets_the_error_of_subscribe():
    async with connected() as client:
        answers = [await client.ask(type=name, metric_types=["sytem"], ref=1) for name in ("get_latest", "subscribe")]
        assert answers[0] == answers[1]
        assert (answers[0]["code"], answers[0]["ref"]) == ("unknown_metric_type", 1)


async def test_without_a_history_there_is_an_error(settings):
    settings.METRICS_STREAM = {"HISTORY_SECONDS": 0}
    async with connected() as client:
        answer = await client.ask(type="get_latest", ref="r")
        assert (answer["type"], answer["code"], answer["ref"]) == ("error", "invalid_message", "r")
        assert "no history" in answer["message"]


async def test_a_history_that_fails_is_a_fault_of_the_server(monkeypatch):
    async def away(metric_types):
        raise BusError("away")

    async with connected() as client:
        monkeypatch.setattr(get_runtime().history, "newest", away)
        assert (await client.ask(type="get_latest"))["code"] == "internal"
        assert (await client.ask(type="ping"))["type"] == "pong"


async def test_it_counts_as_a_message(settings):
    settings.METRICS_STREAM = {"MESSAGE_BURST": 2, "MESSAGES_PER_SECOND": 0.001}
    async with connected() as client:
        for _ in range(2):
            assert (await client.ask(type="get_latest"))["type"] == "latest"
        assert (await client.ask(type="get_latest"))["code"] == "too_many_messages"
        assert await client.closed() == 4029


@pytest.mark.parametrize(("bound", "value"), [("LATEST_METRICS", 2), ("LATEST_BYTES", 150)])
async def test_a_large_answer_comes_in_parts(monkeypatch, bound, value):
    monkeypatch.setattr(consumer, bound, value)
    await broadcast_many([{"metric_type": "system", "data": {"n": n}, "source": f"s{n}"} for n in range(5)])
    async with connected() as client:
        parts = await latest(client)
        assert [part["count"] for part in parts] == [2, 2, 1]
        assert [part["done"] for part in parts] == [False, False, True]
        assert [item["data"]["n"] for part in parts for item in part["data"]] == [0, 1, 2, 3, 4]
        await client.ask(type="set_filters", filters={"sources": ["s4"]})
        [part] = await latest(client)
        assert [item["source"] for item in part["data"]] == ["s4"]


async def test_metrics_of_an_active_run_name_it():
    async with connected() as client:
        await get_runtime().history.set_active_runs([ActiveRun("soak")])
        await broadcast("system", {"n": 1}, source="a")
        [part] = await latest(client)
        assert part["data"][0]["run"] == "soak"


@override_settings(ANONYMOUS_READ=False)
class RightsTests(TransactionTestCase):
    """With a database, which only Django's own test cases clean up behind asynchronous code."""

    def setUp(self):
        declare_server()

    async def publish(self):
        agents = [{"agent_id": "a1", "load": 1, "secret": "SECRET"}, {"agent_id": "SECRET", "load": 2}]
        for source in ("SECRET", "ours"):
            await broadcast("system", {"n": 1, "secret": "SECRET"}, source=source)
            await broadcast("agent", agents, source=source)
            await broadcast("hero", {"n": "SECRET"}, source=source)

    async def test_nobody_sees_more_than_is_allowed(self):
        await self.publish()
        _, browser = await make_viewer(
            metric_types=["system", "agent"], sources=["ours"], agent_ids=["a1"], fields=["n", "load"]
        )
        async with socket(*page_of(browser)) as client:
            await client.hear()
            [part] = await latest(client)
            assert "SECRET" not in json.dumps(part)
            assert part["metric_types"] == ["system", "agent"]
            assert [item["data"] for item in part["data"]] == [{"n": 1}, [{"agent_id": "a1", "load": 1}]]
            await client.ask(type="set_filters", filters={"fields": ["secret"]})
            assert await newest(client) == []
            await client.ask(type="set_filters", filters={"sources": ["SECRET"]})
            assert await newest(client) == []
            unknown = await client.ask(type="get_latest", metric_types=["hero"])
            assert unknown["code"] == "unknown_metric_type"
        await stop_runtime()

    async def test_a_token_and_a_viewer_without_rights(self):
        await self.publish()
        _, text = await make_token(sources=["ours"])
        async with socket(bearer(text)) as client:
            await client.hear()
            assert [(source, data["n"]) for _, source, data in await newest(client)] == [("ours", 1)]
        _, browser = await make_viewer()
        async with socket(*page_of(browser)) as client:
            await client.hear()
            assert [(part["metric_types"], part["data"]) for part in await latest(client)] == [([], [])]
        async with socket() as client:
            await client.hear()
            assert (await client.ask(type="get_latest"))["code"] == "not_authenticated"
        await stop_runtime()

    async def test_rights_that_shrink_during_the_read_apply_to_the_answer(self):
        await broadcast_many([{"metric_type": "system", "data": {"n": 1}, "source": name} for name in ("a", "b")])
        await broadcast("hero", {"n": 2}, source="b")
        _, browser = await make_viewer(metric_types=["system", "hero"], sources=["a", "b"])
        policy = await AccessPolicy.objects.aget()
        async with socket(*page_of(browser)) as client:
            await client.hear()
            history = get_runtime().history
            read = history.newest

            async def narrow_afterwards(metric_types):
                found = await read(metric_types)
                policy.metric_types, policy.sources = ["system"], ["b"]
                await sync_to_async(policy.save)()
                await access_monitor_of(get_runtime()).recheck()
                await asyncio.sleep(0)
                return found

            history.newest = narrow_afterwards
            try:
                await client.say(type="get_latest", ref="now")
                answer = await client.hear_reply("now")
            finally:
                del history.newest
            assert answer["metric_types"] == ["system"]
            assert [item["source"] for item in answer["data"]] == ["b"]
        await stop_runtime()

    async def test_during_a_replay_it_is_the_newest_of_the_instant_that_is_shown(self):
        await broadcast("system", {"n": 1}, source="a")
        _, browser = await make_viewer(sources=["a"])
        async with socket(*page_of(browser)) as client:
            await client.hear()
            begun = await client.ask(type="replay", paused=True)
            await broadcast("system", {"n": 2}, source="a")
            await client.say(type="seek", to=begun["until"], ref="sought")
            await client.hear_reply("sought")
            assert [data["n"] for _, _, data in await newest(client)] == [1]
            await client.say(type="live", ref="live")
            await client.hear_reply("live")
            await client.hear()
            assert [data["n"] for _, _, data in await newest(client)] == [2]
        await stop_runtime()

    async def test_a_link_to_a_run_shows_nothing_live(self):
        browser = await sync_to_async(self.open_link_to_run)()
        await self.publish()
        await broadcast("system", {"throughput_tps": "SECRET"}, source="live")
        async with socket(*page_of(browser)) as client:
            assert (await client.hear())["metric_types"] == ["system"]
            [part] = await latest(client)
            assert (part["metric_types"], part["data"]) == (["system"], [])
            begun = await client.ask(type="replay", run="soak", paused=True)
            await client.say(type="seek", to=begun["until"], ref="sought")
            await client.hear_reply("sought")
            await client.ask(type="ping")
            [part] = await latest(client)
            assert "SECRET" not in json.dumps(part)
            assert [(item["run"], item["data"]) for item in part["data"]] == [("soak", {"throughput_tps": 7})]
        await stop_runtime()

    def open_link_to_run(self):
        """Return a browser that has opened the share link of a recorded run."""
        dashboard = Dashboard.objects.create(title="Lobby", slug="lobby")
        Panel.objects.create(dashboard=dashboard, title="Load", metric_type="system", fields=["throughput_tps"])
        run = start_run("soak")
        recording = Recording("soak")
        recording.record(metric(1, {"throughput_tps": 7, "error_rate": "SECRET"}), metric(2, {"throughput_tps": 8}))
        run = recording.end(run)
        _, text = ShareLink.issue(name="x", dashboard=dashboard, run=run)
        browser = self.client_class()
        browser.get(f"/share/{text}/")
        return browser
