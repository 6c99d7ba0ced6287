"""A Broadcaster of a load generator says how busy and late its process is."""

import asyncio
import json
import time

import msgspec
import pytest

from metrics_stream.broadcast import Broadcaster, broadcaster, generator
from metrics_stream.broadcast.generator import LEAST_SECONDS, GeneratorWatch
from metrics_stream.bus.bus import declare_server
from metrics_stream.core.metrics.catalogue import SYSTEM


class Measured:
    """What a test lets the watch measure."""

    def __init__(self):
        self.values = [{"generator_cpu_utilization": 0.5, "generator_lag_ms": 3.0}, {}]
        self.stopped = False

    def take(self):
        return self.values.pop(0) if self.values else {}

    def stop(self):
        self.stopped = True


@pytest.fixture
def made(monkeypatch):
    """The metrics that Broadcasters would publish, and what their watches measure."""
    declare_server()
    found = []
    monkeypatch.setattr(Broadcaster, "_enqueue", lambda self, metrics: found.extend(metrics))
    monkeypatch.setattr(broadcaster, "GeneratorWatch", Measured)
    return found


class Record(msgspec.Struct):
    throughput_tps: float


HEALTH = {"generator_queue_depth": 0, "generator_dropped_metrics": 0}


@pytest.mark.parametrize("data", [{"throughput_tps": 5.0}, Record(5.0)], ids=["dict", "struct"])
def test_a_system_metric_says_how_the_generator_fares(made, data):
    stream = Broadcaster(is_generator=True)
    stream.broadcast_system_metrics(data)
    stream.broadcast_system_metrics(data)
    first, second = (json.loads(metric.body)["data"] for metric in made)
    assert first == {"throughput_tps": 5.0, "generator_cpu_utilization": 0.5, "generator_lag_ms": 3.0, **HEALTH}
    assert second == {"throughput_tps": 5.0}, "a moment later there is nothing to measure"
    assert first.keys() <= {field.name for field in SYSTEM.fields}


def test_fields_of_the_producer_stay_as_they_are(made):
    Broadcaster(is_generator=True).broadcast_many(
        [{"metric_type": "system", "data": {"generator_cpu_utilization": 0.9, "generator_queue_depth": 7}}]
    )
    [metric] = made
    assert json.loads(metric.body)["data"] == {
        **HEALTH, "generator_lag_ms": 3.0, "generator_cpu_utilization": 0.9, "generator_queue_depth": 7
    }  # fmt: skip


def test_other_metrics_and_other_programs_stay_as_they_are(made):
    Broadcaster(is_generator=True).broadcast_hero_metrics({"n": 1})
    Broadcaster().broadcast_system_metrics({"n": 1})
    assert [json.loads(metric.body)["data"] for metric in made] == [{"n": 1}] * 2


def test_closing_ends_the_measuring(made):
    with Broadcaster(is_generator=True) as stream:
        pass
    assert stream._watch.stopped


def test_processor_time_is_a_share_of_a_core():
    now = [0.0]
    watch = GeneratorWatch(clock=lambda: now[0])
    assert watch.take() == {}
    begin = time.process_time()
    while time.process_time() - begin < 0.1:
        pass
    now[0] = LEAST_SECONDS
    share = watch.take()["generator_cpu_utilization"]
    assert 0.2 <= share <= 1.0
    watch.stop()


async def test_a_loop_that_is_blocked_is_late(monkeypatch):
    monkeypatch.setattr(generator, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(generator, "PROBE_SECONDS", 0.01)
    watch = GeneratorWatch()
    await asyncio.sleep(0)  # the probe has begun
    time.sleep(0.2)
    while watch._worst_lag < 0.1:
        await asyncio.sleep(0.01)
    assert watch.take()["generator_lag_ms"] >= 100
    watch.stop()


def test_a_thread_measures_where_no_loop_runs(monkeypatch):
    monkeypatch.setattr(generator, "PROBE_SECONDS", 0.001)
    watch = GeneratorWatch()
    deadline = time.monotonic() + 30
    while not watch._worst_lag and time.monotonic() < deadline:
        time.sleep(0.001)
    assert watch._worst_lag > 0
    watch.stop()
