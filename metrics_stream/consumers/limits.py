"""The limits of one client: places of its address and its user, size and rate of messages, errors a minute."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from metrics_stream.access.credentials import BrowserSession, Credential, ProgramToken
from metrics_stream.access.grants import Access
from metrics_stream.access.monitor import AccessMonitor, is_local
from metrics_stream.core.errors import LimitExceededError
from metrics_stream.core.protocol.codes import CloseCode, ErrorCode
from metrics_stream.core.protocol.message_parts import Limits as ClientLimits
from metrics_stream.core.rate_limit import TokenBucket
from metrics_stream.limits.guesses import network_of
from metrics_stream.runtime.runtime import Runtime

ERROR_WINDOW_SECONDS = 60.0

# A filter with a thousand names, which takes some milliseconds to check and compile, has 10,000 bytes and more.
COST_BYTES = 500

# A look into the past that takes long because Redis is slow must not keep the next one waiting for as long again.
MAX_PAUSE_SECONDS = 1.0


def cost_of(size: int) -> float:
    """Return what a message of so many bytes costs."""
    return 1.0 + size / COST_BYTES


class Limits:
    """Counts what one client takes and sends; raises LimitExceededError when it is more than the settings allow."""

    def __init__(self, runtime: Runtime, monitor: AccessMonitor) -> None:
        """`monitor` counts the places of all clients of the process."""
        self._runtime = runtime
        self._settings = runtime.settings
        self._monitor = monitor
        self._address: str | None = None
        self._user: str | None = None
        self._taken: set[str] = set()
        self._has_ended = False
        self._token_bucket = TokenBucket(
            self._settings.messages_per_second, self._settings.message_burst, time.monotonic()
        )
        self._errors: deque[float] = deque()

    def describe(self) -> ClientLimits:
        """Return the limits as the welcome states them."""
        settings = self._settings
        return ClientLimits(
            message_bytes=settings.max_message_bytes,
            messages_per_second=settings.messages_per_second,
            message_burst=settings.message_burst,
            errors_per_minute=settings.max_errors_per_minute,
            filter_terms=settings.max_filter_terms,
            history_seconds=0.0 if self._runtime.history is None else settings.history_seconds,
        )

    # --- places ---

    def find_place(self, address: str) -> None:
        """Check that this process has a place for a client of a network address; `take_places` takes it later."""
        settings = self._settings
        if len(self._runtime.hub.clients) >= settings.max_clients:
            reason = f"{settings.max_clients} clients are connected already"
            raise self._refuse_connection(ErrorCode.OVER_CAPACITY, reason)
        # Programs and proxies of this machine need none.
        if not is_local(address):
            self._address = f"address {network_of(address)}"
            if self._monitor.places.count(self._address) >= settings.max_clients_per_address:
                raise self._refuse_place(self._address, settings.max_clients_per_address)

    async def take_place_of_address(self) -> None:
        """Take a place of the network address alone, for a client that has yet to send its token."""
        await self._take([self._address])

    async def take_places(self, credential: Credential, access: Access) -> None:
        """Take a place of the user or token, in exchange for the one before, and one of the network address.

        Without a credential there is no user.
        """
        owner = None
        if isinstance(credential, ProgramToken):
            owner = f"token {credential.pk}"
        elif isinstance(credential, BrowserSession) and access.user_id is not None:
            owner = f"user {access.user_id}"
        if owner is not None and owner == self._user:
            return
        await self._take([self._address, owner], who=access.who)
        if self._user is not None:
            self._monitor.places.give_back(self._user)
            self._taken.remove(self._user)
        self._user = owner

    async def _take(self, owners: Sequence[str | None], who: str = "") -> None:
        """Take a place of each owner, unless this client has one already."""
        settings = self._settings
        limits = {
            owner: settings.max_clients_per_address if owner == self._address else settings.max_clients_per_user
            for owner in owners
            if owner is not None and owner not in self._taken
        }
        full = await self._monitor.places.take(limits)
        if full is not None:
            raise self._refuse_place(full, limits[full], who)
        if self._has_ended:
            # The client left meanwhile.
            self._monitor.places.give_back(*limits)
            return
        self._taken.update(limits)

    def _refuse_place(self, owner: str, limit: int, who: str = "") -> LimitExceededError:
        of_whom = "are connected from your address" if owner == self._address else f"of {who} are connected"
        return self._refuse_connection(ErrorCode.TOO_MANY_CONNECTIONS, f"{limit} clients {of_whom} already")

    def _refuse_connection(self, error: ErrorCode, reason: str) -> LimitExceededError:
        self._runtime.telemetry.refused_clients += 1
        return LimitExceededError(CloseCode.OVER_CAPACITY, error, reason)

    def give_back_places(self) -> None:
        """Give back all places, and take none later; harmless when none is taken."""
        self._has_ended = True
        self._monitor.places.give_back(*self._taken)
        self._taken.clear()

    @property
    def owner(self) -> str | None:
        """Whose clients share what is limited; None for a proxy of this machine, which may stand for many people."""
        return self._user or self._address

    @asynccontextmanager
    async def look_back(self) -> AsyncIterator[None]:
        """Wait until no other client of the same user, token or address looks into the past, and do so for a block.

        To read and sum up the past takes the server much longer than to receive the message that asks for it. So the
        next one waits, after the block, for as long as the block took. A client without an owner waits for none.
        """
        owner = self.owner
        if owner is None:
            yield
            return
        turn = self._monitor.turn_of(owner)
        await turn.acquire()
        began = time.monotonic()
        try:
            yield
        finally:
            pause = min(time.monotonic() - began, MAX_PAUSE_SECONDS)
            asyncio.get_running_loop().call_later(pause, turn.release)

    # --- messages ---

    def count_message(self, size: int) -> None:
        """Count a message of so many bytes that the client sent."""
        settings, now = self._settings, time.monotonic()
        # Each client of a proxy of this machine has the limits below.
        owner = self.owner
        if owner is not None and self._monitor.take_cost(owner, cost_of(size), now) > 0.0:
            raise LimitExceededError(
                CloseCode.TOO_MANY_MESSAGES,
                ErrorCode.TOO_MANY_MESSAGES,
                f"your clients together send more than {settings.message_cost_per_second:g} a second; a message counts "
                f"as 1, and each {COST_BYTES} bytes as 1 more",
            )
        if self._token_bucket.take(1.0, now) > 0.0:
            raise LimitExceededError(
                CloseCode.TOO_MANY_MESSAGES,
                ErrorCode.TOO_MANY_MESSAGES,
                f"more than {settings.messages_per_second:g} messages a second; allowed: bursts of "
                f"{settings.message_burst}",
            )
        if size > settings.max_message_bytes:
            self._runtime.telemetry.protocol_errors += 1
            raise LimitExceededError(
                CloseCode.MESSAGE_TOO_BIG,
                ErrorCode.MESSAGE_TOO_BIG,
                f"the message has {size} bytes; allowed: {settings.max_message_bytes}",
            )

    def count_error(self) -> None:
        """Count a message that the client sent and that could not be accepted."""
        now = time.monotonic()
        self._errors.append(now)
        while now - self._errors[0] > ERROR_WINDOW_SECONDS:
            self._errors.popleft()
        if len(self._errors) >= self._settings.max_errors_per_minute:
            raise LimitExceededError(
                CloseCode.BAD_PROTOCOL, ErrorCode.TOO_MANY_ERRORS, f"{len(self._errors)} errors within a minute"
            )
