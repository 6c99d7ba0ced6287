import heapq
import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics_stream.core.delivery import frames as frames_module
from metrics_stream.core.delivery import selection as selection_module
from metrics_stream.core.delivery.pending import Delivery
from metrics_stream.core.delivery.selection import Selection, compile_projection
from metrics_stream.core.metrics.catalogue import BUILTIN_TYPES
from metrics_stream.core.metrics.encoding import encode_metric
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.protocol.codes import CloseCode, GapReason
from metrics_stream.core.protocol.messages import Filters
from metrics_stream.core.protocol.prepared_message import PreparedMessage
from metrics_stream.hub import views as views_module
from metrics_stream.hub.clients import HubLimits
from metrics_stream.hub.hub import Hub
from metrics_stream.hub.views import MAX_CARRIED_METRICS
from metrics_stream.telemetry import Telemetry

TYPES = {item.slug: item for item in BUILTIN_TYPES}
SYSTEM = Selection(("system",))
FAST = Delivery(interval_seconds=0.1, batch_size=1, batch_timeout_seconds=0.0)


class FakeTimer:
    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class FakeClock:
    """A clock that moves only when told, and then makes the calls that are due in their order."""

    def __init__(self, early: float = 0.0) -> None:
        """`early` is by how many seconds it rings too early, as uvloop does."""
        self.early = early
        self.now = 1000.0
        self.calls: list[tuple[float, int, FakeTimer, Callable[..., object], tuple[Any, ...]]] = []
        self.numbers = itertools.count()

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[..., object], *args: Any) -> FakeTimer:
        timer = FakeTimer()
        heapq.heappush(self.calls, (when - self.early, next(self.numbers), timer, callback, args))
        return timer

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while self.calls and self.calls[0][0] <= end + 1e-9:
            when, _, timer, callback, args = heapq.heappop(self.calls)
            self.now = max(self.now, when)
            if not timer.cancelled:
                callback(*args)
        self.now = end


class Socket:
    """A list for a socket. `stalled` is a client that does not read."""

    def __init__(self, house: "House") -> None:
        self.house = house
        self.frames: list[Any] = []
        self.raw: list[str] = []
        self.times: list[float] = []
        self.stalled = False
        self.broken = False
        self.unread: int | None = None
        self.closed: tuple[CloseCode, str] | None = None

    def write(self, frames) -> bool:
        if self.broken:
            raise ValueError("this socket is broken")
        self.raw.extend(frame.text for frame in frames)
        self.frames.extend(json.loads(frame.data) for frame in frames)
        self.times.append(self.house.clock.now)
        return not self.stalled

    def backlog(self) -> int | None:
        return self.unread

    def close(self, code, error, reason) -> None:
        self.closed = (code, error.value)

    @property
    def metrics(self) -> list[Any]:
        """The numbers of all metrics received, in order."""
        numbers = []
        for frame in self.frames:
            if frame["type"] == "metric_update":
                numbers.append(frame["data"]["data"]["n"])
            elif frame["type"] == "metric_batch":
                assert frame["count"] == len(frame["data"]) > 1
                numbers.extend(item["data"]["n"] for item in frame["data"])
        return numbers

    @property
    def gaps(self) -> list[Any]:
        return [frame for frame in self.frames if frame["type"] == "gap"]


class House:
    """A hub with its clock, and a way to put clients into it."""

    def __init__(self, **limits: Any) -> None:
        self.clock = FakeClock()
        self.telemetry = Telemetry()
        self.interests: list[frozenset[str]] = []
        defaults = {
            "max_pending_metrics": 10_000,
            "max_pending_bytes": 1_000_000,
            "slow_client_bytes": 1_000_000,
            "slow_client_seconds": 10.0,
        }
        self.hub = Hub(
            clock=self.clock,
            limits=HubLimits(**{**defaults, **limits}),
            telemetry=self.telemetry,
            on_interest=self.interests.append,
        )
        self.numbers = itertools.count()

    def join(self, selection: Selection = SYSTEM, delivery: Delivery = FAST):
        socket = Socket(self)
        client = self.hub.add(f"client-{next(self.numbers)}", socket, connected_at=0.0)
        self.hub.change(client, selection, delivery)
        return client, socket

    def publish(self, *numbers: int, metric_type: str = "system", source: str = "host1", **fields: Any) -> None:
        self.hub.publish(make(number, metric_type, source, **fields) for number in numbers)


