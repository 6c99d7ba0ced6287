import pytest

from metrics_stream.core.delivery.pending import Delivery, Loss
from metrics_stream.core.delivery.selection import Selection
from metrics_stream.core.protocol.codes import GapReason
from metrics_stream.core.protocol.prepared_message import PreparedMessage
from metrics_stream.hub.clients import Client, ClientState
from tests.support.hub import FAST, HubHarness, make_numbered


def test_a_client_that_leaves_twice_is_forgotten_once(harness):
    client, _ = harness.join()
    harness.hub.remove(client)
    harness.hub.remove(client)
    assert harness.telemetry.connected_clients == 0
    assert harness.hub.view_count == 0
    harness.hub.change(client, Selection(("hero",)), FAST)
    assert harness.hub.view_count == 0


def test_a_slow_client_does_not_delay_the_others(harness):
    slow_client, slow = harness.join()
    _, healthy = harness.join()
    slow.stalled = True
    for number in range(20):
        harness.publish(number)
        harness.clock.advance(0.1)
    assert healthy.metrics == list(range(20))
    assert slow.metrics == [0]
    slow.stalled = False
    harness.hub.written(slow_client)
    harness.clock.advance(0.2)
    assert slow.metrics == list(range(20))
    assert slow.gaps == []


def test_the_share_of_a_slow_client_is_reduced_to_the_newest_with_a_gap():
    harness = HubHarness(slow_client_bytes=1000)
    client, sink = harness.join()
    sink.stalled = True
    for number in range(50):
        harness.publish(number, source=f"host{number % 2}")
        harness.clock.advance(0.1)
    sink.stalled = False
    harness.hub.written(client)
    harness.clock.advance(0.2)
    dropped = sum(gap["dropped"] for gap in sink.gaps)
    assert sink.gaps[0] == {"type": "gap", "reason": "slow_consumer", "dropped": dropped, "metric_types": ["system"]}
    assert sink.metrics[-2:] == [48, 49]
    assert len(sink.metrics) + dropped == 50
    assert client.counters.metrics_dropped == dropped


@pytest.mark.parametrize("mode", ["all", "latest", "aggregate"])
@pytest.mark.parametrize(
    "bounds", [{"slow_client_bytes": 1000}, {"max_pending_bytes": 1000}, {"max_pending_metrics": 10}]
)
def test_a_client_is_fed_no_more_than_can_wait_while_it_is_busy(bounds, mode):
    harness = HubHarness(**bounds)
    client, sink = harness.join(delivery=Delivery(interval_seconds=0.1, batch_size=1, mode=mode))
    harness.hub.enter_replay(client)
    metrics = [make_numbered(number, source=f"host{number}") for number in range(50)]
    while metrics:
        # Something else than metrics is on its way when their frame is due.
        sink.stalled = True
        harness.hub.write_text(client, PreparedMessage(b'{"type":"backfill"}'))
        taken = harness.hub.feed(client, metrics)
        assert taken
        metrics = metrics[taken:]
        harness.clock.advance(0.2)
        sink.stalled = False
        harness.hub.written(client)
        harness.clock.advance(0.2)
    assert sink.gaps == []
    assert sink.metrics == list(range(50))


def test_a_client_that_was_slow_gets_back_into_step_with_its_view(harness):
    client, sink = harness.join()
    _, healthy = harness.join()
    sink.stalled = True
    harness.publish(0)
    harness.clock.advance(0.15)
    harness.publish(1)
    harness.clock.advance(0.13)  # between two frames of the view
    sink.stalled = False
    harness.hub.written(client)
    for number in range(2, 100):
        harness.publish(number)
        harness.clock.advance(0.03)
    harness.clock.advance(1.0)
    assert sink.metrics == healthy.metrics == list(range(100))
    assert sink.raw[-5:] == healthy.raw[-5:]
    assert all(mine is theirs for mine, theirs in zip(sink.raw[-5:], healthy.raw[-5:], strict=True))


def test_a_client_that_is_busy_hears_of_the_bus_as_soon_as_it_is_not(harness):
    client, sink = harness.join()
    _, idle = harness.join()
    sink.stalled = True
    harness.publish(1)
    harness.clock.advance(0.1)
    harness.hub.broadcast_status("stale")
    assert idle.frames[-1] == {"type": "status", "bus": "stale"}
    assert sink.metrics == [1]
    sink.stalled = False
    harness.hub.written(client)
    assert sink.frames[1:] == [{"type": "status", "bus": "stale"}]


def test_live_metrics_wait_while_a_client_recovers_and_a_loss_comes_first(harness):
    client, sink = harness.join()
    client.begin_recovery()
    harness.publish(1)
    harness.clock.advance(1.0)
    assert sink.frames == []
    loss = Loss()
    loss.add(GapReason.HISTORY, 3, ("system",))
    harness.hub.end_recovery(client, loss)
    harness.clock.advance(1.0)
    assert [frame["type"] for frame in sink.frames] == ["gap", "metric_update"]
    assert client.state is ClientState.LIVE


def test_frames_of_a_client_that_is_behind_state_no_position(harness):
    harness.hub.epoch, harness.hub.offsets = "e", {"system": 1}
    (client, sink), (_, other) = harness.join(), harness.join()
    client.mark_behind()
    harness.publish(1)
    harness.clock.advance(1.0)
    assert sink.metrics == other.metrics == [1]
    assert ["position" in sink.frames[0], "position" in other.frames[0]] == [False, True]
    assert harness.hub.position_reached_by(client) is None


def test_a_replay_takes_the_place_of_what_is_live_until_it_is_left(harness):
    client, sink = harness.join()
    harness.hub.enter_replay(client)
    harness.publish(1)
    harness.hub.feed(client, [make_numbered(2)])
    harness.clock.advance(1.0)
    harness.hub.leave_replay(client)
    harness.publish(3)
    harness.clock.advance(1.0)
    assert sink.metrics == [2, 3]
    assert client.state is ClientState.LIVE


@pytest.mark.parametrize(
    "change",
    [
        Client.mark_behind,
        Client.begin_recovery,
        lambda client: client.end_recovery(Loss()),
        Client.begin_replay,
        Client.end_replay,
    ],
)
def test_a_client_that_is_gone_stays_gone_and_gets_no_timer(harness, change):
    client, _ = harness.join()
    harness.hub.remove(client)
    change(client)
    harness.hub.tell_gap(client, GapReason.BUS, metric_types=("system",))
    assert client.state is ClientState.GONE
    assert not client.has_timer
