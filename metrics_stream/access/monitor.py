"""Checks the access of connected clients again when it may have changed, and counts the places they take.

One per runtime. The access of a client is resolved when it connects, when the bus says that something has changed, and
every RECHECK_SECONDS in case that message was lost.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Coroutine, Hashable, Mapping, Sequence
from hashlib import sha256
from ipaddress import ip_address
from typing import Any, Protocol
from weakref import WeakValueDictionary

from channels.db import database_sync_to_async
from django.db import DatabaseError

from metrics_stream.access.credentials import BEARER, Anybody, BrowserSession, Credential, ProgramToken
from metrics_stream.access.grants import Access, admit, resolve, shows_something
from metrics_stream.core.errors import AccessRefusedError, NotAuthenticatedError
from metrics_stream.core.lru import LruDict
from metrics_stream.core.protocol.codes import CloseCode, ErrorCode
from metrics_stream.core.rate_limit import TokenBucket
from metrics_stream.limits.places import Places
from metrics_stream.runtime.runtime import PerRuntime, Runtime

logger = logging.getLogger(__name__)

# At a logout Django sends the signal before it deletes the session.
SETTLE_SECONDS = 0.3
# Viewers stay for this long while the database is down; then they are closed.
UNKNOWN_SECONDS = 300.0

# Past this limit, the owner whose clients were silent for the longest time is forgotten.
MAX_OWNERS = 10_000

SIGNED_OUT = AccessRefusedError(CloseCode.FORBIDDEN, ErrorCode.FORBIDDEN, "you are signed out; sign in again")

# In threads of their own: a check must not wait for a slow page, nor a page for a check.
_resolve = database_sync_to_async(resolve, thread_sensitive=False)
_admit = database_sync_to_async(admit, thread_sensitive=False)


class MonitoredClient(Protocol):
    """A connected client as the monitor sees it."""

    credential: Credential
    access: Access

    def allow(self, access: Access) -> Coroutine[Any, Any, None]:
        """Continue with this access."""

    def refuse(self, refused: AccessRefusedError) -> Coroutine[Any, Any, None]:
        """Close, because the credential gives no access any more."""


class AccessMonitor:
    """The access of the clients of one process; `places` are those that each user, token and address takes.

    It has the definitions of the process followed, since the access shows the metric types that are defined.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.changes = 0
        """How often a change was announced. A client that sees it rise during its own look-up asks for a recheck."""
        self._runtime = runtime
        self._clients: set[MonitoredClient] = set()
        self._doubtful: set[MonitoredClient] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.places = Places(runtime.settings)
        self._costs: LruDict[Hashable, TokenBucket] = LruDict(MAX_OWNERS)
        self._turns: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()
        self._unknown_since: float | None = None
        runtime.watch("access monitor", self._watch)
        runtime.watch("places", self.places.run)
        runtime.watch("definitions", runtime.definitions.run)

    # --- messages ---

    def take_cost(self, owner: Hashable, cost: float, now: float) -> float:
        """Take what a message costs from the bucket of a user, token or address; return the seconds that it lacks."""
        settings = self._runtime.settings
        found = self._costs.use(owner)
        if found is None:
            bucket = TokenBucket(settings.message_cost_per_second, settings.message_cost_burst, now)
            found = self._costs.put(owner, bucket)
        return found.take(cost, now)

    def turn_of(self, owner: Hashable) -> asyncio.Lock:
        """Return the lock under which the clients of a user, token or address look into the past, one at a time."""
        return self._turns.setdefault(owner, asyncio.Lock())

    # --- look-ups ---

    async def admit(
        self, headers: Mapping[str, str], *, may_have_session: bool, address: str
    ) -> tuple[Credential, Access]:
        """Return the credential in the headers of a handshake and its access.

        Raises AccessRefusedError, or DatabaseError when the access cannot be resolved.
        """
        if not shows_something(headers, may_have_session=may_have_session):
            return Anybody(), resolve(Anybody())
        return await _admit(headers, may_have_session=may_have_session, address=address)

    async def admit_token(self, text: str, address: str) -> tuple[Credential, Access]:
        """Return a token and its access; raise as `admit` does."""
        return await _admit({"authorization": f"{BEARER}{text}"}, may_have_session=False, address=address)

    def add(self, client: MonitoredClient) -> None:
        """Check the access of a client from now on."""
        self._clients.add(client)

    def remove(self, client: MonitoredClient) -> None:
        """Stop checking the access of a client."""
        self._clients.discard(client)
        self._doubtful.discard(client)

    def request_recheck(self, client: MonitoredClient) -> None:
        """Have the access of a client checked soon."""
        self._doubtful.add(client)
        self._runtime.access_changed.set()

    async def _watch(self) -> None:
        changed = self._runtime.access_changed
        while True:
            try:
                async with asyncio.timeout(self._runtime.settings.recheck_seconds):
                    await changed.wait()
            except TimeoutError:
                await self.recheck()
                continue
            changed.clear()
            if self._runtime.changed_owners:
                self.changes += 1
            await asyncio.sleep(SETTLE_SECONDS)
            await self.recheck(self._take_concerned())

    def _take_concerned(self) -> set[MonitoredClient]:
        """Return the clients that the announced changes concern."""
        owners, doubtful = self._runtime.changed_owners, self._doubtful
        self._runtime.changed_owners, self._doubtful = set(), set()
        if None in owners:
            return self._clients
        return {client for client in self._clients if client in doubtful or not owners.isdisjoint(owner_names(client))}

    async def recheck(self, concerned: Collection[MonitoredClient] | None = None) -> None:
        """Resolve the access of some clients again, by default of every one, and tell each client the result."""
        by_credential: dict[Credential, list[MonitoredClient]] = {}
        for client in self._clients if concerned is None else concerned:
            by_credential.setdefault(client.credential, []).append(client)
        for credential, clients in by_credential.items():
            try:
                access = await _resolve(credential)
            except NotAuthenticatedError:
                self._refuse(_still_with(credential, clients), SIGNED_OUT)
            except AccessRefusedError as refused:
                self._refuse(_still_with(credential, clients), refused)
            except DatabaseError as error:
                self._tolerate_failure(error, list(by_credential.values()))
                return
            else:
                for client in _still_with(credential, clients):
                    self._start(client.allow(access))
        self._unknown_since = None

    def _refuse(self, clients: Sequence[MonitoredClient], refused: AccessRefusedError) -> None:
        for client in clients:
            self._start(client.refuse(refused))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run this in a task of its own: a client that does not read must not delay the end of the next one."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, OSError):
            logger.error("the access of a client could not be changed", exc_info=error)

    def _tolerate_failure(self, error: DatabaseError, clients: Sequence[Sequence[MonitoredClient]]) -> None:
        """Keep all clients although their access is unknown, but close them after UNKNOWN_SECONDS."""
        now = time.monotonic()
        if self._unknown_since is None:
            self._unknown_since = now
            reason = str(error).strip().partition("\n")[0]
            logger.warning(
                "the database cannot resolve the access of clients; they stay for %g s: %s", UNKNOWN_SECONDS, reason
            )
        if now - self._unknown_since < UNKNOWN_SECONDS:
            return
        unknown = AccessRefusedError(
            CloseCode.AUTHENTICATION_EXPIRED,
            ErrorCode.EXPIRED,
            f"your access could not be checked for {UNKNOWN_SECONDS:g} s; reconnect",
        )
        for group in clients:
            self._refuse(group, unknown)