def make(number: int, metric_type: str = "system", source: str = "host1", **fields: Any) -> Metric:
    data: Any = {"n": number, **fields}
    if metric_type == "agent":
        data = [{"agent_id": "a", "n": number, **fields}]
    return encode_metric(TYPES[metric_type], data, timestamp=0.0, source=source, max_bytes=1_000_000)


@pytest.fixture
def house() -> House:
    return House()


def test_a_quiet_client_gets_a_single_metric_at_once(house):
    _, socket = house.join(delivery=Delivery())
    house.publish(1)
    house.clock.advance(0.02)
    assert socket.raw == [
        '{"type":"metric_update","data":{"metric_type":"system","timestamp":"1970-01-01T00:00:00.000000Z",'
        '"source":"host1","data":{"n":1}}}'
    ]


def test_what_arrives_together_leaves_together(house):
    _, socket = house.join(delivery=Delivery())
    house.publish(1)
    house.clock.advance(0.01)
    house.publish(2)
    house.clock.advance(0.01)
    assert [frame["type"] for frame in socket.frames] == ["metric_batch"]
    assert socket.metrics == [1, 2]


def test_the_interval_is_a_hard_floor(house):
    _, socket = house.join(delivery=Delivery(interval_seconds=2.0, batch_size=1, batch_timeout_seconds=0.0))
    for number in range(100):
        house.publish(number)
        house.clock.advance(0.1)
    house.clock.advance(2.0)
    assert socket.metrics == list(range(100))
    assert all(later - earlier >= 2.0 - 1e-6 for earlier, later in itertools.pairwise(socket.times))


@pytest.mark.parametrize("metric_type", ["system", "agent"])
def test_a_metric_is_decoded_once_for_all_filters_and_for_clients_without_any_never(house, metric_type, monkeypatch):
    decoded = []
    decode = selection_module._decode_document
    monkeypatch.setattr(selection_module, "_decode_document", lambda body: (decoded.append(body), decode(body))[1])
    house.join(Selection((metric_type,)))
    house.publish(1, metric_type=metric_type, x=1, y=2)
    assert not decoded
    wishes = [Filters(fields=fields) for fields in (("n",), ("x",), ("x", "y"))] + [
        Filters(agent_ids=("a",), fields=("n",))
    ]
    sockets = [house.join(Selection((metric_type,), wish))[1] for wish in wishes]
    house.publish(2, 3, metric_type=metric_type, x=1, y=2)
    house.clock.advance(1.0)
    assert len(decoded) == 2
    assert all(socket.frames for socket in sockets)


def test_clients_that_want_the_same_share_one_encoding(house):
    sockets = [house.join()[1] for _ in range(50)]
    house.publish(1, 2)
    house.clock.advance(1.0)
    assert all(socket.raw[0] is sockets[0].raw[0] for socket in sockets)
    assert house.hub.view_count == 1
    assert house.telemetry.frames_encoded == 1
    assert house.telemetry.messages_sent == 50


def test_a_metric_nobody_wants_is_not_sent(house):
    _, socket = house.join()
    house.publish(1, metric_type="hero")
    house.clock.advance(1.0)
    assert socket.frames == []


def test_filters_apply_per_view(house):
    _, some = house.join(Selection(("system",), Filters(fields=("n",))))
    _, other = house.join(Selection(("system",), Filters(sources=("host2",))))
    house.publish(1, extra="x")
    house.publish(2, source="host2")
    house.clock.advance(1.0)
    assert [item["data"] for item in some.frames[0]["data"]] == [{"n": 1}, {"n": 2}]
    assert other.metrics == [2]


def test_views_that_differ_in_delivery_only_filter_a_metric_once(house, monkeypatch):
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
    _, fast = house.join(Selection(("system",), wish))
    _, slow = house.join(Selection(("system", "hero"), wish), Delivery(interval_seconds=2.0))
    house.publish(1, 2, 3)
    house.clock.advance(2.0)
    assert compiled == [3]
    assert fast.metrics == slow.metrics == [1, 2, 3]


