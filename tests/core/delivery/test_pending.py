import json

import pytest

from metrics_stream.core.delivery.pending import LINGER_SECONDS, Delivery, Item, Loss, Pending, Share, newest
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.protocol.codes import GapReason


def metric(number=0, *, metric_type="system", source="host1", agents=()):
    return Metric(metric_type, source, 0.0, tuple(agents), b"%05d" % number)


def pending(last_frame_at=float("-inf"), max_metrics=1000, max_bytes=100_000, **delivery):
    return Pending(Delivery(**delivery), max_metrics=max_metrics, max_bytes=max_bytes, last_frame_at=last_frame_at)


def add(view, number, now, **kwargs):
    one = metric(number, **kwargs)
    view.add(one, one.body, now)


DUE = [
    # last frame, arrivals, batch size, batch timeout, interval -> due
    ("a quiet client gets the next metric at once, after the linger", float("-inf"), [100.0], 10, 0.5, 1.0, 100.02),
    ("what arrives with it does not put it off", float("-inf"), [100.0, 100.01, 100.015], 10, 0.5, 1.0, 100.02),
    ("the interval is a hard floor", 100.0, [100.1], 1, 0.0, 1.0, 101.0),
    ("the floor holds for a full batch too", 100.0, [100.1] * 20, 10, 0.5, 1.0, 101.0),
    ("past the floor a batch timeout makes due", 100.0, [100.1], 10, 3.0, 1.0, 103.0),
    ("past the floor a full batch makes due", 100.0, [100.1] * 9 + [101.5], 10, 3.0, 1.0, 101.52),
    ("a batch that is full before the floor leaves at the floor", 100.0, [100.1] * 10, 10, 3.0, 1.0, 101.0),
    ("long after the last frame", 100.0, [200.0], 10, 3.0, 1.0, 200.02),
    ("no timeout and no floor left", 100.0, [100.2], 10, 0.0, 0.1, 100.22),
]


@pytest.mark.parametrize(
    ("last", "arrivals", "size", "timeout", "interval", "due"), [d[1:] for d in DUE], ids=[d[0] for d in DUE]
)
def test_a_frame_is_due(last, arrivals, size, timeout, interval, due):
    view = pending(last, batch_size=size, batch_timeout_seconds=timeout, interval_seconds=interval)
    for number, now in enumerate(arrivals):
        add(view, number, now)
    assert view.due_at == pytest.approx(due)


def test_nothing_pending_is_never_due():
    view = pending()
    assert view.due_at is None
    add(view, 1, 5.0)
    view.take(5.02)
    assert view.due_at is None


def test_a_window_holds_everything_in_order_and_the_next_begins_empty():
    view = pending()
    for number in range(3):
        add(view, number, 1.0)
    assert [item.body for item in view.take(1.02).items] == [b"00000", b"00001", b"00002"]
    assert view.take(3.0).items == []


def test_beyond_the_bound_the_oldest_are_dropped_and_counted():
    view = pending(max_metrics=3)
    for number in range(5):
        add(view, number, 1.0, metric_type="hero" if number == 0 else "system")
    window = view.take(2.0)
    assert [item.body for item in window.items] == [b"00002", b"00003", b"00004"]
    assert window.loss == Loss({GapReason.PENDING_OVERFLOW: 2}, {"hero", "system"})


def test_the_bound_in_bytes_counts_json_and_comma():
    view = pending(max_bytes=12)
    for number in range(3):
        add(view, number, 1.0)
    assert [item.body for item in view.take(2.0).items] == [b"00001", b"00002"]


def test_a_single_metric_over_the_bound_still_goes_out():
    view = pending(max_bytes=3)
    add(view, 1, 1.0)
    assert len(view.take(2.0).items) == 1


