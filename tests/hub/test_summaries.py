"""Clients of a hub in mode `aggregate`: every metric is in exactly one of the summaries they get."""

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from metrics_stream.core.delivery.pending import Delivery
from metrics_stream.core.delivery.selection import Selection
from metrics_stream.core.metrics.permission import EVERYTHING, Grant, Permit
from metrics_stream.core.protocol.codes import GapReason
from metrics_stream.core.protocol.messages import Filters
from tests.support.hub import HubHarness

DELIVERIES = [
    Delivery(interval_seconds=0.5, mode="aggregate"),
    Delivery(interval_seconds=3.0, mode="aggregate"),
    Delivery(interval_seconds=0.5),
]
SELECTIONS = [Selection(("system",)), Selection(("system", "hero"))]
SUMMARIES, SLOW_SUMMARIES, _ = DELIVERIES


def metrics_of(sink):
    """Return the metrics of all frames, in order."""
    found = []
    for frame in sink.frames:
        if frame["type"] in {"metric_update", "metric_batch"}:
            found += frame["data"] if frame["type"] == "metric_batch" else [frame["data"]]
    return found


def amounts(sink, field="n"):
    """Return how many metrics each metric stands for, and the sum of their field."""
    found = []
    for metric in metrics_of(sink):
        summed = metric.get("summary", {field: {"count": 1, "mean": metric["data"][field]}})[field]
        found.append((summed["count"], round(summed["mean"] * summed["count"])))
    return found


def test_an_interval_of_many_metrics_is_one_update(harness):
    _, sink = harness.join(delivery=SUMMARIES)
    harness.publish(5)
    harness.clock.advance(0.1)
    harness.publish(*range(100))
    harness.clock.advance(1.0)
    assert [frame["type"] for frame in sink.frames] == ["metric_update", "metric_update"]
    assert amounts(sink) == [(1, 5), (100, 4950)]
    assert sink.times[1] - sink.times[0] == pytest.approx(0.5)


def test_a_view_is_summed_up_and_encoded_once(harness):
    sinks = [harness.join(delivery=SUMMARIES)[1] for _ in range(20)]
    harness.publish(1, 2)
    harness.clock.advance(1.0)
    assert all(sink.raw[0] is sinks[0].raw[0] for sink in sinks)
    assert harness.telemetry.frames_encoded == 1


def test_a_newcomer_gets_a_summary_of_what_came_since_and_is_then_in_step(harness):
    _, early = harness.join(delivery=SLOW_SUMMARIES)
    harness.publish(1)
    harness.clock.advance(0.1)
    harness.publish(2)
    _, late = harness.join(delivery=SLOW_SUMMARIES)
    harness.publish(4)
    harness.clock.advance(5.0)
    assert amounts(early) == [(1, 1), (2, 6)]
    assert amounts(late) == [(1, 4)]
    harness.publish(8, 16)
    harness.clock.advance(5.0)
    assert early.raw[-1] is late.raw[-1]


def test_what_waits_for_a_busy_client_stays_two_summaries(harness):
    client, sink = harness.join(delivery=SUMMARIES)
    sink.stalled = True
    for number in (1, 2, 4):
        harness.publish(number, number)
        harness.clock.advance(0.6)
    assert amounts(sink) == [(2, 2)]
    sink.stalled = False
    harness.hub.written(client)
    harness.clock.advance(0.1)
    assert amounts(sink) == [(2, 2), (2, 4), (2, 8)]


def test_more_sources_than_a_view_keeps_are_announced():
    harness = HubHarness(max_pending_metrics=3)
    _, sink = harness.join(delivery=SUMMARIES)
    for number in range(5):
        harness.publish(number, number, source=f"host{number}")
    harness.clock.advance(1.0)
    assert [(gap["reason"], gap["dropped"]) for gap in sink.gaps] == [(GapReason.PENDING_OVERFLOW, 2)]
    assert [metric["source"] for metric in metrics_of(sink)] == ["host2", "host3", "host4"]


def test_a_client_that_asks_for_sketches_gets_the_merged_ones(harness):
    sketches = {"x_ms": {"accuracy": 0.01, "bins": {"7": 2}}}
    _, asking = harness.join(Selection(("system",), Filters(fields=("p99_x_ms", "sketches"))), SUMMARIES)
    _, other = harness.join(Selection(("system",), Filters(fields=("p99_x_ms",))), SUMMARIES)
    harness.publish(1, 2, p99_x_ms=5.0, sketches=sketches)
    harness.clock.advance(1.0)
    assert metrics_of(asking)[0]["data"]["sketches"]["x_ms"]["bins"] == {"7": 4}
    assert list(metrics_of(other)[0]["data"]) == ["p99_x_ms"]
    assert "worst" not in metrics_of(other)[0]


