import pytest

from metrics_stream.core.canary import Canary


@pytest.fixture
def canary():
    return Canary(silent_seconds=4.0, now=100.0)


def send(canary):
    number = canary.next_number
    canary.sent()
    return number


def test_in_order_nothing_is_lost(canary):
    assert [canary.hear(send(canary), 101.0 + step) for step in range(3)] == [False, False, False]


def test_a_number_that_is_missing_means_a_loss(canary):
    canary.hear(send(canary), 101.0)
    send(canary)
    assert canary.hear(send(canary), 103.0)
    assert not canary.hear(send(canary), 104.0)


def test_a_message_that_could_not_be_sent_is_not_missed(canary):
    canary.hear(send(canary), 101.0)
    unsent = canary.next_number
    assert not canary.hear(unsent, 102.0)
    assert not canary.hear(send(canary), 103.0)
    assert not canary.hear(send(canary), 104.0)


def test_a_message_that_has_not_returned_is_awaited(canary):
    assert not canary.is_awaited
    number = send(canary)
    assert canary.is_awaited
    canary.hear(number, 101.0)
    assert not canary.is_awaited


def test_a_late_or_repeated_number_is_no_loss(canary):
    first, second = send(canary), send(canary)
    canary.hear(first, 101.0)
    canary.hear(second, 102.0)
    assert not canary.hear(first, 103.0)
    assert not canary.hear(send(canary), 104.0)


def test_silence_makes_the_bus_stale_and_a_message_makes_it_live(canary):
    assert canary.judge(104.0) is None
    assert canary.judge(104.1) == "stale"
    assert canary.judge(110.0) is None
    canary.hear(1, 111.0)
    assert canary.judge(111.0) == "live"
    assert canary.judge(112.0) is None
