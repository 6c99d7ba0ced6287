"""A client that comes and goes in any sequence has all metrics once and in order, or was told of a gap."""

import asyncio
import json
import uuid

import pytest
from channels.layers import channel_layers, get_channel_layer
from django.test import override_settings
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from metrics_stream.broadcast import make_metric
from metrics_stream.bus.publication import ProducerNumbering
from metrics_stream.consumers import recovery
from metrics_stream.core.protocol.positions import parse_position
from metrics_stream.routing import stream_application
from metrics_stream.runtime.runtime import get_runtime, stop_runtime
from tests.support.resuming import Client, connected

pytestmark = pytest.mark.usefixtures("server")


TYPES = ("system", "hero")

AT = 1_700_000_000
"""The timestamp of the metric with the number 0."""


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.integers(1, 40), st.sampled_from(TYPES), st.booleans()),
        # The channel layer loses it on the way to this worker.
        st.tuples(st.just("lose"), st.integers(1, 5), st.sampled_from(TYPES), st.booleans()),
        st.tuples(st.just("hear")),
        st.tuples(st.just("leave")),
        # The client comes back to another worker, gets all there and leaves it, too.
        st.tuples(st.just("elsewhere")),
        st.tuples(st.just("interval"), st.sampled_from([0.1, 0.2])),
    ),
    max_size=12,
)


@pytest.fixture(scope="module", params=["memory", pytest.param("valkey", marks=pytest.mark.valkey)])
def layer_of_all(request):
    """The settings of a channel layer."""
    if request.param == "memory":
        return {"BACKEND": "channels.layers.InMemoryChannelLayer"}
    hosts = [{"address": request.getfixturevalue("valkey_url")}]
    return {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": {"hosts": hosts}}


@hypothesis_settings(max_examples=15, deadline=None)
@given(
    actions=ACTIONS,
    kept=st.sampled_from([3, 20, 200]),
    page_metrics=st.sampled_from([2, 1_000]),
    has_neighbour=st.booleans(),
)
# A worker that is behind its client, in two types.
@example(
    actions=[("lose", 2, "system", True), ("elsewhere",), ("lose", 2, "hero", False), ("elsewhere",)],
    kept=200,
    page_metrics=2,
    has_neighbour=True,
)
def test_whatever_happens_the_client_has_all_once_and_in_order_or_was_told(
    layer_of_all, actions, kept, page_metrics, has_neighbour
):
    asyncio.run(_live_through(layer_of_all, actions, kept, page_metrics, has_neighbour))


async def _live_through(layer, actions, kept, page_metrics, has_neighbour):
    own = {"HISTORY_METRICS": kept, "GROUP_PREFIX": f"any{uuid.uuid4().hex}"}
    channel_layers.backends.clear()
    with (
        override_settings(METRICS_STREAM=own, CHANNEL_LAYERS={"default": layer}),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(recovery, "PAGE_METRICS", page_metrics)
        life = Life()
        try:
            if has_neighbour:  # whose types are heard also while the client is away
                async with connected() as neighbour:
                    await neighbour.subscribe(*TYPES)
                    await life.live(actions)
            else:
                await life.live(actions)
        finally:
            await stop_runtime()
            await get_channel_layer().flush()
    for metric_type in TYPES:
        heard, published = life.heard[metric_type], life.published[metric_type]
        assert heard == sorted(set(heard))
        assert set(heard) <= set(range(published))
    assert sum(life.published.values()) - sum(map(len, life.heard.values())) == life.missing


class Life:
    """A client that comes and goes, two producers, and what became of what they published."""

    def __init__(self):
        self.published = dict.fromkeys(TYPES, 0)
        self.heard = {item: [] for item in TYPES}
        self.missing = 0
        self.announced = 0  # since the position; a client that resumes from before a gap is told of it again
        self.position = None
        self.unheard = set()  # the types whose last metrics the channel layer lost
        self.producers = [ProducerNumbering(), ProducerNumbering()]

    async def live(self, actions):
        await self.come()
        for name, *arguments in [*actions, *(("publish", 1, item, True) for item in TYPES)]:
            await getattr(self, name)(*arguments)
        while not all(self.heard[item][-1:] == [self.published[item] - 1] for item in TYPES):
            self.take(await self.client.hear())
        self.missing += self.announced
        await self.client.disconnect(timeout=5)

    async def come(self):
        self.announced = 0
        self.client = client = Client(stream_application(None), "/ws/metrics/")
        await client.connect(timeout=5)
        await client.hear()
        client.position = self.position
        await client.ask(type="set_update_interval", interval_seconds=0.1)
        resume = {"resume_from": self.position} if self.position else {}
        await client.ask(type="subscribe", metric_types=TYPES, **resume)
        self.position = client.position

    def take(self, message):
        if message["type"].startswith("metric_"):
            for metric in message["data"] if message["type"] == "metric_batch" else [message["data"]]:
                self.heard[metric["metric_type"]].append(metric["data"]["n"])
        elif message["type"] == "gap":
            self.announced += message["dropped"]
        if self.client.position != self.position:
            self.missing, self.announced, self.position = self.missing + self.announced, 0, self.client.position

    async def publish(self, count, metric_type, is_first):
        numbers = range(self.published[metric_type], self.published[metric_type] + count)
        batch = [make_metric(metric_type, {"n": number}, timestamp=AT + number, source="any") for number in numbers]
        await get_runtime().bus.send(self.producers[is_first].prepare(batch))
        self.published[metric_type] += count
        self.unheard.discard(metric_type)

    async def lose(self, count, metric_type, is_first):
        async def lost(*_):
            """Carry nothing."""

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(get_channel_layer(), "group_send", lost)
            await self.publish(count, metric_type, is_first)
        self.unheard.add(metric_type)

    async def hear(self):
        known = sum(map(len, self.heard.values())) + self.missing + self.announced
        if sum(self.published.values()) > known and not self.unheard:
            self.take(await self.client.hear())

    async def leave(self):
        await self.client.disconnect(timeout=5)
        await self.come()

    async def elsewhere(self):
        await self.client.disconnect(timeout=5)
        page = await get_runtime().history.since(parse_position(self.position))
        for batch in page.batches:
            self.heard[batch.metric_type] += [int(metric.timestamp) - AT for metric in batch.metrics]
        self.missing += sum(page.lost.values())
        self.position = page.position.text()
        await self.come()

    async def interval(self, seconds):
        await self.client.send_to(text_data=json.dumps({"type": "set_update_interval", "interval_seconds": seconds}))
