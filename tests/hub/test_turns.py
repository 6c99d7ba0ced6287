"""The turns of views: one owner's many views leave time for the others."""

import pytest

from metrics_stream.core.delivery.selection import Selection
from metrics_stream.core.protocol.messages import Filters
from metrics_stream.hub import hub as hub_module
from metrics_stream.hub.turns import PAUSES

# How long the frames of one view take, by the clock that measures that.
FLUSH_SECONDS = 0.01


@pytest.fixture(autouse=True)
def slow_flushes(monkeypatch):
    """Let each flush take FLUSH_SECONDS."""
    ticks = iter(range(10**9))

    class Time:
        time = staticmethod(lambda: 0.0)
        perf_counter = staticmethod(lambda: next(ticks) * FLUSH_SECONDS)

    monkeypatch.setattr(hub_module, "time", Time)


def join_own(harness, owner, count):
    """Return the sinks of clients of one owner, each with a view of its own."""
    sinks = []
    for number in range(count):
        client, sink = harness.join(Selection(("system",), Filters(fields=("n", f"f{number}"))))
        harness.hub.turns.assign(client, owner)
        sinks.append(sink)
    return sinks


def publish_for(harness, seconds):
    """Publish ten times a second; return how many."""
    count = round(10 * seconds)
    for number in range(count):
        harness.publish(number)
        harness.clock.advance(0.1)
    harness.clock.advance(30)
    return count


def test_many_views_of_one_owner_take_a_part_of_the_time_and_lose_nothing(harness):
    own = join_own(harness, "token 1", 20)
    _, other = harness.join()
    count = publish_for(harness, 20)
    assert other.metrics == list(range(count))
    assert len(other.times) == count
    frames = sum(len(sink.times) for sink in own)
    # Each of its frames takes 10 ms, and is followed by PAUSES times as long; at first that is not known.
    assert frames * FLUSH_SECONDS * (1 + PAUSES) < 20 + 20 * 2 + 1
    assert all(sink.metrics == list(range(count)) for sink in own)
    # All of them have their turn.
    counts = sorted(len(sink.times) for sink in own)
    assert counts[0] > counts[-1] / 2


def test_a_few_views_of_an_owner_wait_for_nothing(harness):
    own = join_own(harness, "token 1", 2)
    count = publish_for(harness, 5)
    assert [len(sink.times) for sink in own] == [count, count]


def test_a_view_of_more_clients_has_the_turns_of_its_owner_too(harness):
    turns = harness.hub.turns
    for _ in range(150):
        turns.assign(harness.join()[0], "token 1")
    [view] = {client.view for client in harness.hub.clients.values()}
    assert turns._account_of(view) is turns._accounts["token 1"]
    turns.assign(harness.join()[0], "token 2")
    assert turns._account_of(view) is None, "it is not of one owner only"


def test_views_of_several_owners_and_of_nobody_wait_for_nothing(harness):
    many = [harness.join()[0] for _ in range(10)]
    for number, client in enumerate(many):
        harness.hub.turns.assign(client, f"token {number % 2}")
    for number in range(20):
        harness.join(Selection(("system",), Filters(fields=("n", f"f{number}"))))
    count = publish_for(harness, 5)
    assert all(len(client.sink.times) == count for client in harness.hub.clients.values())


def test_who_leaves_is_forgotten(harness):
    join_own(harness, "token 1", 5)
    publish_for(harness, 2)
    for client in list(harness.hub.clients.values()):
        harness.hub.remove(client)
    assert not harness.hub.turns._accounts
    assert not harness.hub.turns._owners
    harness.hub.publish([])


def test_views_whose_clients_left_are_not_kept_for_their_turn(harness, monkeypatch):
    monkeypatch.setattr("metrics_stream.hub.turns.MAX_PROMISED", 3)
    join_own(harness, "token 1", 20)
    clients = list(harness.hub.clients.values())
    publish_for(harness, 1)
    for number in range(50):
        harness.publish(number)
        harness.clock.advance(0.1)
        client = clients[number % len(clients)]
        harness.hub.change(client, Selection(("system",), Filters(fields=("n", f"new-{number}"))), client.delivery)
    account = harness.hub.turns._accounts["token 1"]
    assert len(account.promised) <= 20 + 3 + 1
