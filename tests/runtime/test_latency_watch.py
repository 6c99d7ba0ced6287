"""The promised latency is watched by the process itself."""

import asyncio
import time

import pytest

from metrics_stream.bus.bus import declare_server
from metrics_stream.observation.faults import FaultKind
from metrics_stream.observation.faults import of_process as faults
from metrics_stream.runtime import latency_watch
from metrics_stream.runtime.runtime import get_runtime, stop_runtime
from tests.support.redis_faults import hurry, told, viewer_on
from tests.support.stack import eventually


async def test_a_blocked_event_loop_is_a_fault_until_it_has_been_in_time_for_a_while(settings, monkeypatch, caplog):
    monkeypatch.setattr(latency_watch, "IN_TIME_SECONDS", 0.3)
    settings.METRICS_STREAM = {"LATENCY_SECONDS": 0.5}
    declare_server()
    get_runtime()
    await asyncio.sleep(0)
    time.sleep(0.8)  # The fault itself.
    await eventually(lambda: faults.has(FaultKind.LATENCY), 5)
    await eventually(lambda: not faults.current(), 5)
    await stop_runtime()
    begin, end = told(caplog, "latency")
    assert begin == "fault latency begins: the event loop was blocked for N s; promised: N s"
    assert end == "fault latency ends after N s; measurements late: N"


@pytest.mark.valkey
async def test_a_message_over_the_channel_layer_that_takes_too_long_is_a_fault(
    settings, monkeypatch, caplog, valkey_url
):
    hurry(monkeypatch)
    settings.METRICS_STREAM = {"LATENCY_SECONDS": 0.1, "GROUP_PREFIX": "late"}
    async with viewer_on(settings, valkey_url):
        runtime = get_runtime()
        await eventually(lambda: runtime.bus_watch.find_problem() is None, 5)
        hear = runtime.bus_watch.hear

        def hear_late(number):
            asyncio.get_running_loop().call_later(0.3, hear, number)

        with monkeypatch.context() as late:
            late.setattr(runtime.bus_watch, "hear", hear_late)
            await eventually(lambda: faults.has(FaultKind.LATENCY), 5)
        assert told(caplog, "latency") == [
            "fault latency begins: a message over the channel layer took N s; promised: N s"
        ]