def test_latest_keeps_the_newest_per_type_source_and_agents():
    view = pending(mode="latest")
    add(view, 1, 1.0)
    add(view, 2, 1.0, source="host2")
    add(view, 3, 1.0, metric_type="agent", agents=["a"])
    add(view, 4, 1.0, metric_type="agent", agents=["b"])
    add(view, 5, 1.0)
    window = view.take(2.0)
    assert [item.body for item in window.items] == [b"00002", b"00003", b"00004", b"00005"]
    assert not window.loss


def test_a_client_that_joins_within_a_window_gets_the_part_since_then():
    view = pending(max_metrics=3)
    add(view, 0, 1.0)
    add(view, 1, 1.0)
    joined = view.next_sequence
    add(view, 2, 1.0)
    assert [item.body for item in view.peek().since(joined)[0]] == [b"00002"]
    for number in range(3, 7):
        add(view, number, 1.0)
    items, loss = view.take(2.0).since(joined)
    assert [item.body for item in items] == [b"00004", b"00005", b"00006"]
    assert loss.counts == {GapReason.PENDING_OVERFLOW: 2}


# --- mode aggregate ---


def gauge(value, **kwargs):
    head = metric(**kwargs)
    body = b'{"metric_type":"system","timestamp":"t","source":"s","data":{"x":%d}}' % value
    return Metric(head.metric_type, head.source, head.timestamp, head.rows, body)


def gather(view, now, *metrics):
    return [view.add(one, one.body, now) for one in metrics]


def means(items):
    found = [json.loads(item.body) for item in items]
    return [(one["source"], one["data"]["x"], one["summary"]["x"]["count"]) for one in found]


AGGREGATE_DUE = [
    ("a quiet client gets the next metric at once, after the linger", float("-inf"), [100.0], 100.02),
    ("so it does long after the last frame", 100.0, [200.0], 200.02),
    ("else the interval has to end", 100.0, [100.1], 101.0),
    ("a full batch does not end it", 100.0, [100.1] * 20, 101.0),
]


@pytest.mark.parametrize(("last", "arrivals", "due"), [d[1:] for d in AGGREGATE_DUE], ids=[d[0] for d in AGGREGATE_DUE])
@pytest.mark.parametrize("timeout", [0.0, 0.5, 60.0])
def test_a_summary_is_due(last, arrivals, due, timeout):
    view = pending(last, mode="aggregate", batch_size=10, batch_timeout_seconds=timeout)
    settled = [view.add(one, one.body, now) for now in arrivals for one in [gauge(1)]]
    assert view.due_at == pytest.approx(due)
    assert settled == [True, *[False] * (len(arrivals) - 1)]


def test_aggregate_keeps_one_summary_per_type_source_and_agent_and_the_next_interval_begins_empty():
    view = pending(mode="aggregate")
    gather(view, 1.0, gauge(1), gauge(2, source="host2"), gauge(3))
    assert len(view) == 2
    window = view.take(2.0)
    assert means(window.items) == [("host2", 2, 1), ("host1", 2.0, 2)]
    assert [item.metric.kind for item in window.items] == [("system", "host2", ()), ("system", "host1", ())]
    assert all(item.body is item.metric.body for item in window.items)
    assert (window.start, window.end, window.loss) == (0, 3, Loss())
    assert (len(view), view.due_at, view.take(3.0).items) == (0, None, [])
    gather(view, 3.0, gauge(9))
    assert means(view.take(4.0).items) == [("host1", 9, 1)]


def test_a_client_that_joins_within_an_interval_gets_the_summary_since_then():
    view = pending(mode="aggregate")
    gather(view, 1.0, gauge(1), gauge(2))
    joined = view.mark()
    assert view.peek().since(joined) == ([], Loss())
    gather(view, 1.0, gauge(6))
    later = view.mark()
    gather(view, 1.0, gauge(9, source="host2"), gauge(8))
    assert means(view.peek().since(joined)[0]) == [("host2", 9, 1), ("host1", 7.0, 2)]
    window = view.take(2.0)
    assert means(window.items) == [("host2", 9, 1), ("host1", 4.25, 4)]
    assert means(window.since(0)[0]) == means(window.items)
    assert means(window.since(joined)[0]) == [("host2", 9, 1), ("host1", 7.0, 2)]
    assert means(window.since(later)[0]) == [("host2", 9, 1), ("host1", 8, 1)]
    assert window.since(window.end) == ([], Loss())


