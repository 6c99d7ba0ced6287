"""The credential of one client, the access that it gives, and what happens when that access changes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping

from django.db import DatabaseError

from metrics_stream.access.credentials import Anybody, Credential, ProgramToken
from metrics_stream.access.grants import Access
from metrics_stream.access.monitor import AccessMonitor
from metrics_stream.audit.trail import Action, Result, note
from metrics_stream.consumers.limits import Limits
from metrics_stream.core.errors import AccessRefusedError, ClientRefusedError, NotAuthenticatedError
from metrics_stream.core.protocol.codes import CloseCode, ErrorCode
from metrics_stream.observation.faults import of_process as faults


class Authentication:
    """Authenticates one client by its handshake or by a token, and keeps its access up to date.

    It is what the access monitor knows of the client.
    """

    access: Access
    """The access that the client has now; set by `read_handshake` or `read_token`."""

    def __init__(
        self,
        monitor: AccessMonitor,
        limits: Limits,
        *,
        apply_change: Callable[[], Awaitable[None]],
        close: Callable[[ClientRefusedError], Awaitable[None]],
        door: str = "WebSocket",
        follow: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`apply_change` is called when a monitored client has another access, `close` to close the client.

        The audit log names the `door` through which a token came. `follow` is called after each check of its access.
        """
        self._door = door
        self.credential: Credential = Anybody()
        self._monitor = monitor
        self._limits = limits
        self._apply_change = apply_change
        self._follow = follow
        self._close = close
        self._deadline: asyncio.Task[None] | None = None
        self._is_monitored = False
        self._changes_seen = 0
        """What the monitor's `changes` was before the last look-up."""

    # --- look-ups ---

    async def read_handshake(
        self, headers: Mapping[str, str], address: str, *, may_have_session: bool | None = None
    ) -> None:
        """Authenticate by the headers of the handshake, which came from an address.

        Session cookies are ignored unless `may_have_session`, by default unless there is an Origin. Raises
        NotAuthenticatedError when they contain no credential, and ClientRefusedError for one that gives no access or
        whose places are all taken.
        """
        if may_have_session is None:
            # A handshake without an Origin comes from a program, and a program has a token of its own.
            may_have_session = "origin" in headers
        try:
            await self._authenticate(
                lambda: self._monitor.admit(headers, may_have_session=may_have_session, address=address), address
            )
        except NotAuthenticatedError:
            await self._limits.take_place_of_address()
            raise

    async def read_token(self, token: str, address: str) -> None:
        """Authenticate by a token, which replaces the credential before; raise ClientRefusedError as above."""
        await self._authenticate(lambda: self._monitor.admit_token(token, address), address)

    async def _authenticate(self, look_up: Callable[[], Awaitable[tuple[Credential, Access]]], address: str) -> None:
        # Before the look-up: a change that is announced while it runs may not be in its result.
        self._changes_seen = self._monitor.changes
        try:
            credential, access = await look_up()
        except AccessRefusedError:
            note(Action.TOKEN, "", self._door, address=address, result=Result.REFUSED)
            raise
        except DatabaseError as error:
            faults.note_database("the access of a client cannot be looked up", error)
            raise AccessRefusedError(
                CloseCode.GOING_AWAY, ErrorCode.INTERNAL, "the server cannot look up your access"
            ) from error
        self._stop_waiting()
        await self._limits.take_places(credential, access)
        if isinstance(credential, ProgramToken):
            note(Action.TOKEN, access.who, self._door, address=address)
        self.credential = credential
        if not self._is_monitored:
            self.access = access
            return
        self._recheck_if_changed()
        await self.allow(access)

    def visible_types(self, metric_types: Iterable[str]) -> tuple[str, ...]:
        """Return those of the metric types that are at least partly visible now, in catalogue order."""
        return self.access.visible_types(metric_types)

    # --- the wait for a token ---

    @property
    def is_waiting(self) -> bool:
        """Whether the client has no access yet, and time left to send a token."""
        return self._deadline is not None

    def wait_for_token(self, seconds: float) -> None:
        """Close the client unless it sends a token within so many seconds."""
        self._deadline = asyncio.create_task(self._close_after(seconds))

    async def _close_after(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        reason = f"nobody signed in within {seconds:g} s; send `authenticate` with a token, or sign in on the page"
        await self._close(NotAuthenticatedError(reason))

    def _stop_waiting(self) -> None:
        # The deadline itself ends up here when it closes the client, and must not cancel itself.
        if self._deadline is not None and self._deadline is not asyncio.current_task():
            self._deadline.cancel()
        self._deadline = None

    # --- changes ---

    def start_monitoring(self) -> None:
        """Have the access of the client checked from now on, also for changes since the last look-up began."""
        self._monitor.add(self)
        self._is_monitored = True
        self._recheck_if_changed()

    def _recheck_if_changed(self) -> None:
        if self._changes_seen != self._monitor.changes:
            self._monitor.request_recheck(self)

    async def allow(self, access: Access) -> None:
        """Continue with this access."""
        if access != self.access:
            self.access = access
            await self._apply_change()
        if self._follow is not None:
            await self._follow()

    async def refuse(self, refused: AccessRefusedError) -> None:
        """Close the client: its credential gives no access any more."""
        await self._close(refused)

    def stop(self) -> None:
        """End the wait and the checks; the client is gone."""
        self._stop_waiting()
        self._monitor.remove(self)