def test_interest_follows_the_local_clients(house):
    first, _ = house.join(Selection(("system", "hero")))
    second, _ = house.join(Selection(("hero",)))
    house.hub.remove(first)
    assert house.hub.interest == {"hero"}
    house.hub.remove(second)
    assert [set(interest) for interest in house.interests] == [{"system", "hero"}, {"system", "hero"}, {"hero"}, set()]


def test_a_client_that_leaves_twice_is_forgotten_once(house):
    client, _ = house.join()
    house.hub.remove(client)
    house.hub.remove(client)
    assert house.telemetry.connected_clients == 0
    assert house.hub.view_count == 0
    house.hub.change(client, Selection(("hero",)), FAST)
    assert house.hub.view_count == 0


def test_a_newcomer_gets_nothing_from_before_it_came(house):
    slow = Delivery(interval_seconds=10.0, batch_size=1000, batch_timeout_seconds=10.0)
    _, early = house.join(delivery=slow)
    house.publish(0)
    house.clock.advance(0.02)
    house.publish(1)
    house.clock.advance(5.0)
    _, late = house.join(delivery=slow)
    house.publish(2)
    house.clock.advance(10.0)
    assert early.metrics == [0, 1, 2]
    assert late.metrics == [2]


def test_nothing_is_lost_and_nothing_comes_twice_when_a_client_changes_its_interval(house):
    client, socket = house.join(delivery=Delivery(interval_seconds=60.0, batch_size=1, batch_timeout_seconds=60.0))
    _, other = house.join(delivery=FAST)
    house.publish(0)
    house.clock.advance(0.02)
    house.publish(1, 2)
    house.clock.advance(5.0)
    house.publish(3)
    house.hub.change(client, SYSTEM, FAST)
    house.publish(4)
    house.clock.advance(1.0)
    assert socket.metrics == [0, 1, 2, 3, 4]
    assert other.metrics == [0, 1, 2, 3, 4]


def test_what_was_pending_obeys_the_new_filters(house):
    client, socket = house.join(Selection(("system", "hero")), Delivery(interval_seconds=60.0))
    house.publish(0)
    house.clock.advance(0.02)
    house.publish(1, extra=1)
    house.publish(2, metric_type="hero")
    house.hub.change(client, Selection(("system",), Filters(fields=("n",))), FAST)
    house.clock.advance(1.0)
    assert socket.frames[1]["data"]["data"] == {"n": 1}
    assert socket.metrics == [0, 1]


def test_changing_views_does_not_get_round_the_interval(house):
    client, socket = house.join(delivery=FAST)
    house.publish(1)
    house.clock.advance(0.02)
    _, other = house.join(delivery=Delivery(interval_seconds=5.0))
    house.publish(2)
    house.hub.change(client, SYSTEM, Delivery(interval_seconds=5.0))
    house.clock.advance(30.0)
    assert socket.metrics == [1, 2]
    assert socket.times[1] - socket.times[0] >= 5.0 - 1e-6
    assert other.metrics == [2]


def test_carrying_over_is_bounded_and_announced(house):
    client, socket = house.join(delivery=Delivery(interval_seconds=60.0))
    house.publish(0)
    house.clock.advance(0.02)
    house.publish(*range(1, MAX_CARRIED_METRICS + 11))
    house.hub.change(client, Selection(("system",), Filters(fields=("n",))), FAST)
    house.clock.advance(1.0)
    assert [gap["dropped"] for gap in socket.gaps] == [10]
    assert socket.metrics == [0, *range(11, MAX_CARRIED_METRICS + 11)]


def test_a_slow_client_does_not_delay_the_others(house):
    slow_client, slow = house.join()
    _, healthy = house.join()
    slow.stalled = True
    for number in range(20):
        house.publish(number)
        house.clock.advance(0.1)
    assert healthy.metrics == list(range(20))
    assert slow.metrics == [0]
    slow.stalled = False
    house.hub.written(slow_client)
    house.clock.advance(0.2)
    assert slow.metrics == list(range(20))
    assert slow.gaps == []