def test_a_client_that_may_not_see_sketches_gets_none_however_it_asks(harness):
    permit = Permit(frozenset({Grant(frozenset({"system", "agent"}), fields=frozenset({"n", "p99_x_ms"}))}))
    filters = Filters(fields=("n", "p99_x_ms", "sketches"))
    _, sink = harness.join(Selection(("system", "agent"), filters, permit), SUMMARIES)
    for metric_type in ("system", "agent"):
        harness.publish(
            1, 2, metric_type=metric_type, p99_x_ms=5.0, sketches={"x_ms": {"accuracy": 0.01, "bins": {"7": 2}}}
        )
    harness.clock.advance(1.0)
    system, agent = (metric["data"] for metric in metrics_of(sink))
    assert set(system) == {"n", "p99_x_ms"}
    assert set(agent[0]) == {"agent_id", "n", "p99_x_ms"}


@pytest.mark.parametrize(
    "permit", [EVERYTHING, Permit(frozenset({Grant(frozenset({"system"}), agent_ids=frozenset("b"))}))]
)
def test_a_summary_without_its_agents_moves_along_when_a_client_changes_what_it_gets(harness, permit):
    client, sink = harness.join(Selection(("system",), Filters(fields=("n",))), SUMMARIES)
    harness.publish(1, agents=[{"agent_id": "a", "load": 1}])
    harness.hub.change(client, Selection(("system",), Filters(fields=("n", "x")), permit), SUMMARIES)
    harness.clock.advance(1.0)
    assert [metric["data"] for metric in metrics_of(sink)] == [{"n": 1.0}]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.sampled_from(["system", "hero"]), st.sampled_from(["a", "b"])),
        st.tuples(st.just("advance"), st.sampled_from([0.01, 0.3, 1.0, 4.0])),
        st.tuples(st.just("join"), st.sampled_from(DELIVERIES)),
        st.tuples(st.just("deliver"), st.integers(0, 9), st.sampled_from(DELIVERIES)),
        st.tuples(st.just("select"), st.integers(0, 9), st.sampled_from(SELECTIONS)),
        st.tuples(st.just("stall"), st.integers(0, 9)),
        st.tuples(st.just("read"), st.integers(0, 9)),
    ),
    max_size=45,
)


@hypothesis_settings(deadline=None, max_examples=200)
@given(STEPS)
def test_every_metric_is_in_exactly_one_summary_whatever_clients_do(steps):
    harness = HubHarness(slow_client_seconds=1e9)
    clients = [[*harness.join(SELECTIONS[0], SUMMARIES), 0]]  # with the sum of what each should get
    published = 0
    for step, *arguments in [*steps, ("read", None), ("advance", 20.0)]:
        chosen = clients
        if step in {"deliver", "select", "stall", "read"} and arguments[0] is not None:
            chosen = [clients[arguments[0] % len(clients)]]
        client, sink, _ = chosen[0]
        match step:
            case "publish":
                metric_type, source = arguments
                number = 2**published
                published += 1
                harness.publish(number, metric_type=metric_type, source=source)
                for entry in clients:
                    entry[2] += number if metric_type in entry[0].selection.metric_types else 0
            case "advance":
                harness.clock.advance(arguments[0])
            case "join":
                clients.append([*harness.join(SELECTIONS[0], arguments[0]), 0])
            case "deliver":
                harness.hub.change(client, client.selection, arguments[-1])
            case "select":
                if client.selection == SELECTIONS[0]:  # narrowing drops what is not wanted any more, and rightly so
                    harness.hub.change(client, arguments[-1], client.delivery)
            case "stall":
                sink.stalled = True
            case "read":
                for reader, its_socket, _ in chosen:
                    its_socket.stalled = False
                    if reader.busy_since is not None:
                        harness.hub.written(reader)
    for _, sink, expected in clients:
        assert sum(total for _, total in amounts(sink)) == expected
        assert sum(count for count, _ in amounts(sink)) == expected.bit_count()
        assert not sink.gaps
