import pytest

from metrics_stream.core.delivery import selection as selection_module
from metrics_stream.core.delivery.pending import Delivery
from metrics_stream.core.delivery.selection import Selection, compile_projection
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.protocol.messages import Filters
from metrics_stream.hub import views as views_module
from metrics_stream.hub.views import MAX_CARRIED_METRICS
from tests.support.hub import FAST, SYSTEM, make_numbered


@pytest.mark.parametrize("metric_type", ["system", "agent"])
def test_a_metric_is_decoded_once_for_all_filters_and_for_clients_without_any_never(harness, metric_type, monkeypatch):
    decoded = []
    decode = selection_module._decode_document
    monkeypatch.setattr(selection_module, "_decode_document", lambda body: (decoded.append(body), decode(body))[1])
    harness.join(Selection((metric_type,)))
    harness.publish(1, metric_type=metric_type, x=1, y=2)
    assert not decoded
    wishes = [Filters(fields=fields) for fields in (("n",), ("x",), ("x", "y"))] + [
        Filters(agent_ids=("a",), fields=("n",))
    ]
    sinks = [harness.join(Selection((metric_type,), wish))[1] for wish in wishes]
    harness.publish(2, 3, metric_type=metric_type, x=1, y=2)
    harness.clock.advance(1.0)
    assert len(decoded) == 2
    assert all(sink.frames for sink in sinks)


def test_clients_that_want_the_same_share_one_encoding(harness):
    sinks = [harness.join()[1] for _ in range(50)]
    harness.publish(1, 2)
    harness.clock.advance(1.0)
    assert all(sink.raw[0] is sinks[0].raw[0] for sink in sinks)
    assert harness.hub.view_count == 1
    assert harness.telemetry.frames_encoded == 1
    assert harness.telemetry.messages_sent == 50


def test_a_metric_that_no_client_wants_is_not_sent(harness):
    _, sink = harness.join()
    harness.publish(1, metric_type="hero")
    harness.clock.advance(1.0)
    assert sink.frames == []


def test_filters_apply_per_view(harness):
    _, some = harness.join(Selection(("system",), Filters(fields=("n",))))
    _, other = harness.join(Selection(("system",), Filters(sources=("host2",))))
    harness.publish(1, extra="x")
    harness.publish(2, source="host2")
    harness.clock.advance(1.0)
    assert [item["data"] for item in some.frames[0]["data"]] == [{"n": 1}, {"n": 2}]
    assert other.metrics == [2]


def test_views_that_differ_in_delivery_only_filter_a_metric_once(harness, monkeypatch):
    compiled = []

    def counting(filters, permit):
        project = compile_projection(filters, permit)
        compiled.append(0)

        def count(decoded):
            compiled[-1] += 1
            return project(decoded)

        return count

    monkeypatch.setattr(views_module, "compile_projection", counting)
    wish = Filters(fields=("n",))
    _, fast = harness.join(Selection(("system",), wish))
    _, slow = harness.join(Selection(("system", "hero"), wish), Delivery(interval_seconds=2.0))
    harness.publish(1, 2, 3)
    harness.clock.advance(2.0)
    assert compiled == [3]
    assert fast.metrics == slow.metrics == [1, 2, 3]


def test_interest_follows_the_local_clients(harness):
    first, _ = harness.join(Selection(("system", "hero")))
    second, _ = harness.join(Selection(("hero",)))
    harness.hub.remove(first)
    assert harness.hub.interest == {"hero"}
    harness.hub.remove(second)
    assert [set(interest) for interest in harness.interests] == [
        {"system", "hero"},
        {"system", "hero"},
        {"hero"},
        set(),
    ]


def test_a_newcomer_gets_nothing_from_before_it_came(harness):
    slow = Delivery(interval_seconds=10.0, batch_size=1000, batch_timeout_seconds=10.0)
    _, early = harness.join(delivery=slow)
    harness.publish(0)
    harness.clock.advance(0.02)
    harness.publish(1)
    harness.clock.advance(5.0)
    _, late = harness.join(delivery=slow)
    harness.publish(2)
    harness.clock.advance(10.0)
    assert early.metrics == [0, 1, 2]
    assert late.metrics == [2]