@pytest.mark.parametrize("mode", ["all", "latest"])
def test_a_mark_is_the_next_sequence(mode):
    view = pending(mode=mode)
    add(view, 0, 1.0)
    assert view.mark() == 1


def test_a_peeked_window_does_not_change_later():
    view = pending(mode="aggregate")
    gather(view, 1.0, gauge(1))
    before = view.peek()
    gather(view, 1.0, gauge(3))
    assert (means(before.items), means(view.peek().items)) == ([("host1", 1, 1)], [("host1", 2.0, 2)])


def test_beyond_the_bound_the_summaries_changed_longest_ago_are_dropped_and_counted():
    view = pending(mode="aggregate", max_metrics=2)
    gather(view, 1.0, gauge(1, source="a", metric_type="hero"), *(gauge(number, source="b") for number in range(5)))
    joined = view.mark()
    gather(view, 1.0, gauge(1, source="c"))
    window = view.take(2.0)
    assert means(window.items) == [("b", 2.0, 5), ("c", 1, 1)]
    assert window.loss == Loss({GapReason.PENDING_OVERFLOW: 1}, {"hero"})
    assert window.since(joined) == (window.items, window.loss)  # a view that is nearly full is not cut


@pytest.mark.parametrize("bound", [{"max_metrics": 7}, {"max_bytes": 4_000}])
def test_clients_that_join_push_out_no_summary_of_others(bound):
    view = pending(mode="aggregate", **bound)
    for _ in range(5):
        gather(view, 1.0, *(gauge(1, source=source) for source in "abc"))
        view.mark()
    window = view.take(2.0)
    assert means(window.items) == [("a", 1, 5), ("b", 1, 5), ("c", 1, 5)]
    assert not window.loss


def test_the_bound_in_bytes_holds_for_a_source_that_never_repeats_a_field():
    view = pending(mode="aggregate", max_bytes=10_000)
    for number in range(1_000):
        body = b'{"timestamp":"t","data":{"field_%d":1}}' % number
        view.add(Metric("system", "s", 0.0, (), body), body, 1.0)
    window = view.take(2.0)
    assert sum(len(item.body) for item in window.items) < 10_000
    assert window.loss.counts[GapReason.PENDING_OVERFLOW] > 1


def test_a_single_metric_over_the_bound_is_still_summarised():
    view = pending(mode="aggregate", max_bytes=3)
    gather(view, 1.0, gauge(1))
    assert means(view.take(2.0).items) == [("host1", 1, 1)]


def test_a_malformed_metric_is_counted_and_does_not_stop_the_others():
    view = pending(mode="aggregate")
    assert gather(view, 1.0, metric(1), gauge(1), metric(2)) == [True, False, False]
    window = view.take(2.0)
    assert means(window.items) == [("host1", 1, 1)]
    assert window.loss == Loss({GapReason.INTERNAL: 2}, {"system"})


def test_merged_sketches_are_kept_on_request():
    sketch = b'"sketches":{"x":{"accuracy":0.01,"bins":{"5":1}}}'
    body = b'{"timestamp":"t","data":{"p99_x":1,%b}}' % sketch
    one = Metric("system", "s", 0.0, (), body)
    found = []
    for keeps in (False, True):
        view = Pending(Delivery(mode="aggregate"), max_metrics=9, max_bytes=9_999, keeps_sketches=keeps)
        gather(view, 1.0, one)
        found.append("sketches" in json.loads(view.take(2.0).items[0].body)["data"])
    assert found == [False, True]