def test_the_share_of_a_slow_client_is_reduced_to_the_newest_with_a_gap():
    house = House(slow_client_bytes=1000)
    client, socket = house.join()
    socket.stalled = True
    for number in range(50):
        house.publish(number, source=f"host{number % 2}")
        house.clock.advance(0.1)
    socket.stalled = False
    house.hub.written(client)
    house.clock.advance(0.2)
    dropped = sum(gap["dropped"] for gap in socket.gaps)
    assert socket.gaps[0] == {"type": "gap", "reason": "slow_consumer", "dropped": dropped, "metric_types": ["system"]}
    assert socket.metrics[-2:] == [48, 49]
    assert len(socket.metrics) + dropped == 50
    assert client.counters.metrics_dropped == dropped


@pytest.mark.parametrize("mode", ["all", "latest", "aggregate"])
@pytest.mark.parametrize(
    "bounds", [{"slow_client_bytes": 1000}, {"max_pending_bytes": 1000}, {"max_pending_metrics": 10}]
)
def test_a_client_is_fed_no_more_than_can_wait_while_it_is_busy(bounds, mode):
    house = House(**bounds)
    client, socket = house.join(delivery=Delivery(interval_seconds=0.1, batch_size=1, mode=mode))
    house.hub.enter_replay(client)
    metrics = [make(number, source=f"host{number}") for number in range(50)]
    while metrics:
        # Something else than metrics is on its way when their frame is due.
        socket.stalled = True
        house.hub.write_text(client, PreparedMessage(b'{"type":"backfill"}'))
        taken = house.hub.feed(client, metrics)
        assert taken
        metrics = metrics[taken:]
        house.clock.advance(0.2)
        socket.stalled = False
        house.hub.written(client)
        house.clock.advance(0.2)
    assert socket.gaps == []
    assert socket.metrics == list(range(50))


def test_a_client_that_was_slow_gets_back_into_step_with_its_view(house):
    client, socket = house.join()
    _, healthy = house.join()
    socket.stalled = True
    house.publish(0)
    house.clock.advance(0.15)
    house.publish(1)
    house.clock.advance(0.13)  # between two frames of the view
    socket.stalled = False
    house.hub.written(client)
    for number in range(2, 100):
        house.publish(number)
        house.clock.advance(0.03)
    house.clock.advance(1.0)
    assert socket.metrics == healthy.metrics == list(range(100))
    assert socket.raw[-5:] == healthy.raw[-5:]
    assert all(mine is theirs for mine, theirs in zip(socket.raw[-5:], healthy.raw[-5:], strict=True))


def test_a_clock_that_rings_early_does_not_split_a_view(house):
    house.clock.early = 0.0005
    sockets = [house.join()[1] for _ in range(10)]
    for number in range(100):
        house.publish(number)
        house.clock.advance(0.03)
    house.clock.advance(1.0)
    assert all(socket.metrics == list(range(100)) for socket in sockets)
    assert house.telemetry.frames_encoded == len(sockets[0].raw)


def test_a_client_without_progress_is_closed_after_ten_seconds(house):
    client, socket = house.join()
    _, healthy = house.join()
    socket.stalled = True
    house.publish(1)
    house.clock.advance(9.9)
    assert socket.closed is None
    house.clock.advance(1.2)
    assert socket.closed == (CloseCode.SLOW_CONSUMER, "slow_consumer")
    assert list(house.hub.clients) != []
    assert client.id not in house.hub.clients
    assert healthy.closed is None
    assert house.telemetry.slow_clients_closed == 1
    house.hub.written(client)


def test_a_client_that_makes_progress_is_never_closed(house):
    client, socket = house.join()
    socket.stalled = True
    for number in range(100):
        house.publish(number)
        house.clock.advance(5.0)
        house.hub.written(client)
    assert socket.closed is None


