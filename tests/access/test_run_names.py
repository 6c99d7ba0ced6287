"""Which metrics name their test run, for a viewer who may see some runs only."""

import pytest
from asgiref.sync import sync_to_async
from django.test import TransactionTestCase, override_settings

from metrics_stream.broadcast import broadcast
from metrics_stream.bus.bus import declare_server
from metrics_stream.core.delivery.selection import permitted_metrics
from metrics_stream.core.metrics.catalogue import SYSTEM
from metrics_stream.core.metrics.encoding import encode_metric
from metrics_stream.core.metrics.permission import EVERYTHING, Grant, Permit
from metrics_stream.core.protocol.positions import HistoryBatch, tag_runs
from metrics_stream.runs import lifecycle
from metrics_stream.runtime.runtime import get_runtime, stop_runtime
from tests.support.access import make_viewer, page_of, socket

SOURCES = {"all": frozenset(), "ours": frozenset({"ours"}), "both": frozenset({"ours", "theirs"})}


def run_in(body):
    return body.rpartition(b',"run":')[2].strip(b'"}').decode() if b',"run":' in body else None


@pytest.mark.parametrize(
    ("runs", "shown"),
    [
        (("ours",), "ours"),
        (("both",), None),
        (("all",), None),
        (("ours", "both"), "ours"),
        (("all", "ours"), "ours"),
        (("unknown",), None),
        (("ours", "unknown"), "ours"),
    ],
)
def test_the_last_run_that_may_be_seen_is_named(runs, shown):
    metric = encode_metric(SYSTEM, {"n": 1}, timestamp=0, source="ours", max_bytes=10_000)
    tagged = tag_runs(HistoryBatch("system", "e", 0, 1, 0.0, [metric], {"ours": runs}), SOURCES.get)
    may = Permit(frozenset({Grant(frozenset({"system"}))}), frozenset({frozenset({"ours"})}))
    [item] = permitted_metrics(tagged, may)
    assert run_in(item.body) == shown
    if shown is None:
        assert item.body == metric.body
    narrowed = Permit(frozenset({Grant(frozenset({"system"}), fields=frozenset({"n"}))}), may.runs)
    [item] = permitted_metrics(tagged, narrowed)
    assert run_in(item.body) == shown
    [item] = permitted_metrics(tagged, EVERYTHING)
    assert run_in(item.body) == runs[-1]


@override_settings(ANONYMOUS_READ=False)
class LiveTests(TransactionTestCase):
    """With a database, which only Django's own test cases clean up behind asynchronous code."""

    def setUp(self):
        declare_server()

    async def test_metrics_name_a_run_to_those_who_may_see_it(self):
        _, ann = await make_viewer("ann", sources=["ours"], runs="sources")
        _, bob = await make_viewer("bob", sources=["ours"])
        run = await sync_to_async(lifecycle.start)("soak", sources=["ours"])
        async with socket(*page_of(ann)) as one, socket(*page_of(bob)) as two:
            for each in (one, two):
                await each.hear()
                await each.ask(type="set_update_interval", interval_seconds=0.1)
                await each.ask(type="subscribe", metric_types=["system"])
            await broadcast("system", {"n": 1}, source="ours")
            assert "run" not in (await two.hear())["data"]
            await one.hear()
            while get_runtime().run_sources.get(run.slug) is None:
                await one.ask(type="ping")
            await broadcast("system", {"n": 2}, source="ours")
            assert (await one.hear())["data"]["run"] == run.slug
            assert "run" not in (await two.hear())["data"]
            for each, expected in ((one, run.slug), (two, None)):
                [latest] = (await each.ask(type="get_latest", metric_types=["system"]))["data"]
                assert latest.get("run") == expected
                await each.say(type="replay", **{"from": latest["timestamp"]}, paused=True)
                while not (frame := await each.hear())["type"].startswith("metric_"):
                    pass
                data = frame["data"] if frame["type"] == "metric_update" else frame["data"][-1]
                assert data.get("run") == expected
        async with socket(*page_of(ann)) as one, socket(*page_of(bob)) as two:
            for each, expected in ((one, run.slug), (two, None)):
                await each.hear()
                await each.ask(type="subscribe", metric_types=["system"])
                assert (await each.hear())["data"].get("run") == expected
        await stop_runtime()
