import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics_stream.core.delivery import frames as frames_module
from metrics_stream.core.delivery.pending import Delivery
from metrics_stream.core.delivery.selection import Selection
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.protocol.codes import CloseCode, ErrorCode, GapReason
from metrics_stream.core.protocol.messages import Filters
from tests.support.hub import HubHarness, make_numbered


def test_a_quiet_client_gets_a_single_metric_at_once(harness):
    _, sink = harness.join(delivery=Delivery())
    harness.publish(1)
    harness.clock.advance(0.02)
    assert sink.raw == [
        '{"type":"metric_update","data":{"metric_type":"system","timestamp":"1970-01-01T00:00:00.000000Z",'
        '"source":"host1","data":{"n":1}}}'
    ]


def test_what_arrives_together_leaves_together(harness):
    _, sink = harness.join(delivery=Delivery())
    harness.publish(1)
    harness.clock.advance(0.01)
    harness.publish(2)
    harness.clock.advance(0.01)
    assert [frame["type"] for frame in sink.frames] == ["metric_batch"]
    assert sink.metrics == [1, 2]


def test_the_interval_is_a_hard_floor(harness):
    _, sink = harness.join(delivery=Delivery(interval_seconds=2.0, batch_size=1, batch_timeout_seconds=0.0))
    for number in range(100):
        harness.publish(number)
        harness.clock.advance(0.1)
    harness.clock.advance(2.0)
    assert sink.metrics == list(range(100))
    assert all(later - earlier >= 2.0 - 1e-6 for earlier, later in itertools.pairwise(sink.times))


def test_a_clock_that_rings_early_does_not_split_a_view(harness):
    harness.clock.early = 0.0005
    sinks = [harness.join()[1] for _ in range(10)]
    for number in range(100):
        harness.publish(number)
        harness.clock.advance(0.03)
    harness.clock.advance(1.0)
    assert all(sink.metrics == list(range(100)) for sink in sinks)
    assert harness.telemetry.frames_encoded == len(sinks[0].raw)


@pytest.mark.parametrize("own_share", [False, True])
def test_after_a_fault_within_the_hub_clients_hear_of_a_gap_and_of_all_that_follows(
    harness, monkeypatch, caplog, own_share
):
    client, sink = harness.join()
    _, other = harness.join(Selection(("hero",)))
    harness.publish(0)
    harness.clock.advance(0.1)
    if own_share:  # the client is behind its view, so its frames are its own
        sink.stalled = True
        harness.publish(1)
        harness.clock.advance(0.1)
        harness.publish(2)
        harness.clock.advance(0.2)
    with monkeypatch.context() as patched:
        patched.setattr(frames_module, "encode_metrics", lambda *_, **__: 1 / 0)
        if own_share:
            sink.stalled = False
            harness.hub.written(client)
        else:
            harness.publish(1, 2)
        harness.clock.advance(0.05)
    harness.publish(3)
    harness.clock.advance(0.2)
    assert sink.metrics == ([0, 1, 3] if own_share else [0, 3])
    assert sink.gaps == [{"type": "gap", "reason": "internal", "dropped": None, "metric_types": ["system"]}]
    assert other.frames == []
    assert harness.telemetry.hub_failures == 1
    assert "ZeroDivisionError" in caplog.text


def test_a_fault_that_stays_does_not_spin(harness, monkeypatch, caplog):
    harness.join()
    monkeypatch.setattr(frames_module, "encode", lambda *_, **__: 1 / 0)
    harness.hub.announce_gap(GapReason.BUS, metric_types=frozenset({"system"}))
    harness.clock.advance(1.0)
    assert 1 <= harness.telemetry.hub_failures <= 12


def test_past_the_bound_of_a_view_the_oldest_go_and_a_gap_says_so():
    harness = HubHarness(max_pending_metrics=5)
    _, sink = harness.join(delivery=Delivery(interval_seconds=60.0))
    harness.publish(0)
    harness.clock.advance(0.02)
    harness.publish(*range(1, 11))
    harness.clock.advance(60.0)
    assert sink.gaps == [{"type": "gap", "reason": "pending_overflow", "dropped": 5, "metric_types": ["system"]}]
    assert sink.metrics == [0, 6, 7, 8, 9, 10]
    # The gap stands where the metrics are missing.
    assert [frame["type"] for frame in sink.frames] == ["metric_update", "gap", "metric_batch"]