def test_nothing_is_lost_and_nothing_comes_twice_when_a_client_changes_its_interval(harness):
    client, sink = harness.join(delivery=Delivery(interval_seconds=60.0, batch_size=1, batch_timeout_seconds=60.0))
    _, other = harness.join(delivery=FAST)
    harness.publish(0)
    harness.clock.advance(0.02)
    harness.publish(1, 2)
    harness.clock.advance(5.0)
    harness.publish(3)
    harness.hub.change(client, SYSTEM, FAST)
    harness.publish(4)
    harness.clock.advance(1.0)
    assert sink.metrics == [0, 1, 2, 3, 4]
    assert other.metrics == [0, 1, 2, 3, 4]


def test_what_was_pending_obeys_the_new_filters(harness):
    client, sink = harness.join(Selection(("system", "hero")), Delivery(interval_seconds=60.0))
    harness.publish(0)
    harness.clock.advance(0.02)
    harness.publish(1, extra=1)
    harness.publish(2, metric_type="hero")
    harness.hub.change(client, Selection(("system",), Filters(fields=("n",))), FAST)
    harness.clock.advance(1.0)
    assert sink.frames[1]["data"]["data"] == {"n": 1}
    assert sink.metrics == [0, 1]


def test_changing_views_does_not_get_round_the_interval(harness):
    client, sink = harness.join(delivery=FAST)
    harness.publish(1)
    harness.clock.advance(0.02)
    _, other = harness.join(delivery=Delivery(interval_seconds=5.0))
    harness.publish(2)
    harness.hub.change(client, SYSTEM, Delivery(interval_seconds=5.0))
    harness.clock.advance(30.0)
    assert sink.metrics == [1, 2]
    assert sink.times[1] - sink.times[0] >= 5.0 - 1e-6
    assert other.metrics == [2]


def test_carrying_over_is_bounded_and_announced(harness):
    client, sink = harness.join(delivery=Delivery(interval_seconds=60.0))
    harness.publish(0)
    harness.clock.advance(0.02)
    harness.publish(*range(1, MAX_CARRIED_METRICS + 11))
    harness.hub.change(client, Selection(("system",), Filters(fields=("n",))), FAST)
    harness.clock.advance(1.0)
    assert [gap["dropped"] for gap in sink.gaps] == [10]
    assert sink.metrics == [0, *range(11, MAX_CARRIED_METRICS + 11)]


@pytest.mark.parametrize("body", [b'{"data": [1', b'{"data":{"a":%b' % (b"[" * 10_000)], ids=["cut off", "nested"])
def test_a_malformed_metric_of_a_foreign_producer_stops_no_client(harness, body):
    _, sink = harness.join(Selection(("system",), Filters(fields=("n",))))
    other, everything = harness.join(delivery=Delivery(interval_seconds=60.0))
    harness.publish(1)
    harness.clock.advance(1.0)
    harness.hub.publish([Metric("system", "host1", 0.0, (), body), make_numbered(2)])
    harness.clock.advance(1.0)
    assert sink.metrics == [1, 2]
    # What waits for a client is filtered once more when it changes its mind.
    harness.hub.change(other, Selection(("system",), Filters(fields=("n",))), FAST)
    harness.clock.advance(1.0)
    assert everything.metrics == [1, 2]


def test_malformed_metrics_are_logged_once_for_each_type_and_source(harness, caplog):
    harness.join(Selection(("system",), Filters(fields=("n",))))
    for _ in range(3):
        for source in ("malformed-1", "malformed-2"):
            harness.hub.publish([Metric("system", source, 0.0, (), b'{"data": [1')])
        harness.clock.advance(1.0)
    sources = [record.args[1] for record in caplog.records if "malformed" in record.getMessage()]
    assert sources == ["malformed-1", "malformed-2"]


def test_the_frames_of_a_view_are_a_row_and_those_for_one_client_are_not(harness):
    _, sink = harness.join()
    sent, own = [], []
    sink.write = lambda frames: sent.extend(frames) or True
    for number in range(3):
        harness.publish(number, padding="x" * 200)
        harness.clock.advance(0.1)
    first, second, third = sent
    assert first.before is None
    assert (second.before, third.before) == (first.after, second.after)
    late, inbox = harness.join()
    inbox.write = lambda frames: own.extend(frames) or True
    harness.publish(3, padding="x" * 200)
    harness.hub.change(late, SYSTEM, Delivery(interval_seconds=0.2))
    harness.clock.advance(0.2)
    assert [frame.before for frame in sent[3:]] == [third.after]
    assert [frame.before for frame in own] == [None]
