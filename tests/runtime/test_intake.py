"""The hub gets metrics once and in order; what the channel layer lost is filled in from the history."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from metrics_stream.broadcast import make_metric
from metrics_stream.bus import bus as bus_module
from metrics_stream.bus.bus import Bus
from metrics_stream.bus.messages import Published
from metrics_stream.bus.publication import ProducerNumbering
from metrics_stream.conf import get_settings
from metrics_stream.history import ActiveRun, open_history
from metrics_stream.hub.clients import HubLimits
from metrics_stream.hub.hub import Hub
from metrics_stream.runtime.intake import Intake
from metrics_stream.telemetry import Telemetry


@pytest.fixture(params=["memory", pytest.param("valkey", marks=pytest.mark.valkey)])
def history(request, settings):
    if request.param == "valkey":
        request.getfixturevalue("valkey_layer")
        settings.METRICS_STREAM = {"GROUP_PREFIX": f"intake{id(request)}"}
    return open_history(get_settings())


AT = 1_700_000_000
"""The timestamp of the metric with the number 0."""


class RecordingHub(Hub):
    """A real hub that also keeps the published metrics and the announced gaps."""

    def __init__(self):
        limits = HubLimits(
            max_pending_metrics=100, max_pending_bytes=10**6, slow_client_bytes=10**6, slow_client_seconds=9
        )
        super().__init__(clock=asyncio.get_running_loop(), limits=limits, telemetry=Telemetry())
        self.heard = []
        self.gaps = []

    def publish(self, metrics):
        metrics = list(metrics)
        self.heard += metrics
        super().publish(metrics)

    def announce_gap(self, reason, *, metric_types, dropped=None):
        self.gaps.append((reason.value, sorted(metric_types), dropped))


class Line:
    """A bus that listens; the test passes its messages to the intake, or loses them."""

    def __init__(self, history):
        bus_module.declare_server()
        bus_module.listen_on(asyncio.get_running_loop())
        prefix = get_settings().group_prefix
        self.bus = Bus(group_prefix=prefix, timeout_seconds=3.0, history=history)
        self.hub = RecordingHub()
        self.intake = Intake(self.hub, history, self.hub.telemetry)
        self.numbering = ProducerNumbering()

    async def start(self):
        await self.bus.open()
        await self.intake.begin(["system"])
        await self.bus.join("system")

    async def publish(self, *numbers):
        """Publish metrics in one message each, and return the messages that arrived."""
        messages = []
        for number in numbers:
            await self.bus.send(self.numbering.prepare([metric(number)]))
            messages.append(await asyncio.wait_for(self.bus.receive(), 5))
        return messages

    @property
    def numbers(self):
        return [int(metric.timestamp) - AT for metric in self.hub.heard]


def metric(number, metric_type="system", source="here"):
    return make_metric(metric_type, {"n": number}, timestamp=AT + number, source=source)


@pytest_asyncio.fixture
async def line(history) -> AsyncIterator[Line]:
    line = Line(history)
    await line.start()
    yield line
    bus_module.listen_on(None)
    if history is not None:
        await history.close()


async def test_what_arrives_is_handed_on_in_order(line):
    for message in await line.publish(1, 2, 3):
        await line.intake.take(message)
    assert line.numbers == [1, 2, 3]
    assert line.hub.offsets == {"system": 3}
    assert line.hub.telemetry.metrics_refilled == 0


async def test_what_arrives_twice_is_handed_on_once(line):
    for message in await line.publish(1, 2):
        await line.intake.take(message)
        await line.intake.take(message)
    assert line.numbers == [1, 2]


async def test_what_is_lost_is_filled_in_before_what_follows(line):
    messages = await line.publish(1, 2, 3, 4)
    await line.intake.take(messages[0])
    await line.intake.take(messages[3])
    assert line.numbers == [1, 2, 3, 4]
    assert line.hub.gaps == []
    assert line.hub.telemetry.metrics_refilled == 3


async def test_what_comes_late_after_it_was_filled_in_is_left_out(line):
    messages = await line.publish(1, 2)
    await line.intake.take(messages[1])
    await line.intake.take(messages[0])
    assert line.numbers == [1, 2]


async def test_what_is_lost_at_the_end_is_filled_in_when_somebody_asks(line):
    await line.publish(1, 2)
    await line.intake.catch_up(["system"])
    assert line.numbers == [1, 2]
    await line.intake.catch_up(["system"])
    assert line.numbers == [1, 2]


async def test_what_was_published_before_a_type_was_wanted_is_not_handed_on(line):
    (message,) = await line.publish(1)
    line.intake.end("system")
    await line.intake.begin(["system"])
    await line.intake.take(message)
    assert line.numbers == []
    for message in await line.publish(2):
        await line.intake.take(message)
    assert line.numbers == [2]


async def test_a_type_that_nobody_wants_any_more_stays_unwanted_while_it_is_filled_in(line, history, monkeypatch):
    await line.publish(1)
    since = history.since

    async def since_while_the_last_client_goes(position):
        page = await since(position)
        line.intake.end("system")
        return page

    with monkeypatch.context() as patch:
        patch.setattr(history, "since", since_while_the_last_client_goes)
        await line.intake.catch_up(["system"])
    assert line.hub.offsets == {}
    await line.publish(2)
    await line.intake.begin(["system"])
    await line.intake.catch_up(["system"])
    assert line.numbers == []


async def test_what_is_published_between_asking_and_joining_is_filled_in(history):
    line = Line(history)
    await line.bus.open()
    await line.intake.begin(["system"])
    await line.bus.send(line.numbering.prepare([metric(1)]))
    await line.bus.join("system")
    await line.intake.catch_up(["system"])
    assert line.numbers == [1]
    bus_module.listen_on(None)


async def test_a_message_that_waits_for_its_turn_is_handed_on_once(line):
    messages = await line.publish(1, 2, 3)
    await asyncio.gather(
        *(line.intake.take(message) for message in (messages[2], messages[1], messages[0], messages[1]))
    )
    assert line.numbers == [1, 2, 3]


async def test_metrics_say_to_which_run_they_belong(line, history):
    await history.set_active_runs([ActiveRun("first"), ActiveRun("second", ("elsewhere",))])
    await line.intake.take((await line.publish(1))[0])
    assert line.hub.heard[0].body.endswith(b',"run":"first"}')


async def test_a_new_epoch_goes_on_without_a_gap_when_no_number_is_missing(line):
    await line.intake.take((await line.publish(1))[0])
    line.hub.epoch = "0"
    line.hub.offsets["system"] = 7
    for message in await line.publish(2, 3):
        await line.intake.take(message)
    assert line.numbers == [1, 1, 2, 3]  # the first comes again, since it was taken in another epoch
    assert line.hub.gaps == []


async def test_a_new_epoch_is_a_gap_when_numbers_are_missing_before_it(line):
    await line.intake.take((await line.publish(1))[0])
    line.hub.epoch = "0"
    _, message = await line.publish(2, 3)
    await line.intake.take(message)
    assert line.hub.gaps == [("history", ["system"], None)]
    assert line.numbers[-2:] == [2, 3]


async def test_a_new_epoch_that_shows_in_the_history_is_a_gap(line):
    await line.intake.take((await line.publish(1))[0])
    line.hub.epoch = "0"
    await line.publish(2)
    await line.intake.catch_up(["system"])
    assert line.hub.gaps[0] == ("history", ["system"], None)
    assert line.numbers[-1] == 2


# --- without a history ---


@pytest_asyncio.fixture
async def bare(settings) -> AsyncIterator[Line]:
    settings.METRICS_STREAM = {"HISTORY_SECONDS": 0}
    assert open_history(get_settings()) is None
    line = Line(None)
    await line.start()
    yield line
    bus_module.listen_on(None)


async def test_without_a_history_what_is_lost_is_announced_before_what_follows(bare):
    messages = await bare.publish(1, 2, 3)
    await bare.intake.take(messages[0])
    await bare.intake.take(messages[2])
    assert bare.numbers == [1, 3]
    assert bare.hub.gaps == [("bus", ["system"], 1)]


async def test_without_a_history_what_arrives_twice_is_handed_on_once(bare):
    (message,) = await bare.publish(1)
    await bare.intake.take(message)
    await bare.intake.take(message)
    assert bare.numbers == [1]


async def test_without_a_history_catching_up_says_that_something_may_be_missing(bare):
    await bare.intake.catch_up(["system"])
    assert bare.hub.gaps == [("bus", ["system"], None)]


async def test_metrics_of_an_unnumbered_producer_are_handed_on(bare):
    await bare.intake.take(Published([metric(1)]))
    await bare.intake.take(Published([]))
    assert bare.numbers == [1]
    assert bare.hub.position_of(["system"]) is None


async def test_types_that_nobody_wants_are_left_out(line):
    line.intake.end("system")
    (message,) = await line.publish(1)
    await line.intake.take(message)
    assert line.numbers == []