def test_a_client_that_reads_slowly_but_reads_is_not_closed(house):
    _, socket = house.join()
    socket.stalled = True
    socket.unread = 1_000_000
    house.publish(1)
    for _ in range(60):
        socket.unread -= 1_000
        house.clock.advance(1.0)
    assert socket.closed is None
    house.clock.advance(11.0)
    assert socket.closed == (CloseCode.SLOW_CONSUMER, "slow_consumer")
    assert house.telemetry.closes_by_code == {4008: 1}


def test_a_client_that_is_busy_hears_of_the_bus_as_soon_as_it_is_not(house):
    client, socket = house.join()
    _, idle = house.join()
    socket.stalled = True
    house.publish(1)
    house.clock.advance(0.1)
    house.hub.broadcast_status("stale")
    assert idle.frames[-1] == {"type": "status", "bus": "stale"}
    assert socket.metrics == [1]
    socket.stalled = False
    house.hub.written(client)
    assert socket.frames[1:] == [{"type": "status", "bus": "stale"}]


def test_a_broken_socket_costs_the_others_nothing(house, caplog):
    sockets = [house.join()[1] for _ in range(3)]
    sockets[1].broken = True
    house.publish(1)
    house.clock.advance(0.02)
    house.publish(2)
    house.clock.advance(0.2)
    assert [socket.metrics for socket in sockets] == [[1, 2], [], [1, 2]]
    assert sockets[1].closed == (CloseCode.GOING_AWAY, "internal")
    assert len(house.hub.clients) == 2
    assert "this socket is broken" in caplog.text


@pytest.mark.parametrize("own_share", [False, True])
def test_after_a_fault_within_the_hub_clients_hear_of_a_gap_and_of_all_that_follows(
    house, monkeypatch, caplog, own_share
):
    client, socket = house.join()
    _, other = house.join(Selection(("hero",)))
    house.publish(0)
    house.clock.advance(0.1)
    if own_share:  # the client is behind its view, so its frames are its own
        socket.stalled = True
        house.publish(1)
        house.clock.advance(0.1)
        house.publish(2)
        house.clock.advance(0.2)
    with monkeypatch.context() as patched:
        patched.setattr(frames_module, "encode_metrics", lambda *_, **__: 1 / 0)
        if own_share:
            socket.stalled = False
            house.hub.written(client)
        else:
            house.publish(1, 2)
        house.clock.advance(0.05)
    house.publish(3)
    house.clock.advance(0.2)
    assert socket.metrics == ([0, 1, 3] if own_share else [0, 3])
    assert socket.gaps == [{"type": "gap", "reason": "internal", "dropped": None, "metric_types": ["system"]}]
    assert other.frames == []
    assert house.telemetry.hub_failures == 1
    assert "ZeroDivisionError" in caplog.text


def test_a_fault_that_stays_does_not_spin(house, monkeypatch, caplog):
    house.join()
    monkeypatch.setattr(frames_module, "encode", lambda *_, **__: 1 / 0)
    house.hub.announce_gap(GapReason.BUS, metric_types=frozenset({"system"}))
    house.clock.advance(1.0)
    assert 1 <= house.telemetry.hub_failures <= 12


def test_past_the_bound_of_a_view_the_oldest_go_and_a_gap_says_so():
    house = House(max_pending_metrics=5)
    _, socket = house.join(delivery=Delivery(interval_seconds=60.0))
    house.publish(0)
    house.clock.advance(0.02)
    house.publish(*range(1, 11))
    house.clock.advance(60.0)
    assert socket.gaps == [{"type": "gap", "reason": "pending_overflow", "dropped": 5, "metric_types": ["system"]}]
    assert socket.metrics == [0, 6, 7, 8, 9, 10]
    # The gap stands where the metrics are missing.
    assert [frame["type"] for frame in socket.frames] == ["metric_update", "gap", "metric_batch"]


def test_what_is_too_large_for_one_frame_comes_in_several_at_once():
    house = House(max_pending_bytes=4_000_000)
    _, socket = house.join(delivery=Delivery(interval_seconds=1.0))
    house.publish(0)
    house.clock.advance(0.02)
    house.publish(*range(1, 31), padding="x" * 100_000)
    house.clock.advance(1.0)
    assert socket.metrics == list(range(31))
    assert len(set(socket.times)) == 2
    assert len(socket.raw) == 5
    assert all(len(text) <= 1_000_000 for text in socket.raw)


