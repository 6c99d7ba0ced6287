"""A runtime with one client."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from metrics_stream.bus.bus import declare_server
from metrics_stream.core.delivery.pending import Delivery
from metrics_stream.core.delivery.selection import Selection
from metrics_stream.runtime import runtime as runtime_module
from metrics_stream.runtime.runtime import get_runtime, stop_runtime
from tests.support.inbox import Inbox


@pytest_asyncio.fixture
async def client(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Inbox]:
    """Put one client into the hub of the running loop, subscribed to system."""
    monkeypatch.setattr(runtime_module, "RESTART_SECONDS", 0.01)
    declare_server()
    inbox = Inbox()
    runtime = get_runtime()
    handle = runtime.hub.add("one", inbox, connected_at=0.0)
    runtime.hub.change(handle, Selection(("system",)), Delivery(interval_seconds=0.1))
    yield inbox
    await stop_runtime()
