"""With the lowest and the highest value of each number in the settings, metrics arrive and nothing fails."""

from dataclasses import fields

import pytest

from metrics_stream.broadcast import broadcast_system_metrics
from metrics_stream.conf import _BOUNDS, _BOUNDS_OF_KINDS, _MAY_BE_ZERO, StreamSettings, get_settings
from metrics_stream.observation.faults import of_process as faults
from metrics_stream.runtime import bus_watch, statistics
from metrics_stream.runtime.runtime import get_runtime
from tests.support.redis_faults import hurry, viewer_on
from tests.support.stack import eventually

# A promise that a busy machine may break, and a place that the viewer of the test takes.
UNFAIR = {("LATENCY_SECONDS", 0.1), ("MAX_CLIENTS", 1)}


def extremes():
    for item in fields(StreamSettings):
        key = item.name.upper()
        if (kind := str(item.type)) in _BOUNDS_OF_KINDS:
            least, most = _BOUNDS.get(key, _BOUNDS_OF_KINDS[kind])
            values = {least, most, *([0] if key in _MAY_BE_ZERO else [])}
            yield from (pytest.param(key, value, id=f"{key}={value:g}") for value in sorted(values))


@pytest.mark.valkey
@pytest.mark.parametrize(("key", "value"), list(extremes()))
async def test_metrics_arrive(settings, monkeypatch, caplog, valkey_url, key, value):
    hurry(monkeypatch)
    monkeypatch.setattr(statistics, "SAMPLE_SECONDS", 0.02)
    # On a busy machine the layer may be silent for some seconds, which is no fault of a setting.
    monkeypatch.setattr(bus_watch, "SILENT_SECONDS", 60.0)
    settings.METRICS_STREAM = {"GROUP_PREFIX": f"{key}-{value:g}"[:40].replace("+", "-"), key: value}
    assert getattr(get_settings(), key.lower()) == value
    async with viewer_on(settings, valkey_url, "system", "stream") as viewer:
        runtime = get_runtime()
        await runtime.membership.wait_joined(("system", "stream"))

        async def has_arrived() -> bool:
            # A view that keeps little may lose one to the others that come at the same time.
            if {"n": 1} not in viewer.metrics:
                await broadcast_system_metrics({"n": 1})
            return {"n": 1} in viewer.metrics and len(viewer.metrics) > 3

        await eventually(has_arrived, 15, every_seconds=0.2)
        if runtime.recent is not None:
            await runtime.recent.keep_up(runtime.hub.interest)
        # Of a view that keeps a single metric between two frames, the next one may be missing, and is announced.
        if (key, value) not in UNFAIR:
            await eventually(lambda: not faults.current(), 5)
            assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]
