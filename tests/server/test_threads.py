"""The threads of requests."""

import asyncio
import threading

from asgiref.sync import sync_to_async

from metrics_stream.server import threads
from metrics_stream.server.threads import with_reused_threads


def thread_of_request(found):
    """Return an application that notes the thread of its synchronous parts."""

    async def http(scope, receive, send):
        found.append({await sync_to_async(threading.get_ident)() for _ in range(3)})
        await scope["wait"].wait()

    return http


def passed():
    event = asyncio.Event()
    event.set()
    return {"wait": event}


async def test_requests_one_after_the_other_use_one_thread():
    found = []
    application = with_reused_threads(thread_of_request(found))
    for _ in range(5):
        await application(passed(), None, None)
    assert len(set.union(*found)) == 1


async def test_requests_at_once_have_a_thread_each_and_only_some_threads_stay(monkeypatch):
    monkeypatch.setattr(threads, "MAX_IDLE", 2)
    found, scope = [], {"wait": asyncio.Event()}
    application = with_reused_threads(thread_of_request(found))
    before = threading.active_count()
    requests = [asyncio.create_task(application(scope, None, None)) for _ in range(6)]
    async with asyncio.timeout(5):
        while len(found) < 6:
            await asyncio.sleep(0)
        assert len(set.union(*found)) == 6
        scope["wait"].set()
        await asyncio.gather(*requests)
        while threading.active_count() > before + 2:
            await asyncio.sleep(0)


async def test_a_request_that_fails_gives_its_thread_back():
    found = []

    async def http(scope, receive, send):
        found.append(await sync_to_async(threading.get_ident)())
        if len(found) == 1:
            raise ValueError("broken")

    application = with_reused_threads(http)
    for expected in (1, 0):
        results = await asyncio.gather(application({}, None, None), return_exceptions=True)
        assert isinstance(results[0], ValueError) == bool(expected)
    assert found[0] == found[1]


async def test_a_task_that_outlives_its_request_goes_on():
    later, left = asyncio.Event(), []

    async def outlive():
        await later.wait()
        return await sync_to_async(threading.get_ident)()

    async def http(scope, receive, send):
        await sync_to_async(threading.get_ident)()
        left.append(asyncio.create_task(outlive()))

    await with_reused_threads(http)({}, None, None)
    later.set()
    assert await asyncio.wait_for(left[0], 5)


async def test_a_cancelled_request_gives_its_thread_back_when_that_is_done():
    began, go_on, found = threading.Event(), threading.Event(), []

    def work():
        began.set()
        go_on.wait(10)

    async def http(scope, receive, send):
        if scope["is_slow"]:
            await sync_to_async(work)()
        found.append(await sync_to_async(threading.get_ident)())

    application = with_reused_threads(http)
    slow = asyncio.create_task(application({"is_slow": True}, None, None))
    await asyncio.to_thread(began.wait, 5)
    slow.cancel()
    await asyncio.wait([slow], timeout=5)
    try:
        await asyncio.wait_for(application({"is_slow": False}, None, None), 5)
    finally:
        go_on.set()
    assert len(found) == 1, "the next request has another thread meanwhile"