def test_a_metric_larger_than_a_frame_comes_alone(house):
    _, socket = house.join()
    body = make(1)
    house.hub.publish([body, Metric("system", "host1", 0.0, (), body.body[:-2] + b',"x":"' + b"x" * 999_990 + b'"}}')])
    house.clock.advance(0.02)
    assert [len(frame) > 900_000 for frame in socket.raw] == [False, True]


def test_the_frames_of_a_view_are_a_row_and_those_for_one_client_are_not(house):
    _, socket = house.join()
    sent, own = [], []
    socket.write = lambda frames: sent.extend(frames) or True
    for number in range(3):
        house.publish(number, padding="x" * 200)
        house.clock.advance(0.1)
    first, second, third = sent
    assert first.before is None
    assert (second.before, third.before) == (first.after, second.after)
    late, inbox = house.join()
    inbox.write = lambda frames: own.extend(frames) or True
    house.publish(3, padding="x" * 200)
    house.hub.change(late, SYSTEM, Delivery(interval_seconds=0.2))
    house.clock.advance(0.2)
    assert [frame.before for frame in sent[3:]] == [third.after]
    assert [frame.before for frame in own] == [None]


def test_a_lost_bus_is_told_to_those_whom_it_concerns(house):
    _, socket = house.join()
    _, other = house.join(Selection(("hero",)))
    house.hub.announce_gap(GapReason.BUS, metric_types=frozenset({"system", "agent"}))
    house.clock.advance(0.2)
    assert socket.frames == [{"type": "gap", "reason": "bus", "dropped": None, "metric_types": ["system"]}]
    assert other.frames == []


def test_a_malformed_metric_of_a_foreign_producer_stops_nobody(house):
    _, socket = house.join(Selection(("system",), Filters(fields=("n",))))
    other, everything = house.join(delivery=Delivery(interval_seconds=60.0))
    house.publish(1)
    house.clock.advance(1.0)
    house.hub.publish([Metric("system", "host1", 0.0, (), b'{"data": [1'), make(2)])
    house.clock.advance(1.0)
    assert socket.metrics == [1, 2]
    # What waits for a client is filtered once more when it changes its mind.
    house.hub.change(other, Selection(("system",), Filters(fields=("n",))), FAST)
    house.clock.advance(1.0)
    assert everything.metrics == [1, 2]


def test_close_all_says_why_and_forgets_everybody(house):
    sockets = [house.join()[1] for _ in range(3)]
    from metrics_stream.core.protocol.codes import ErrorCode

    house.hub.close_all(CloseCode.GOING_AWAY, ErrorCode.GOING_AWAY, "bye")
    assert {socket.closed for socket in sockets} == {(CloseCode.GOING_AWAY, "going_away")}
    assert house.hub.clients == {}
    assert house.hub.interest == frozenset()


def test_stopping_leaves_no_call_behind(house):
    _, socket = house.join()
    _, stalled = house.join(delivery=Delivery())
    stalled.stalled = True
    house.publish(1)
    house.clock.advance(0.02)
    house.publish(2)
    house.hub.stop()
    before = len(socket.frames)
    house.clock.advance(100.0)
    assert len(socket.frames) == before
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
def test_whatever_a_client_does_it_gets_everything_once_and_in_order(script):
    house = House()
    client, socket = house.join()
    published = itertools.count()
    count = 0
    for action, value in script:
        if action == "publish":
            house.publish(*itertools.islice(published, value))
            count += value
        elif action == "advance":
            house.clock.advance(value)
        elif action == "stall":
            socket.stalled = value
            if not value:
                house.hub.written(client)
        elif action == "change":
            house.hub.change(client, client.selection, value)
        elif action == "filter":
            filters = Filters(fields=("n",)) if value else Filters()
            house.hub.change(client, Selection(("system",), filters), client.delivery)
        else:
            house.join(delivery=value)
    socket.stalled = False
    house.hub.written(client)
    house.clock.advance(20.0)
    assert socket.metrics == list(range(count))
    assert socket.gaps == []
