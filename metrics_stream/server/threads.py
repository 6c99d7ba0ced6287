"""Threads for the requests that Django serves, which it would otherwise start anew for each request.

The event loop waits until a thread has started: on a busy machine for many milliseconds, and with it every client.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from asgiref.sync import SyncToAsync, ThreadSensitiveContext

# Threads that wait for a request; those that more requests at once need are ended after it.
MAX_IDLE = 16

Application = Callable[[Any, Any, Any], Awaitable[None]]


class RequestThreads:
    """Threads of requests, each of which is used by one request at a time."""

    def __init__(self) -> None:
        self.idle: deque[ThreadPoolExecutor] = deque()

    def take(self) -> ThreadPoolExecutor:
        """Return the thread that was used last, or a new one, which starts when it is needed."""
        return self.idle.pop() if self.idle else ThreadPoolExecutor(max_workers=1, thread_name_prefix="request")

    def give_back(self, thread: ThreadPoolExecutor) -> None:
        """Keep a thread for the next request, or end it if enough are kept."""
        if len(self.idle) < MAX_IDLE:
            self.idle.append(thread)
        else:
            thread.shutdown(wait=False)


class _ReusedThread(ThreadSensitiveContext):
    """The context of one request. Tasks that outlive it get a thread of their own, as they do without this class."""

    def __init__(self, threads: RequestThreads) -> None:
        super().__init__()
        self._threads = threads

    async def __aenter__(self) -> _ReusedThread:
        await super().__aenter__()  # type: ignore[no-untyped-call]  # the library is typed in part
        if self.token is not None:
            SyncToAsync.context_to_thread_executor[self] = self._threads.take()
        return self

    async def __aexit__(self, *error: Any) -> None:
        thread = None if self.token is None else SyncToAsync.context_to_thread_executor.pop(self, None)
        await super().__aexit__(*error)  # type: ignore[no-untyped-call]
        if not isinstance(thread, ThreadPoolExecutor):
            return
        if isinstance(error[1], asyncio.CancelledError):
            # What a cancelled request has begun goes on in its thread.
            thread.submit(int).add_done_callback(lambda _: self._threads.give_back(thread))
        else:
            self._threads.give_back(thread)


def with_reused_threads(http: Application) -> Application:
    """Return an application that calls `http`, each request in a thread that an earlier request has used."""
    threads = RequestThreads()

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        async with _ReusedThread(threads):
            await http(scope, receive, send)

    return answer
