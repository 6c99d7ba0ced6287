"""The histories that the tests run on."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from metrics_stream.history import Bounds, History
from metrics_stream.history.memory import MemoryHistory
from metrics_stream.history.redis import RedisHistory
from tests.support.history import MANY, redis_history
from tests.support.redis_process import RedisProcess

OpenHistory = Callable[[Bounds], History]


@pytest_asyncio.fixture(params=["memory", pytest.param("valkey", marks=pytest.mark.valkey)])
async def open_history(request: pytest.FixtureRequest) -> AsyncIterator[OpenHistory]:
    """Return a function that opens a new history with given bounds."""
    opened: list[History] = []

    def open_one(bounds: Bounds) -> History:
        if request.param == "memory":
            opened.append(MemoryHistory(bounds))
        else:
            opened.append(redis_history(request.getfixturevalue("valkey_url"), bounds))
        return opened[-1]

    yield open_one
    for history in opened:
        await history.close()


@pytest.fixture
def history(open_history: OpenHistory) -> History:
    """Open a history that keeps everything that a test publishes."""
    return open_history(MANY)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisProcess]:
    """Start a Redis that the test may kill."""
    with RedisProcess(tmp_path) as process:
        yield process


@pytest_asyncio.fixture
async def history_on_server(server: RedisProcess) -> AsyncIterator[RedisHistory]:
    """Open the history in the Redis of the test, prefix `test`."""
    opened = redis_history(server.url, prefix="test")
    yield opened
    await opened.close()
