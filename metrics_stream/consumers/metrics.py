"""The WebSocket consumer: admits one client, answers its messages, and closes it when it may not stay.

It is made of Limits, Authentication and Session. Each client message has one handler here, marked with `handles`.
Errors become messages to the client only in this module.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from channels.generic.websocket import AsyncWebsocketConsumer
from django.db import DatabaseError
from msgspec import UNSET

from metrics_stream.access.monitor import access_monitor_of
from metrics_stream.audit.trail import Action, note
from metrics_stream.consumers.authentication import Authentication
from metrics_stream.consumers.definitions import Definitions
from metrics_stream.consumers.latest import send_latest
from metrics_stream.consumers.limits import Limits
from metrics_stream.consumers.past import Past
from metrics_stream.consumers.query import Opening, read_opening
from metrics_stream.consumers.session import Session
from metrics_stream.consumers.sink import SocketSink
from metrics_stream.core.delivery.selection import Selection, check_filters, compile_projection, expand, names_all
from metrics_stream.core.errors import BusError, ClientRefusedError, NotAuthenticatedError, ProtocolError
from metrics_stream.core.formatting import format_timestamp
from metrics_stream.core.metrics.catalogue import ALL, Catalogue
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.metrics.permission import Permit
from metrics_stream.core.protocol import bounds, messages
from metrics_stream.core.protocol.codes import ErrorCode, close_reason
from metrics_stream.core.protocol.parsing import encode, read
from metrics_stream.core.protocol.prepared_message import EXTENSION
from metrics_stream.hub.clients import Client
from metrics_stream.hub.inspection import subscription_of
from metrics_stream.observation.faults import of_process as faults
from metrics_stream.runtime.newest import newest_reader_of
from metrics_stream.runtime.runtime import Runtime, get_runtime

logger = logging.getLogger(__name__)

Handler = Callable[["MetricsConsumer", Any], Awaitable[None]]

_HANDLERS: dict[type[messages.ClientMessage], Handler] = {}


def handles(message_class: type[messages.ClientMessage]) -> Callable[[Handler], Handler]:
    """Mark the method of MetricsConsumer that answers the messages of a class."""

    def register(handler: Handler) -> Handler:
        _HANDLERS[message_class] = handler
        return handler

    return register


class MetricsConsumer(AsyncWebsocketConsumer):
    """Speaks the protocol with one client; what the client subscribes to stands in its Session."""

    # No channel of its own: metrics come from the hub, and a channel layer that is down must not stop new connections.
    # Channels returns None for an alias that is not configured.
    channel_layer_alias = "metrics_stream.none"

    # Set once the connection is accepted.
    _is_accepted = False
    runtime: Runtime
    _limits: Limits
    _authentication: Authentication
    _known: Catalogue

    # Set once the hub knows the client.
    _is_admitted = False
    _client: Client
    _sink: SocketSink
    _session: Session
    _definitions: Definitions

    _is_closing = False

    # What is wrong with the parts of the current message that are not used.
    _ignored: list[str]

    # --- from the handshake to the hub ---

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection; however it ends, the hub forgets the client."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._forget()

    async def connect(self) -> None:
        """Accept the connection, and admit the client if its handshake has a credential; else wait for a token."""
        await self.accept()
        self.runtime = get_runtime()
        monitor = access_monitor_of(self.runtime)
        self._limits = Limits(self.runtime, monitor)
        self._authentication = Authentication(
            monitor, self._limits, apply_change=self._apply_access, follow=self._follow, close=self._close_with
        )
        self._is_accepted = True
        self._known = self.runtime.settings.catalogue()
        try:
            self._limits.find_place(self._address)
            await self._authentication.read_handshake(_headers_of(self.scope), self._address)
        except NotAuthenticatedError:
            seconds = self.runtime.settings.authenticate_seconds
            await self._send(messages.AuthenticationRequired(within_seconds=seconds))
            self._authentication.wait_for_token(seconds)
        except ClientRefusedError as refused:
            await self._close_with(refused)
        else:
            await self._admit()

    @property
    def _address(self) -> str:
        return str((self.scope.get("client") or [""])[0])

    async def _admit(self, ref: messages.Ref = UNSET) -> None:
        """Take the authenticated client into the hub, with what its address asks for."""
        runtime, hub, access = self.runtime, self.runtime.hub, self._authentication.access
        opening, problem = Opening(), None
        try:
            max_terms, version = runtime.settings.max_filter_terms, runtime.definitions.version
            query: bytes = self.scope["query_string"]
            opening = await read_opening(query, access, max_terms=max_terms, version=version)
        except ProtocolError as error:
            problem = error
        if self._is_closing:
            return
        extensions: Any = self.scope.get("extensions") or {}
        sink = SocketSink(self.base_send, extensions.get(EXTENSION, {}), hub)
        client_id = uuid.uuid4().hex
        structlog.contextvars.bind_contextvars(client_id=client_id)  # for the log lines of this connection's task
        # Before the hub knows the client, so that the welcome is the first message on every connection.
        subscription = subscription_of(opening.selection, opening.delivery, opening.preset)
        await self._send_welcome(client_id, subscription, ref)
        client = hub.add(client_id, sink, connected_at=time.time(), who=access.who, address=self._address)
        sink.client = client
        hub.turns.assign(client, self._limits.owner)
        client.count_message()  # the welcome
        limits, send = self._limits, self._send
        session = Session(
            client,
            runtime,
            self._authentication,
            limits,
            send,
            known=self._known,
            sends_newest=opening.sends_newest,
        )
        self._client, self._sink, self._session = client, sink, session
        self._definitions = Definitions(
            client, runtime, self._authentication, session, send=send, opening=opening, known=self._known
        )
        self._is_admitted = True
        # Before the monitor knows the client: rights that it takes away would be given back here.
        hub.change(client, Selection((), opening.selection.filters, access.live_permit), opening.delivery)
        self._authentication.start_monitoring()
        if problem is not None:
            await self._send_error(problem)
        if runtime.bus_watch.state == "stale":
            await self._send(messages.Status(bus="stale"))
        if opening.selection.metric_types:
            session.start(opening.selection, opening.past, everything=ALL in opening.wanted)

    async def _send_welcome(self, client_id: str, subscription: messages.Subscription, ref: messages.Ref) -> None:
        await self._send(
            messages.Welcome(
                client_id=client_id,
                ref=ref,
                timestamp=format_timestamp(time.time()),
                message="Connected to metrics_stream. Send subscribe to get metrics.",
                metric_types=self._authentication.access.metric_types,
                subscription=subscription,
                limits=self._limits.describe(),
            )
        )

    async def _apply_access(self) -> None:
        """Continue with the access that the client has now, or close it if that is impossible."""
        self._client.rename(self._authentication.access.who)
        try:
            await self._session.apply_access()
        except ClientRefusedError as refused:
            await self._close_with(refused)

    async def _follow(self) -> None:
        """Tell the client of metric types and of its preset what has changed."""
        if not self._is_gone:
            await self._definitions.follow()

    # --- the end ---

    async def _close_with(self, refused: ClientRefusedError) -> None:
        """Send the reason in an error frame, because some servers drop close reasons, and close."""
        code, error, reason = refused.code, refused.error, str(refused)
        if self._is_admitted:
            # The hub does not wait for a client that reads nothing.
            self.runtime.hub.close(self._client.id, code, error, reason)
        elif not self._is_closing:
            await self._send_error(ProtocolError(error, reason))
            self.runtime.telemetry.closes_by_code[code] += 1
            self._is_closing = True
            self._forget()
            await self.close(code=int(code), reason=close_reason(reason))

    async def disconnect(self, code: int) -> None:
        """Forget the client."""
        self._forget()

    def _forget(self) -> None:
        if self._is_accepted:
            self._authentication.stop()
            self._limits.give_back_places()
        if self._is_admitted:
            self._sink.cancel()
            self._session.stop()
            self.runtime.hub.remove(self._client)

    # --- messages out ---

    @property
    def _is_gone(self) -> bool:
        """Whether the connection was closed from here: nothing may follow the close, and no message is answered."""
        return self._is_closing or (self._is_admitted and self._client.id not in self.runtime.hub.clients)

    async def _send(self, message: messages.ServerMessage) -> None:
        """Send a message at once; it does not queue behind data."""
        if self._is_gone:
            return
        self.runtime.telemetry.count_sent(messages=1)
        if self._is_admitted:
            self._client.count_message()
        await self.send(text_data=encode(message))

    async def _send_error(self, error: ProtocolError) -> None:
        await self._send(messages.Error(code=error.code, message=error.message, ref=error.ref))

    # --- messages in ---

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Answer one message; nothing that a client sends ends anything but its own connection."""
        if self._is_gone or not (self._is_admitted or self._authentication.is_waiting):
            return
        self.runtime.telemetry.messages_received += 1
        size = len(text_data.encode(errors="replace")) if text_data is not None else len(bytes_data or b"")
        try:
            self._limits.count_message(size)
            await self._answer(text_data)
        except ClientRefusedError as refused:
            await self._close_with(refused)
        except OSError:  # the client disconnected before its answer was sent
            return

    async def _answer(self, text: str | None) -> None:
        ref: messages.Ref = UNSET
        try:
            if text is None:
                raise ProtocolError(ErrorCode.BINARY, "a binary message; the protocol is JSON in text messages")
            message, self._ignored = read(text)
            ref = message.ref
            if not self._is_admitted and not isinstance(message, messages.Authenticate):
                raise ProtocolError(ErrorCode.NOT_AUTHENTICATED, "send `authenticate` with a token first")
            await _HANDLERS[type(message)](self, message)
            if self._ignored:
                await self._send(messages.Ignored(message="; ".join(self._ignored), ref=ref))
        except (ClientRefusedError, OSError):
            raise
        except ProtocolError as error:
            self.runtime.telemetry.protocol_errors += 1
            await self._send_error(ProtocolError(error.code, error.message, error.ref if ref is UNSET else ref))
            self._limits.count_error()
        except (BusError, DatabaseError) as error:
            if isinstance(error, DatabaseError):
                faults.note_database("a message of a client cannot be answered", error)
            await self._send_error(ProtocolError(ErrorCode.INTERNAL, "this cannot be read now; ask again later", ref))
        except Exception:
            logger.exception("a message could not be answered")
            await self._send_error(ProtocolError(ErrorCode.INTERNAL, "the server failed to answer this message", ref))

    @handles(messages.Authenticate)
    async def _authenticate(self, message: messages.Authenticate) -> None:
        await self._authentication.read_token(message.token, self._address)
        if self._is_admitted:
            self.runtime.hub.turns.assign(self._client, self._limits.owner)
            await self._send_welcome(self._client.id, self._session.describe(), message.ref)
        else:
            await self._admit(message.ref)

    @handles(messages.Subscribe)
    async def _subscribe(self, message: messages.Subscribe) -> None:
        everything = names_all(message.metric_types)
        types = self._expand(message.metric_types)
        await self._session.subscribe(types, Past.of(message), message.ref, everything=everything)

    @handles(messages.Unsubscribe)
    async def _unsubscribe(self, message: messages.Unsubscribe) -> None:
        # Unsubscribing from `all` removes every type, also those that `all` does not subscribe to.
        visible = self._authentication.access.metric_types
        types = self._expand(message.metric_types, everything=visible)
        await self._session.unsubscribe(types, message.ref, everything=names_all(message.metric_types))

    def _expand(self, metric_types: tuple[str, ...], everything: tuple[str, ...] | None = None) -> frozenset[str]:
        access = self._authentication.access
        everything = access.everything if everything is None else everything
        known, problem = expand(metric_types, access.metric_types, everything)
        if problem:
            self._ignored.append(problem)
        return known

    @handles(messages.SetFilters)
    async def _set_filters(self, message: messages.SetFilters) -> None:
        filters = check_filters(message.filters, max_terms=self.runtime.settings.max_filter_terms)
        self._session.set_filters(filters)
        await self._send(messages.FiltersUpdated(filters=filters, ref=message.ref))

    @handles(messages.SetUpdateInterval)
    async def _set_update_interval(self, message: messages.SetUpdateInterval) -> None:
        interval = bounds.clamp(message.interval_seconds, bounds.INTERVAL_SECONDS)
        self._session.set_interval(interval)
        await self._send(messages.UpdateIntervalSet(interval_seconds=interval, ref=message.ref))

    @handles(messages.SetBatching)
    async def _set_batching(self, message: messages.SetBatching) -> None:
        delivery = self._session.set_batching(message)
        await self._send(
            messages.BatchingSet(
                batch_size=delivery.batch_size,
                batch_timeout_seconds=delivery.batch_timeout_seconds,
                mode=delivery.mode,
                ref=message.ref,
            )
        )

    @handles(messages.GetLatest)
    async def _get_latest(self, message: messages.GetLatest) -> None:
        asked = self._expand(message.metric_types)
        async with self._limits.look_back():
            newest = await self._read_newest(asked)
        await send_latest(
            [metric for metric in newest if metric.metric_type in asked],
            visible=lambda: self._authentication.visible_types(asked),
            projection=lambda: compile_projection(self._client.selection.filters, self._permit),
            send=self._send,
            ref=message.ref,
        )

    @property
    def _permit(self) -> Permit:
        """What may be seen of what is shown now: live metrics, or a replay, which has a permit of its own."""
        is_live = self._session.replay is None
        return self._authentication.access.live_permit if is_live else self._client.selection.permit

    async def _read_newest(self, metric_types: frozenset[str]) -> list[Metric]:
        """Return the newest metric of each kind, oldest first; during a replay, that of the instant which is shown."""
        replay = self._session.replay
        if replay is not None:
            return await replay.replay_source.newest_at(replay.at)
        if self.runtime.history is None:
            raise ProtocolError(ErrorCode.INVALID_MESSAGE, "no history is kept here, so there are no newest metrics")
        return (await newest_reader_of(self.runtime).read(metric_types, self._permit)).metrics

    @handles(messages.Ping)
    async def _ping(self, message: messages.Ping) -> None:
        position = self._session.position or UNSET
        now = format_timestamp(time.time())
        await self._send(messages.Pong(timestamp=now, position=position, ref=message.ref))

    @handles(messages.Replay)
    async def _replay(self, message: messages.Replay) -> None:
        await self._session.start_replay(message)
        note(Action.REPLAY, self._client.who, str(message.run or "the recent past"), address=self._address)

    @handles(messages.Seek)
    async def _seek(self, message: messages.Seek) -> None:
        await self._session.seek(message)

    @handles(messages.Pause)
    async def _pause(self, message: messages.Pause) -> None:
        await self._session.pause(message)

    @handles(messages.Resume)
    async def _resume(self, message: messages.Resume) -> None:
        await self._session.resume(message)

    @handles(messages.Live)
    async def _live(self, message: messages.Live) -> None:
        await self._session.live(message)


def _headers_of(scope: Any) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
