"""What clients get whose access shows only some of the metrics."""

from asgiref.sync import sync_to_async
from django.test import TransactionTestCase, override_settings
from django.utils import timezone

from metrics_stream.broadcast import broadcast, broadcast_many
from metrics_stream.bus.bus import declare_server
from metrics_stream.models import ClientPreset
from metrics_stream.runtime.runtime import get_runtime, stop_runtime
from tests.support.access import make_viewer, page_of, settled, socket


@override_settings(ANONYMOUS_READ=False)
class GrantTests(TransactionTestCase):
    """With a database, which only Django's own test cases clean up behind asynchronous code."""

    def setUp(self):
        declare_server()

    async def test_only_permitted_metrics_come_whatever_is_asked_for(self):
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

    async def test_a_filter_for_a_hidden_source_gets_the_same_answers_as_one_for_no_source(self):
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

    async def test_a_replay_of_the_history_shows_only_permitted_metrics(self):
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

    async def test_viewers_with_different_rights_share_no_frame(self):
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
