"""A socket up to where its client is let in, and from where it has to go.

Who may come in is shown in the handshake or by `authenticate`; there must be a place, and few enough messages and
errors. What may be seen can change at any time, and ends what is not allowed any more.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import deque
from collections.abc import Hashable, Iterable
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

import structlog
from channels.generic.websocket import AsyncWebsocketConsumer
from django.db import DatabaseError
from msgspec import UNSET

from metrics_stream.access.credentials import Anybody, BrowserSession, Credential
from metrics_stream.access.grants import Access
from metrics_stream.access.monitor import AccessMonitor, access_monitor_of, is_local
from metrics_stream.consumers.query import find_preset, past_in, wish_of
from metrics_stream.consumers.session import Past, Session
from metrics_stream.consumers.sink import SocketSink
from metrics_stream.core.delivery.pending import Delivery
from metrics_stream.core.delivery.selection import Selection
from metrics_stream.core.errors import AccessRefusedError, NotAuthenticatedError, ProtocolError
from metrics_stream.core.formatting import format_timestamp
from metrics_stream.core.protocol import messages
from metrics_stream.core.protocol import parsing as protocol
from metrics_stream.core.protocol.codes import CloseCode, ErrorCode, close_reason
from metrics_stream.core.protocol.prepared_message import EXTENSION
from metrics_stream.hub.clients import Client
from metrics_stream.hub.inspection import subscription_of
from metrics_stream.runtime.runtime import Runtime, get_runtime

logger = logging.getLogger(__name__)

ERROR_WINDOW_SECONDS = 60.0

HAS_CHANGED = AccessRefusedError(
    CloseCode.AUTHENTICATION_EXPIRED, ErrorCode.EXPIRED, "what you may see has changed; come back"
)


class EntranceConsumer(AsyncWebsocketConsumer):
    """Lets a client in, keeps it within its limits, and lets it go; what it says is for a class on top of this one."""

    # No channel of its own: metrics come from the hub, and a channel layer that is away must not stop new sockets.
    # Channels hands out None for an alias that is not configured.
    channel_layer_alias = "metrics_stream.none"

    runtime: Runtime
    access: Access
    credential: Credential = Anybody()
    monitor: AccessMonitor
    sink: SocketSink | None = None
    client: Client | None = None
    session: Session | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one socket; whatever ends it, the hub forgets the client."""
        self._closing = False
        self._errors: deque[float] = deque()
        self._token_bucket = 0.0
        self._allowance_at = time.monotonic()
        self._places: list[tuple[str, Hashable]] = []
        self._address = ""
        self._waiting: asyncio.Task[None] | None = None
        self._changes = 0  # those that the authority had heard of when it was asked
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._forget()

    async def connect(self) -> None:
        """Accept, and take the client in when what it shows in the handshake opens something; else wait for a token."""
        await self.accept()
        self.runtime = get_runtime()
        self.monitor = access_monitor_of(self.runtime)
        self._token_bucket = float(self.runtime.settings.message_burst)
        if not await self._find_room():
            return
        headers = _headers_of(self.scope)
        self._changes = self.monitor.changes
        try:
            # Without an Origin it is a program, and a program has a token of its own.
            credential, access = await self.monitor.admit(headers, may_have_session="origin" in headers)
        except NotAuthenticatedError:
            await self._ask_for_token()
        except AccessRefusedError as refused:
            await self.refuse(refused)
        except DatabaseError:
            await self._fail_to_look_up()
        else:
            await self._enter(credential, access)

    async def _find_room(self) -> bool:
        """Return whether there is a place for one more client, here and of its network address."""
        runtime = self.runtime
        settings = runtime.settings
        host = str((self.scope.get("client") or [""])[0])
        if len(runtime.hub.clients) >= settings.max_clients:
            error, reason = ErrorCode.OVER_CAPACITY, f"{settings.max_clients} clients are connected already"
        elif is_local(host) or self._take_place("address", host, settings.max_clients_per_address):
            self._address = host
            return True
        else:
            limit = settings.max_clients_per_address
            error, reason = ErrorCode.TOO_MANY_CONNECTIONS, f"{limit} clients are connected from your address already"
        runtime.telemetry.refused_clients += 1
        await self._fail(CloseCode.OVER_CAPACITY, error, reason)
        return False

    def _take_place(self, kind: str, owner: Hashable, limit: int) -> bool:
        if not self.monitor.take_place(kind, owner, limit):
            return False
        self._places.append((kind, owner))
        return True

    def _sit(self, credential: Credential, access: Access) -> AccessRefusedError | None:
        """Take a place of a user or token, for the one that was taken before; return why there is none."""
        owner = access.user_id if isinstance(credential, BrowserSession) else credential
        before = [place for place in self._places if place[0] == "user"]
        if ("user", owner) in before:
            return None
        limit = self.runtime.settings.max_clients_per_user
        if owner != Anybody() and owner is not None and not self._take_place("user", owner, limit):
            self.runtime.telemetry.refused_clients += 1
            reason = f"{limit} clients of {access.who} are connected already"
            return AccessRefusedError(CloseCode.OVER_CAPACITY, ErrorCode.TOO_MANY_CONNECTIONS, reason)
        for place in before:
            self._places.remove(place)
            self.monitor.give_back(*place)
        return None

    async def _fail_to_look_up(self) -> None:
        logger.exception("what a client may see could not be looked up")
        await self._fail(CloseCode.GOING_AWAY, ErrorCode.INTERNAL, "the server cannot look up what you may see")

    async def _ask_for_token(self) -> None:
        seconds = self.runtime.settings.authenticate_seconds
        await self._send(messages.AuthenticationRequired(within_seconds=seconds))
        self._waiting = asyncio.create_task(self._give_up(seconds))

    async def _give_up(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        reason = f"nobody signed in within {seconds:g} s; send `authenticate` with a token, or sign in on the page"
        await self._fail(CloseCode.NOT_AUTHENTICATED, ErrorCode.NOT_AUTHENTICATED, reason)

    async def _enter(self, credential: Credential, access: Access, ref: messages.Ref = UNSET) -> None:
        """Take the client in, with its preset when it names one."""
        self.credential, self.access = credential, access
        runtime, hub = self.runtime, self.runtime.hub
        if (refused := self._sit(credential, access)) is not None:
            await self.refuse(refused)
            return
        preset, selection, delivery, problem, past = None, Selection(), Delivery(), None, Past()
        try:
            query = parse_qs(self.scope["query_string"].decode("latin-1"))
            preset = await find_preset(query)
            if preset is not None:
                selection, delivery = wish_of(preset, access, max_terms=runtime.settings.max_filter_terms)
                past = past_in(query)
        except ProtocolError as error:
            preset, problem = None, error
            selection, delivery = Selection(), Delivery()
        if self._closing:
            return
        extensions: Any = self.scope.get("extensions") or {}
        self.sink = SocketSink(self.base_send, extensions.get(EXTENSION, {}), hub)
        client_id = uuid.uuid4().hex
        # For every line of the log that comes from the task of this socket.
        structlog.contextvars.bind_contextvars(client_id=client_id)
        # Before the hub knows the client, so that it is the first message on every socket.
        await self._send_welcome(client_id, selection, delivery, preset.slug if preset else None, ref)
        client = hub.add(client_id, self.sink, connected_at=time.time(), who=access.who, address=self._address)
        self.client = self.sink.client = client
        client.count_message()  # the welcome
        # Before anybody can be told that its rights have become less, which would be undone here.
        hub.change(client, Selection((), selection.filters, access.live_permit), delivery)
        self.session = Session(client, runtime, self._send, self._in_order)
        self.monitor.add(self)
        self._look_again_if_changed()
        if problem is not None:
            await self._send_error(problem)
        if runtime.canary.state == "stale":
            await self._send(messages.Status(bus="stale"))
        if selection.metric_types:
            self.session.start(selection, past, is_confirmed=past != Past())

    async def _send_welcome(
        self, client_id: str, selection: Selection, delivery: Delivery, preset: str | None, ref: messages.Ref
    ) -> None:
        settings = self.runtime.settings
        await self._send(
            messages.Welcome(
                client_id=client_id,
                ref=ref,
                timestamp=format_timestamp(time.time()),
                message="Connected to metrics_stream. Send subscribe to get metrics.",
                metric_types=self.access.metric_types,
                subscription=subscription_of(selection, delivery, preset),
                limits=messages.Limits(
                    message_bytes=settings.max_message_bytes,
                    messages_per_second=settings.messages_per_second,
                    message_burst=settings.message_burst,
                    errors_per_minute=settings.max_errors_per_minute,
                    filter_terms=settings.max_filter_terms,
                    history_seconds=0.0 if self.runtime.history is None else settings.history_seconds,
                ),
            )
        )

    # --- authority that changes ---

    async def allow(self, access: Access) -> None:
        """Go on with what may be seen now; what is not allowed any more ends at once."""
        if access == self.access or self._closing or self.client is None or self.session is None:
            return
        self.access = access
        if self.session.replay is not None or self.session.begins_replay:
            # What is replayed was chosen from what could be seen before.
            await self.refuse(HAS_CHANGED)
            return
        client, hub = self.client, self.runtime.hub
        client.rename(access.who)
        selection = client.selection
        metric_types = self._in_order(selection.metric_types)
        hub.change(client, replace(selection, metric_types=metric_types, permit=access.live_permit), client.delivery)
        position = hub.position_reached_by(client)
        await self._send(messages.SubscriptionConfirmed(metric_types=metric_types, position=position or UNSET))

    def _in_order(self, metric_types: Iterable[str]) -> tuple[str, ...]:
        """Return those of which something may be seen now, in the order of the catalogue."""
        named = frozenset(metric_types)
        return tuple(item for item in self.access.metric_types if item in named)

    async def refuse(self, refused: AccessRefusedError) -> None:
        """Close: what was shown opens nothing, or does not any more."""
        if self.client is None:
            await self._fail(refused.code, refused.error, str(refused))
        else:  # which waits for nobody who does not read
            self.runtime.hub.close(self.client.id, refused.code, refused.error, str(refused))

    async def _authenticate(self, message: messages.Authenticate) -> None:
        self._changes = self.monitor.changes
        try:
            credential, access = await self.monitor.admit_token(message.token)
        except AccessRefusedError as refused:
            await self.refuse(refused)
            return
        except DatabaseError:
            await self._fail_to_look_up()
            return
        if self.client is None:
            self._stop_waiting()
            await self._enter(credential, access, message.ref)
            return
        if (full := self._sit(credential, access)) is not None:
            await self.refuse(full)
            return
        self.credential = credential
        self._look_again_if_changed()
        await self.allow(access)
        if self.client is not None:
            client = self.client
            await self._send_welcome(client.id, client.selection, client.delivery, None, message.ref)

    def _look_again_if_changed(self) -> None:
        """See to it that rights which changed while they were looked up are looked up once more."""
        if self._changes != self.monitor.changes:
            self.monitor.request_recheck()

    def _stop_waiting(self) -> None:
        if self._waiting is not None and self._waiting is not asyncio.current_task():
            self._waiting.cancel()
        self._waiting = None

    async def disconnect(self, code: int) -> None:
        """Forget the client."""
        self._forget()

    def _forget(self) -> None:
        self._stop_waiting()
        if self.client is not None:
            self.monitor.remove(self)
        while self._places:
            self.monitor.give_back(*self._places.pop())
        if self.sink is not None:
            self.sink.cancel()
        if self.session is not None:
            self.session.cancel()
        if self.client is not None:
            self.runtime.hub.remove(self.client)

    # --- limits ---

    def _allow_message(self) -> bool:
        """Take one message from the allowance, which fills up with time."""
        settings = self.runtime.settings
        now = time.monotonic()
        gained = (now - self._allowance_at) * settings.messages_per_second
        self._token_bucket = min(float(settings.message_burst), self._token_bucket + gained)
        self._allowance_at = now
        if self._token_bucket < 1.0:
            return False
        self._token_bucket -= 1.0
        return True

    async def _answer_error(self, error: ProtocolError, ref: messages.Ref) -> None:
        self.runtime.telemetry.protocol_errors += 1
        await self._send_error(ProtocolError(error.code, error.message, error.ref if ref is UNSET else ref))
        now = time.monotonic()
        self._errors.append(now)
        while now - self._errors[0] > ERROR_WINDOW_SECONDS:
            self._errors.popleft()
        limit = self.runtime.settings.max_errors_per_minute
        if len(self._errors) >= limit:
            await self._fail(
                CloseCode.BAD_PROTOCOL, ErrorCode.TOO_MANY_ERRORS, f"{len(self._errors)} errors within a minute"
            )

    # --- messages out; they never queue behind data ---

    @property
    def _is_gone(self) -> bool:
        """Whether the hub has closed the client: nothing may follow the close, and nothing is answered any more."""
        return self.client is not None and self.client.id not in self.runtime.hub.clients

    async def _send(self, message: messages.ServerMessage) -> None:
        if self._closing or self._is_gone:
            return
        self.runtime.telemetry.messages_sent += 1
        if self.client is not None:
            self.client.count_message()
        await self.send(text_data=protocol.encode(message))

    async def _send_error(self, error: ProtocolError) -> None:
        await self._send(messages.Error(code=error.code, message=error.message, ref=error.ref))

    async def _fail(self, code: CloseCode, error: ErrorCode, reason: str) -> None:
        """Say why in an error frame, since some servers drop close reasons, and close."""
        await self._send_error(ProtocolError(error, reason))
        self.runtime.telemetry.closes_by_code[code] += 1
        self._closing = True
        self._forget()
        await self.close(code=int(code), reason=close_reason(reason))


def _headers_of(scope: Any) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
