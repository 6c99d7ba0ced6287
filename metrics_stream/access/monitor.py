"""Sees to it that nobody who is connected keeps an authority that has ended, and that nobody takes all the places.

One per runtime. What a socket may see is looked up when it comes, when the bus says that something has changed, and
every RECHECK_SECONDS in case that message was lost.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Coroutine, Hashable, Mapping, Sequence
from ipaddress import ip_address
from typing import Any, Protocol

from channels.db import database_sync_to_async
from django.db import DatabaseError

from metrics_stream.access.grants import BEARER, Access, Anybody, Credential, admit, resolve, shows_something
from metrics_stream.core.errors import AccessRefusedError, NotAuthenticatedError
from metrics_stream.core.protocol.codes import CloseCode, ErrorCode
from metrics_stream.runtime.runtime import Runtime

logger = logging.getLogger(__name__)

# At a logout Django says so before it forgets the session.
SETTLE_SECONDS = 0.3
# For so long viewers stay when the database is away; then it counts as no.
UNKNOWN_SECONDS = 300.0

SIGNED_OUT = AccessRefusedError(CloseCode.FORBIDDEN, ErrorCode.FORBIDDEN, "you are signed out; sign in again")

# In threads of their own: a page that takes long must not wait for it, nor it for a page.
_resolve = database_sync_to_async(resolve, thread_sensitive=False)
_admit = database_sync_to_async(admit, thread_sensitive=False)


class Socket(Protocol):
    """A connected client as the authority sees it."""

    credential: Credential

    def allow(self, access: Access) -> Coroutine[Any, Any, None]:
        """Go on with what may be seen now."""

    def refuse(self, refused: AccessRefusedError) -> Coroutine[Any, Any, None]:
        """Close: what was shown opens nothing any more."""


class AccessMonitor:
    """What those who are connected to one process may see, and how many of them there are of each kind."""

    def __init__(self, runtime: Runtime) -> None:
        self.changes = 0
        """How often something was said to have changed; who sees it rise while looking something up looks again."""
        self._runtime = runtime
        self._sockets: set[Socket] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._places: Counter[Hashable] = Counter()
        self._unknown_since: float | None = None
        runtime.watch("access monitor", self._watch)

    # --- places ---

    def take_place(self, kind: str, owner: Hashable, limit: int) -> bool:
        """Return whether `owner` gets one more of its places; whoever gets one gives it back."""
        if self._places[kind, owner] >= limit:
            return False
        self._places[kind, owner] += 1
        return True

    def give_back(self, kind: str, owner: Hashable) -> None:
        """Give back a place that was taken."""
        self._places[kind, owner] -= 1
        if self._places[kind, owner] <= 0:
            del self._places[kind, owner]

    # --- looking up, and looking again ---

    async def admit(self, headers: Mapping[str, str], *, may_have_session: bool) -> tuple[Credential, Access]:
        """Return what a handshake shows and opens; raise AccessRefused, or DatabaseError when nobody knows."""
        if not shows_something(headers, may_have_session=may_have_session):
            return Anybody(), resolve(Anybody())
        return await _admit(headers, may_have_session=may_have_session)

    async def admit_token(self, text: str) -> tuple[Credential, Access]:
        """Return a token and what it opens; raise as `admit`."""
        return await _admit({"authorization": f"{BEARER}{text}"}, may_have_session=False)

    def add(self, socket: Socket) -> None:
        """Look up from time to time what a socket may see."""
        self._sockets.add(socket)

    def remove(self, socket: Socket) -> None:
        """Forget a socket."""
        self._sockets.discard(socket)

    def look_again(self) -> None:
        """See to it that everybody's access is looked up soon."""
        self._runtime.access_changed.set()

    async def _watch(self) -> None:
        changed = self._runtime.access_changed
        while True:
            try:
                async with asyncio.timeout(self._runtime.settings.recheck_seconds):
                    await changed.wait()
            except TimeoutError:
                pass
            else:
                changed.clear()
                self.changes += 1
                await asyncio.sleep(SETTLE_SECONDS)
            await self.recheck()

    async def recheck(self) -> None:
        """Look up what everybody may see, and act on what has changed."""
        by_credential: dict[Credential, list[Socket]] = {}
        for socket in self._sockets:
            by_credential.setdefault(socket.credential, []).append(socket)
        by_credential.pop(Anybody(), None)
        for credential, sockets in by_credential.items():
            try:
                access = await _resolve(credential)
            except NotAuthenticatedError:
                self._refuse(_with(credential, sockets), SIGNED_OUT)
            except AccessRefusedError as refused:
                self._refuse(_with(credential, sockets), refused)
            except DatabaseError as error:
                self._go_on_without(error, list(by_credential.values()))
                return
            else:
                for socket in _with(credential, sockets):
                    self._start(socket.allow(access))
        self._unknown_since = None

    def _refuse(self, sockets: Sequence[Socket], refused: AccessRefusedError) -> None:
        for socket in sockets:
            self._start(socket.refuse(refused))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it beside the others: one client that does not read must not keep the next from its end."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, OSError):
            logger.error("what a client may see could not be changed", exc_info=error)

    def _go_on_without(self, error: DatabaseError, sockets: Sequence[Sequence[Socket]]) -> None:
        """Let everybody stay for a while although nobody knows what they may see."""
        now = time.monotonic()
        if self._unknown_since is None:
            self._unknown_since = now
            reason = str(error).strip().partition("\n")[0]
            logger.warning(
                "who may see what cannot be looked up, so viewers stay for %g s: %s", UNKNOWN_SECONDS, reason
            )
        if now - self._unknown_since < UNKNOWN_SECONDS:
            return
        unknown = AccessRefusedError(
            CloseCode.AUTHENTICATION_EXPIRED,
            ErrorCode.EXPIRED,
            f"what you may see could not be looked up for {UNKNOWN_SECONDS:g} s; come back",
        )
        for group in sockets:
            self._refuse(group, unknown)


def _with(credential: Credential, sockets: Sequence[Socket]) -> list[Socket]:
    """Return those that still show this; by the time that it was looked up, one may have shown another token."""
    return [socket for socket in sockets if socket.credential == credential]


def is_local(address: str) -> bool:
    """Return whether a network address is this machine's own, which programs and proxies here come from."""
    try:
        return ip_address(address).is_loopback
    except ValueError:  # a Unix socket, or a server that does not tell
        return True


def access_monitor_of(runtime: Runtime) -> AccessMonitor:
    """Return the authority of a runtime, begun with the first socket."""
    found = runtime.companions.get(AccessMonitor)
    if not isinstance(found, AccessMonitor):
        found = runtime.companions[AccessMonitor] = AccessMonitor(runtime)
    return found
