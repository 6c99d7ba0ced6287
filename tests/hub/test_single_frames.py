"""Batch size 1: each metric is a frame of its own, and those of one flush leave together."""

import json

import pytest

from metrics_stream.core.delivery.frames import build_frames
from metrics_stream.core.delivery.pending import Delivery, Item, Loss
from metrics_stream.core.protocol.codes import GapReason
from metrics_stream.core.protocol.prepared_message import CompressionContext
from metrics_stream.hub.past import PastPage
from tests.support.hub import make_numbered

SINGLE = Delivery(interval_seconds=1.0, batch_size=1, batch_timeout_seconds=0.0)


def types(sink):
    return [frame["type"] for frame in sink.frames]


def test_metrics_that_wait_leave_together_each_in_its_own_frame(harness):
    client, sink = harness.join(delivery=SINGLE)
    for number in range(25):
        harness.publish(number)
        harness.clock.advance(0.1)
    harness.clock.advance(1.0)
    assert types(sink) == ["metric_update"] * 25
    assert sink.metrics == list(range(25))
    # Three flushes, of which the interval counts each as one frame.
    assert len(sink.times) == 4
    assert all(later - earlier >= 1.0 - 1e-6 for earlier, later in zip(sink.times, sink.times[1:], strict=False))
    assert client.counters.messages_sent == client.counters.metrics_sent == 25


def test_the_frames_are_built_once_for_all_clients_of_a_view(harness):
    sinks = [harness.join(delivery=SINGLE)[1] for _ in range(20)]
    harness.publish(1, 2, 3)
    harness.clock.advance(1.0)
    assert harness.telemetry.frames_encoded == 3
    assert all(mine is first for sink in sinks for mine, first in zip(sink.raw, sinks[0].raw, strict=True))


@pytest.mark.parametrize("mode", ["latest", "aggregate"])
def test_every_mode_has_single_frames(harness, mode):
    _, sink = harness.join(delivery=Delivery(interval_seconds=1.0, batch_size=1, mode=mode))
    for source in ("a", "b", "a", "b"):
        harness.publish(1, source=source)
    harness.clock.advance(1.0)
    assert types(sink) == ["metric_update"] * 2
    assert [frame["data"]["source"] for frame in sink.frames] == ["a", "b"]


def test_what_waited_for_a_busy_client_leaves_in_single_frames(harness):
    client, sink = harness.join(delivery=SINGLE)
    sink.stalled = True
    for number in range(5):
        harness.publish(number)
        harness.clock.advance(1.0)
    sink.stalled = False
    harness.hub.written(client)
    harness.clock.advance(1.0)
    assert types(sink) == ["metric_update"] * 5
    assert sink.metrics == list(range(5))


def test_only_the_last_frame_states_the_position_and_the_gap_comes_first():
    loss = Loss()
    loss.add(GapReason.BUS, 2, ["system"])
    items = [Item(number, one := make_numbered(number), one.body) for number in range(3)]
    frames = build_frames(items, loss, position="here", replayed=True, singly=True)
    texts = [json.loads(text.data) for text in frames.texts]
    assert [text["type"] for text in texts] == ["gap", *["metric_update"] * 3]
    assert [text.get("position") for text in texts] == [None, None, None, "here"]
    assert [text.get("replayed") for text in texts] == [None, True, True, True]
    assert (frames.metrics, frames.data_texts, frames.size) == (3, 3, sum(len(text.data) for text in frames.texts))
    assert build_frames([], loss, singly=True).data_texts == 0


def test_each_frame_is_compressed_in_the_context_of_the_one_before():
    context = CompressionContext(b"before")
    items = [Item(number, one := make_numbered(number, text="x" * 200), one.body) for number in range(3)]
    first, second, third = build_frames(items, Loss(), context, singly=True).texts
    assert first.before is context
    assert second.before is first.after
    assert third.before is second.after


def test_clients_with_and_without_single_frames_get_their_own_frames_of_the_past(harness):
    page = PastPage([make_numbered(number) for number in range(3)])
    _, batches = harness.join(delivery=Delivery())
    client, singles = harness.join(delivery=SINGLE)
    for one in harness.hub.clients.values():
        harness.hub.write_past(one, page, Loss())
    assert types(batches) == ["metric_batch"]
    assert types(singles) == ["metric_update"] * 3
    assert client.counters.metrics_sent == 3
