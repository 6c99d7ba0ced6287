import pytest

from metrics_stream.bus.bus import declare_server
from metrics_stream.runtime.runtime import stop_runtime


@pytest.fixture
async def server():
    """Make this process a server, and stop its runtime afterwards."""
    declare_server()
    yield
    await stop_runtime()
