import pytest

from metrics_stream.core.codes import GapReason
from metrics_stream.core.delivery import LINGER_SECONDS, Delivery, Item, Loss, Pending, Share
from metrics_stream.core.metrics import Metric


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


def test_past_the_bound_the_oldest_go_and_are_counted():
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


def test_who_came_within_the_window_gets_the_part_since_then():
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


def items(*metrics):
    return [Item(number, one, one.body) for number, one in enumerate(metrics)]


def test_a_share_is_kept_whole_up_to_its_bound():
    share = Share(max_bytes=18)
    share.add(items(metric(1), metric(2)), Loss(), "all")
    share.add(items(metric(3)), Loss(), "all")
    taken, loss = share.take()
    assert [item.body for item in taken] == [b"00001", b"00002", b"00003"]
    assert not loss
    assert not share


def test_past_its_bound_a_share_is_reduced_to_the_newest_and_says_so():
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


def test_the_linger_is_not_seen_by_a_person():
    assert LINGER_SECONDS <= 0.02
