"""The protocol state of one socket, and the only place where an error becomes wire text."""

from __future__ import annotations

import logging
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

import msgspec
import structlog
from channels.generic.websocket import AsyncWebsocketConsumer
from django.db import DatabaseError
from msgspec import UNSET

from metrics_stream.access import Access, access_for
from metrics_stream.admission import Admission, Past
from metrics_stream.audience import Client
from metrics_stream.core import protocol
from metrics_stream.core.codes import CloseCode, ErrorCode
from metrics_stream.core.delivery import Delivery
from metrics_stream.core.metrics import ALL
from metrics_stream.core.protocol import ProtocolError, parse_instant
from metrics_stream.core.selection import Selection, check_filters, expand
from metrics_stream.core.shared_text import EXTENSION
from metrics_stream.models import ClientPreset
from metrics_stream.outlet import SocketOutlet
from metrics_stream.runtime import Runtime, get_runtime, subscription_of
from metrics_stream.tapes import open_tape

logger = logging.getLogger(__name__)

ERROR_WINDOW_SECONDS = 60.0

_PAST_IN_QUERY = ("resume_from", "backfill_seconds", "max_points")


class MetricsConsumer(AsyncWebsocketConsumer):
    """Speaks the protocol with one client and keeps its selection and delivery in the hub."""

    # No channel of its own: metrics come from the hub, and a channel layer that is away must not stop new sockets.
    # Channels hands out None for an alias that is not configured.
    channel_layer_alias = "metrics_stream.none"

    runtime: Runtime
    access: Access
    outlet: SocketOutlet | None = None
    client: Client | None = None
    admission: Admission | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one socket; whatever ends it, the hub forgets the client."""
        self._closing = False
        self._errors: deque[float] = deque()
        self._allowance = 0.0
        self._allowance_at = time.monotonic()
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._forget()

    async def connect(self) -> None:
        """Take the client in, with its preset when it names one."""
        await self.accept()
        self.runtime = runtime = get_runtime()
        self.access = access_for(self.scope, runtime.settings)
        self._allowance = float(runtime.settings.message_burst)
        hub = runtime.hub
        if len(hub.clients) >= runtime.settings.max_clients:
            runtime.telemetry.refused_clients += 1
            limit = runtime.settings.max_clients
            await self._fail(CloseCode.OVER_CAPACITY, ErrorCode.OVER_CAPACITY, f"{limit} clients are connected already")
            return
        extensions: Any = self.scope.get("extensions") or {}
        self.outlet = SocketOutlet(self.base_send, extensions.get(EXTENSION, {}), hub)
        self.client = self.outlet.client = client = hub.add(uuid.uuid4().hex, self.outlet, connected_at=time.time())
        self.admission = Admission(client, runtime, self._send)
        # For every line of the log that comes from the task of this socket.
        structlog.contextvars.bind_contextvars(client_id=client.id)
        preset, selection, delivery, problem, past = None, client.selection, client.delivery, None, Past()
        try:
            preset = await self._find_preset()
            if preset is not None:
                selection, delivery = self._wish_of(preset)
                past = self._past_in_query()
        except ProtocolError as error:
            preset, problem = None, error
        await self._send_welcome(client, selection, delivery, preset.slug if preset else None)
        if problem is not None:
            await self._send_error(problem)
        if runtime.canary.state == "stale":
            await self._send(protocol.Status(bus="stale"))
        # After the welcome, so that it is the first message on every socket.
        hub.change(client, Selection((), selection.filters), delivery)
        if selection.metric_types:
            self.admission.start(selection, past, is_confirmed=past != Past())

    @property
    def _query(self) -> dict[str, list[str]]:
        return parse_qs(self.scope["query_string"].decode("latin-1"))

    async def _find_preset(self) -> ClientPreset | None:
        slug = self._query.get("preset", [""])[0]
        if not slug:
            return None
        try:
            preset = await ClientPreset.objects.filter(slug=slug).afirst()
        except (DatabaseError, ValueError) as error:  # ValueError: a NUL in the slug
            logger.exception("the preset %r could not be read", slug)
            raise ProtocolError(ErrorCode.INTERNAL, "the preset could not be read; the default is in force") from error
        if preset is None:
            raise ProtocolError(
                ErrorCode.UNKNOWN_PRESET, f"unknown preset {protocol.quote(slug)}; the default delivery is in force"
            )
        return preset

    def _past_in_query(self) -> Past:
        query = {name: values[0] for name, values in self._query.items() if name in _PAST_IN_QUERY}
        try:
            numbers = {name: float(query[name]) for name in ("backfill_seconds", "max_points") if name in query}
        except ValueError as error:
            raise ProtocolError(
                ErrorCode.INVALID_MESSAGE, f"{protocol.quote(query)} in the address; they must be numbers"
            ) from error
        return Past.of(
            protocol.Subscribe(
                resume_from=query.get("resume_from", UNSET),
                backfill_seconds=numbers.get("backfill_seconds", UNSET),
                max_points=int(numbers.get("max_points", protocol.DEFAULT_MAX_POINTS)),
            )
        )

    def _wish_of(self, preset: ClientPreset) -> tuple[Selection, Delivery]:
        """Return what a preset asks for, as far as this client may see it; ProtocolError for one that is broken."""
        allowed = self.access.metric_types
        try:
            types = msgspec.convert(preset.metric_types, frozenset[str])
            filters = msgspec.convert(
                {"agent_ids": preset.agent_ids, "fields": preset.fields, "sources": preset.sources}, protocol.Filters
            )
        except msgspec.ValidationError as error:
            logger.exception("the preset %r is broken", preset.slug)
            raise ProtocolError(
                ErrorCode.UNKNOWN_PRESET, f"the preset {preset.slug!r} is broken; the default delivery is in force"
            ) from error
        wanted = types.union(self.access.everything) if ALL in types else types
        filters = check_filters(filters, max_terms=self.runtime.settings.max_filter_terms)
        delivery = Delivery.clamped(
            interval_seconds=preset.interval_seconds,
            batch_size=preset.batch_size,
            batch_timeout_seconds=preset.batch_timeout_seconds,
            mode=next((mode for mode in protocol.MODES if mode == preset.mode), "all"),
        )
        return Selection(tuple(item for item in allowed if item in wanted), filters), delivery

    async def _send_welcome(self, client: Client, selection: Selection, delivery: Delivery, preset: str | None) -> None:
        settings = self.runtime.settings
        await self._send(
            protocol.Welcome(
                client_id=client.id,
                timestamp=protocol.format_timestamp(time.time()),
                message="Connected to metrics_stream. Send subscribe to get metrics.",
                metric_types=self.access.metric_types,
                subscription=subscription_of(selection, delivery, preset),
                limits=protocol.Limits(
                    message_bytes=settings.max_message_bytes,
                    messages_per_second=settings.messages_per_second,
                    message_burst=settings.message_burst,
                    errors_per_minute=settings.max_errors_per_minute,
                    filter_terms=settings.max_filter_terms,
                    history_seconds=0.0 if self.runtime.history is None else settings.history_seconds,
                ),
            )
        )

    async def disconnect(self, code: int) -> None:
        """Forget the client."""
        self._forget()

    def _forget(self) -> None:
        if self.outlet is not None:
            self.outlet.cancel()
        if self.admission is not None:
            self.admission.cancel()
        if self.client is not None:
            self.runtime.hub.remove(self.client)

    # --- messages in ---

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Answer one message; nothing a client sends ends anything but its own socket."""
        if self._closing or self.client is None or self.client.id not in self.runtime.hub.clients:
            return
        settings, telemetry = self.runtime.settings, self.runtime.telemetry
        telemetry.messages_received += 1
        if not self._allow_message():
            await self._fail(
                CloseCode.TOO_MANY_MESSAGES,
                ErrorCode.TOO_MANY_MESSAGES,
                f"more than {settings.messages_per_second:g} messages a second; allowed: bursts of "
                f"{settings.message_burst}",
            )
            return
        size = len(text_data.encode(errors="replace")) if text_data is not None else len(bytes_data or b"")
        if size > settings.max_message_bytes:
            telemetry.protocol_errors += 1
            await self._fail(
                CloseCode.MESSAGE_TOO_BIG,
                ErrorCode.MESSAGE_TOO_BIG,
                f"the message has {size} bytes; allowed: {settings.max_message_bytes}",
            )
            return
        ref: protocol.Ref = UNSET
        try:
            if text_data is None:
                raise ProtocolError(ErrorCode.BINARY, "a binary message; the protocol is JSON in text messages")
            message = protocol.parse(text_data)
            ref = message.ref
            await self._handle(message)
        except ProtocolError as error:
            await self._answer_error(error, ref)
        except OSError:  # the client went away while it was being answered
            return
        except Exception:
            logger.exception("a message could not be answered")
            await self._send(
                protocol.Error(code=ErrorCode.INTERNAL, message="the server failed to answer this message", ref=ref)
            )

    def _allow_message(self) -> bool:
        """Take one message from the allowance, which fills up with time."""
        settings = self.runtime.settings
        now = time.monotonic()
        gained = (now - self._allowance_at) * settings.messages_per_second
        self._allowance = min(float(settings.message_burst), self._allowance + gained)
        self._allowance_at = now
        if self._allowance < 1.0:
            return False
        self._allowance -= 1.0
        return True

    async def _answer_error(self, error: ProtocolError, ref: protocol.Ref) -> None:
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

    async def _handle(self, message: protocol.AnyClientMessage) -> None:
        await _HANDLERS[type(message)](self, message)

    async def _subscribe(self, message: protocol.Subscribe) -> None:
        wanted = expand(message.metric_types, self.access.metric_types, self.access.everything)
        past = Past.of(message)
        await self._admission.settle()
        client = self._client
        asked = self._in_order(wanted)
        metric_types = self._in_order(wanted.union(client.selection.metric_types))
        selection = replace(client.selection, metric_types=metric_types)
        if self._admission.player is None:
            await self._admission.admit(selection, past, message.ref, asked)
        else:  # what is replayed comes of other types from now on; `live` brings the rest
            self.runtime.hub.change(client, selection, client.delivery)
            await self._send(protocol.SubscriptionConfirmed(metric_types=metric_types, ref=message.ref))

    async def _unsubscribe(self, message: protocol.Unsubscribe) -> None:
        # Whoever gives up everything keeps nothing, not even what it had to name to get.
        unwanted = expand(message.metric_types, self.access.metric_types, self.access.metric_types)
        await self._admission.settle()
        client, hub = self._client, self.runtime.hub
        metric_types = self._in_order(frozenset(client.selection.metric_types) - unwanted)
        hub.change(client, replace(client.selection, metric_types=metric_types), client.delivery)
        position = hub.position_of(metric_types) if client.lane is None else None
        await self._send(
            protocol.SubscriptionConfirmed(metric_types=metric_types, position=position or UNSET, ref=message.ref)
        )

    def _in_order(self, metric_types: frozenset[str]) -> tuple[str, ...]:
        return tuple(item for item in self.access.metric_types if item in metric_types)

    async def _set_filters(self, message: protocol.SetFilters) -> None:
        client = self._client
        filters = check_filters(message.filters, max_terms=self.runtime.settings.max_filter_terms)
        self.runtime.hub.change(client, replace(client.selection, filters=filters), client.delivery)
        await self._send(protocol.FiltersUpdated(filters=filters, ref=message.ref))

    async def _set_update_interval(self, message: protocol.SetUpdateInterval) -> None:
        client = self._client
        interval = protocol.clamp(message.interval_seconds, protocol.INTERVAL_SECONDS)
        self.runtime.hub.change(client, client.selection, replace(client.delivery, interval_seconds=interval))
        await self._send(protocol.UpdateIntervalSet(interval_seconds=interval, ref=message.ref))

    async def _set_batching(self, message: protocol.SetBatching) -> None:
        client = self._client
        now = client.delivery
        delivery = Delivery.clamped(
            interval_seconds=now.interval_seconds,
            batch_size=now.batch_size if message.batch_size is UNSET else message.batch_size,
            batch_timeout_seconds=now.batch_timeout_seconds
            if message.batch_timeout_seconds is UNSET
            else message.batch_timeout_seconds,
            mode=now.mode if message.mode is UNSET else message.mode,
        )
        self.runtime.hub.change(client, client.selection, delivery)
        await self._send(
            protocol.BatchingSet(
                batch_size=delivery.batch_size,
                batch_timeout_seconds=delivery.batch_timeout_seconds,
                mode=delivery.mode,
                ref=message.ref,
            )
        )

    async def _ping(self, message: protocol.Ping) -> None:
        position = self.runtime.hub.position_reached_by(self._client) or UNSET
        now = protocol.format_timestamp(time.time())
        await self._send(protocol.Pong(timestamp=now, position=position, ref=message.ref))

    async def _replay(self, message: protocol.Replay) -> None:
        at = None if message.from_ is UNSET else parse_instant("from", message.from_)
        run = None if message.run is UNSET else message.run
        tape = await open_tape(self.runtime, self.access, self.scope.get("user"), run)
        await self._admission.replay(tape, message, at)

    async def _seek(self, message: protocol.Seek) -> None:
        await self._admission.seek(message, parse_instant("to", message.to))

    async def _pause(self, message: protocol.Pause) -> None:
        await self._admission.pause(message)

    async def _resume(self, message: protocol.Resume) -> None:
        await self._admission.resume(message)

    async def _live(self, message: protocol.Live) -> None:
        await self._admission.live(message)

    # --- messages out; they never queue behind data ---

    @property
    def _client(self) -> Client:
        assert self.client is not None, "messages are handled only for clients that were taken in"
        return self.client

    @property
    def _admission(self) -> Admission:
        assert self.admission is not None, "messages are handled only for clients that were taken in"
        return self.admission

    async def _send(self, message: protocol.ServerMessage) -> None:
        if self._closing:
            return
        self.runtime.telemetry.messages_sent += 1
        if self.client is not None:
            self.client.messages_sent += 1
        await self.send(text_data=protocol.encode(message))

    async def _send_error(self, error: ProtocolError) -> None:
        await self._send(protocol.Error(code=error.code, message=error.message, ref=error.ref))

    async def _fail(self, code: CloseCode, error: ErrorCode, reason: str) -> None:
        """Say why in an error frame, since some servers drop close reasons, and close."""
        await self._send_error(ProtocolError(error, reason))
        self.runtime.telemetry.closes_by_code[code] += 1
        self._closing = True
        self._forget()
        # RFC 6455: a close reason has at most 123 bytes.
        await self.close(code=int(code), reason=reason[:120])


_HANDLERS: dict[type[protocol.ClientMessage], Callable[[MetricsConsumer, Any], Awaitable[None]]] = {
    protocol.Subscribe: MetricsConsumer._subscribe,
    protocol.Unsubscribe: MetricsConsumer._unsubscribe,
    protocol.SetFilters: MetricsConsumer._set_filters,
    protocol.SetUpdateInterval: MetricsConsumer._set_update_interval,
    protocol.SetBatching: MetricsConsumer._set_batching,
    protocol.Ping: MetricsConsumer._ping,
    protocol.Replay: MetricsConsumer._replay,
    protocol.Seek: MetricsConsumer._seek,
    protocol.Pause: MetricsConsumer._pause,
    protocol.Resume: MetricsConsumer._resume,
    protocol.Live: MetricsConsumer._live,
}