def test_what_is_too_large_for_one_frame_comes_in_several_at_once():
    harness = HubHarness(max_pending_bytes=4_000_000)
    _, sink = harness.join(delivery=Delivery(interval_seconds=1.0))
    harness.publish(0)
    harness.clock.advance(0.02)
    harness.publish(*range(1, 31), padding="x" * 100_000)
    harness.clock.advance(1.0)
    assert sink.metrics == list(range(31))
    assert len(set(sink.times)) == 2
    assert len(sink.raw) == 5
    assert all(len(text) <= 1_000_000 for text in sink.raw)


def test_a_metric_larger_than_a_frame_comes_alone(harness):
    _, sink = harness.join()
    body = make_numbered(1)
    harness.hub.publish(
        [body, Metric("system", "host1", 0.0, (), body.body[:-2] + b',"x":"' + b"x" * 999_990 + b'"}}')]
    )
    harness.clock.advance(0.02)
    assert [len(frame) > 900_000 for frame in sink.raw] == [False, True]


def test_a_lost_bus_is_told_to_the_clients_of_its_types(harness):
    _, sink = harness.join()
    _, other = harness.join(Selection(("hero",)))
    harness.hub.announce_gap(GapReason.BUS, metric_types=frozenset({"system", "agent"}))
    harness.clock.advance(0.2)
    assert sink.frames == [{"type": "gap", "reason": "bus", "dropped": None, "metric_types": ["system"]}]
    assert other.frames == []


def test_close_all_says_why_and_forgets_every_client(harness):
    sinks = [harness.join()[1] for _ in range(3)]

    harness.hub.close_all(CloseCode.GOING_AWAY, ErrorCode.GOING_AWAY, "bye")
    assert {sink.closed for sink in sinks} == {(CloseCode.GOING_AWAY, "going_away")}
    assert harness.hub.clients == {}
    assert harness.hub.interest == frozenset()


def test_stopping_leaves_no_call_behind(harness):
    _, sink = harness.join()
    _, stalled = harness.join(delivery=Delivery())
    stalled.stalled = True
    harness.publish(1)
    harness.clock.advance(0.02)
    harness.publish(2)
    harness.hub.stop()
    before = len(sink.frames)
    harness.clock.advance(100.0)
    assert len(sink.frames) == before
    assert stalled.closed is None


deliveries = st.builds(
    Delivery,
    st.sampled_from([0.1, 0.5, 3.0]),
    st.sampled_from([1, 3, 10]),
    st.sampled_from([0.0, 0.5, 2.0]),
)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.integers(1, 4)),
        st.tuples(st.just("advance"), st.sampled_from([0.005, 0.05, 0.3, 2.0])),
        st.tuples(st.just("stall"), st.booleans()),
        st.tuples(st.just("change"), deliveries),
        st.tuples(st.just("filter"), st.booleans()),
        st.tuples(st.just("other"), deliveries),
    ),
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(steps)
def test_a_client_that_changes_and_stalls_gets_everything_once_and_in_order(script):
    harness = HubHarness()
    client, sink = harness.join()
    published = itertools.count()
    count = 0
    for action, value in script:
        if action == "publish":
            harness.publish(*itertools.islice(published, value))
            count += value
        elif action == "advance":
            harness.clock.advance(value)
        elif action == "stall":
            sink.stalled = value
            if not value:
                harness.hub.written(client)
        elif action == "change":
            harness.hub.change(client, client.selection, value)
        elif action == "filter":
            filters = Filters(fields=("n",)) if value else Filters()
            harness.hub.change(client, Selection(("system",), filters), client.delivery)
        else:
            harness.join(delivery=value)
    sink.stalled = False
    harness.hub.written(client)
    harness.clock.advance(20.0)
    assert sink.metrics == list(range(count))
    assert sink.gaps == []