def windows_of(*values):
    view = pending(mode="aggregate")
    for value in values:
        gather(view, 1.0, gauge(value), gauge(value))
        yield view.take(2.0)


def test_the_summaries_of_two_intervals_wait_as_two():
    share = Share(max_bytes=10_000)
    for window in windows_of(1, 5):
        share.add(*window.since(0), "aggregate")
    taken, loss = share.take()
    assert means(taken) == [("host1", 1, 2), ("host1", 5, 2)]
    assert not loss


def test_beyond_the_bound_of_a_share_the_newest_summaries_stay_and_the_others_are_counted():
    windows = list(windows_of(1, 5, 9))
    share = Share(max_bytes=2 * len(windows[0].items[0].body) + 20)
    for window in windows:
        share.add(*window.since(0), "aggregate")
    taken, loss = share.take()
    assert means(taken) == [("host1", 9, 2)]
    assert loss == Loss({GapReason.SLOW_CONSUMER: 2}, {"system"})


# --- the share of a busy client ---


def items(*metrics):
    return [Item(number, one, one.body) for number, one in enumerate(metrics)]


def test_a_share_is_kept_whole_up_to_its_bound():
    share = Share(max_bytes=18)
    share.add(items(metric(1), metric(2)), Loss(), "all")
    share.add(items(metric(3)), Loss(), "all")
    taken, loss = share.take()
    assert [item.body for item in taken] == [b"00001", b"00002", b"00003"]
    assert not loss
    assert share.is_empty


def test_beyond_its_bound_a_share_keeps_the_newest_and_counts_the_others():
    share = Share(max_bytes=18)
    share.add(items(metric(1), metric(2, source="b"), metric(3), metric(4)), Loss(), "all")
    taken, loss = share.take()
    assert [item.body for item in taken] == [b"00002", b"00004"]
    assert loss == Loss({GapReason.SLOW_CONSUMER: 2}, {"system"})


def test_even_the_newest_are_bounded():
    share = Share(max_bytes=12)
    share.add(items(*(metric(number, source=str(number)) for number in range(5))), Loss(), "all")
    taken, loss = share.take()
    assert [item.body for item in taken] == [b"00003", b"00004"]
    assert loss.counts == {GapReason.SLOW_CONSUMER: 3}


def test_a_loss_that_is_unknown_stays_unknown():
    loss = Loss()
    loss.add(GapReason.BUS, None, {"system"})
    loss.add(GapReason.BUS, 3, {"hero"})
    assert loss == Loss({GapReason.BUS: None}, {"system", "hero"})
    assert loss.known == 0


@pytest.mark.parametrize(
    ("given", "effective"),
    [
        ((0.0, 0, -1.0), (0.1, 1, 0.0)),
        ((1e308, 10**30, 1e308), (60.0, 1000, 60.0)),
        ((2.0, 20, 0.25), (2.0, 20, 0.25)),
    ],
)
def test_delivery_is_clamped(given, effective):
    delivery = Delivery.clamped(
        interval_seconds=given[0], batch_size=given[1], batch_timeout_seconds=given[2], mode="all"
    )
    assert (delivery.interval_seconds, delivery.batch_size, delivery.batch_timeout_seconds) == effective


def test_the_linger_is_too_short_to_notice():
    assert LINGER_SECONDS <= 0.02


def test_latest_keeps_a_metric_until_all_its_rows_have_come_again():
    view = pending(mode="latest")
    add(view, 1, 1.0, metric_type="agent", agents=["a", "b"])
    add(view, 2, 1.0, metric_type="agent", agents=["b"])
    add(view, 3, 1.0, metric_type="agent", agents=["a", "c"])
    window = view.take(2.0)
    assert [item.body for item in window.items] == [b"00002", b"00003"]
    assert not window.loss
    assert [item.body for item in newest([*window.items, *window.items[:1]])] == [b"00003", b"00002"]