def owner_names(client: MonitoredClient) -> set[str]:
    """Return by which names a message about a change may concern a client."""
    # What a token or a link shows depends on the rights of the person who made it.
    names = {name_of_user(pk) for pk in (client.access.user_id, *client.access.maker_ids) if pk is not None}
    match client.credential:
        case BrowserSession(key):
            names.add(name_of_session(key))
        case ProgramToken(pk):
            names.add(name_of_token(pk))
    return names


def name_of_user(pk: Any) -> str:
    """Return the name of a user in messages about changes."""
    return f"user {pk}"


def name_of_token(pk: int) -> str:
    """Return the name of a token in messages about changes."""
    return f"token {pk}"


def name_of_session(key: str) -> str:
    """Return the name of a session in messages about changes; the key itself would open it."""
    return f"session {sha256(key.encode()).hexdigest()}"


def _still_with(credential: Credential, clients: Sequence[MonitoredClient]) -> list[MonitoredClient]:
    """Return the clients that still have this credential: during the look-up one may have sent another token."""
    return [client for client in clients if client.credential == credential]


def is_local(address: str) -> bool:
    """Return whether a network address is this machine's own, as that of local programs and proxies is."""
    try:
        return ip_address(address).is_loopback
    except ValueError:  # a Unix socket, or a server that does not pass the address
        return True


# Called with a runtime; the first WebSocket client makes the monitor.
access_monitor_of = PerRuntime(AccessMonitor)
