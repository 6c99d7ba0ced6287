"""The protocol state of one socket, and the only place where an error becomes wire text."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

import msgspec
from channels.generic.websocket import AsyncWebsocketConsumer
from django.db import DatabaseError
from msgspec import UNSET

from metrics_stream.access import Access, access_for
from metrics_stream.audience import Client
from metrics_stream.core import protocol
from metrics_stream.core.codes import CloseCode, ErrorCode
from metrics_stream.core.delivery import Delivery
from metrics_stream.core.metrics import ALL
from metrics_stream.core.protocol import ProtocolError
from metrics_stream.core.selection import Selection, check_filters, expand
from metrics_stream.core.shared_text import EXTENSION, SharedText
from metrics_stream.hub import Hub
from metrics_stream.models import ClientPreset
from metrics_stream.runtime import Runtime, get_runtime, subscription_of

logger = logging.getLogger(__name__)

Send = Callable[[Any], Awaitable[None]]
WriteShared = Callable[[SharedText], bool]

ERROR_WINDOW_SECONDS = 60.0
EXPLAIN_SECONDS = 1.0


class SocketOutlet:
    """One socket as the hub sees it.

    Where the server offers it, a message is handed over as it is shared between sockets; otherwise, and while the
    socket takes none, it is sent in a task of its own, so that the hub never waits.
    """

    def __init__(self, send: Send, write_shared: WriteShared | None, hub: Hub) -> None:
        self.client: Client | None = None
        self._send = send
        self._write_shared = write_shared
        self._hub = hub
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False

    def write(self, frames: Sequence[SharedText]) -> bool:
        """Write, and return whether all of it was taken at once; otherwise the hub hears of the end by `written`."""
        if self._closing:
            return False
        written = 0
        if self._write_shared is not None:
            while written < len(frames) and self._write_shared(frames[written]):
                written += 1
        if written == len(frames):
            return True
        self._start(self._write(frames[written:]))
        return False

    async def _write(self, frames: Sequence[SharedText]) -> None:
        assert self.client is not None, "the hub writes only to clients it has taken in"
        for frame in frames:
            await self._send({"type": "websocket.send", "text": frame.text})
        self._hub.written(self.client)

    def close(self, code: CloseCode, error: ErrorCode, reason: str) -> None:
        """Say why in an error frame and close, in a task of its own."""
        if not self._closing:
            self._closing = True
            self._start(self._close(code, error, reason))

    async def _close(self, code: CloseCode, error: ErrorCode, reason: str) -> None:
        text = protocol.encode(protocol.Error(code=error, message=reason))
        # A client that does not read takes no explanation either; the close must not wait for it.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(EXPLAIN_SECONDS):
                await self._send({"type": "websocket.send", "text": text})
        await self._send({"type": "websocket.close", "code": int(code), "reason": reason[:120]})

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        # Servers report a peer that is gone as an OSError, or as a RuntimeError when the close was sent before.
        if not isinstance(error, OSError | RuntimeError):
            logger.error("a frame could not be written", exc_info=error)
        if self.client is not None:
            self._hub.remove(self.client)

    def cancel(self) -> None:
        """End what is still being written: the socket is gone."""
        self._closing = True
        for task in self._tasks:
            task.cancel()


class MetricsConsumer(AsyncWebsocketConsumer):
    """Speaks the protocol with one client and keeps its selection and delivery in the hub."""

    # No channel of its own: metrics come from the hub, and a channel layer that is away must not stop new sockets.
    # Channels hands out None for an alias that is not configured.
    channel_layer_alias = "metrics_stream.none"

    runtime: Runtime
    access: Access
    outlet: SocketOutlet | None = None
    client: Client | None = None

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
        self.outlet = SocketOutlet(self.base_send, extensions.get(EXTENSION, {}).get("write"), hub)
        self.client = self.outlet.client = client = hub.add(uuid.uuid4().hex, self.outlet, connected_at=time.time())
        preset, selection, delivery, problem = None, client.selection, client.delivery, None
        try:
            preset = await self._find_preset()
            if preset is not None:
                selection, delivery = self._wish_of(preset)
        except ProtocolError as error:
            preset, problem = None, error
        await self._send_welcome(client, selection, delivery, preset.slug if preset else None)
        if problem is not None:
            await self._send_error(problem)
        if runtime.canary.state == "stale":
            await self._send(protocol.Status(bus="stale"))
        # After the welcome, so that it is the first message on every socket.
        hub.change(client, selection, delivery)

    async def _find_preset(self) -> ClientPreset | None:
        slug = parse_qs(self.scope["query_string"].decode("latin-1")).get("preset", [""])[0]
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
        wanted = frozenset(allowed) if ALL in types else types
        filters = check_filters(filters, max_terms=self.runtime.settings.max_filter_terms)
        delivery = Delivery.clamped(
            interval_seconds=preset.interval_seconds,
            batch_size=preset.batch_size,
            batch_timeout_seconds=preset.batch_timeout_seconds,
            mode="latest" if preset.mode == "latest" else "all",
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
                ),
            )
        )

    async def disconnect(self, code: int) -> None:
        """Forget the client."""
        self._forget()

    def _forget(self) -> None:
        if self.outlet is not None:
            self.outlet.cancel()
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
            logger.exception("client %s: a message could not be answered", self.client.id)
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
        client = self._client
        wanted = expand(message.metric_types, self.access.metric_types).union(client.selection.metric_types)
        await self._set_metric_types(wanted, message.ref)

    async def _unsubscribe(self, message: protocol.Unsubscribe) -> None:
        client = self._client
        unwanted = expand(message.metric_types, self.access.metric_types)
        await self._set_metric_types(frozenset(client.selection.metric_types) - unwanted, message.ref)

    async def _set_metric_types(self, wanted: frozenset[str], ref: protocol.Ref) -> None:
        client = self._client
        metric_types = tuple(item for item in self.access.metric_types if item in wanted)
        self.runtime.hub.change(client, replace(client.selection, metric_types=metric_types), client.delivery)
        await self.runtime.wait_joined(metric_types)
        await self._send(protocol.SubscriptionConfirmed(metric_types=metric_types, ref=ref))

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
        await self._send(protocol.Pong(timestamp=protocol.format_timestamp(time.time()), ref=message.ref))

    # --- messages out; they never queue behind data ---

    @property
    def _client(self) -> Client:
        assert self.client is not None, "messages are handled only for clients that were taken in"
        return self.client

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
}
