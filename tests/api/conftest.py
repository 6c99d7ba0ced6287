"""Programs with a token, beside a runtime of this process."""

import pytest

from metrics_stream.bus import bus as bus_module
from metrics_stream.runtime.runtime import get_runtime, stop_runtime
from tests.support.api import Program


@pytest.fixture
async def runtime():
    bus_module.declare_server()
    telemetry = get_runtime().telemetry
    telemetry.ingest_metrics_refused.clear()
    telemetry.ingest_requests_refused.clear()
    yield
    await stop_runtime()


@pytest.fixture
async def publisher(runtime, async_client):
    """A program that may publish."""
    made = Program(async_client, "publish")
    await made.token()
    return made


@pytest.fixture
async def program(runtime, async_client):
    """A program that may start test runs."""
    made = Program(async_client, "runs")
    await made.token()
    return made
