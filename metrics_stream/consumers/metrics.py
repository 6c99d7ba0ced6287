"""The protocol state of one socket: a handler for each message of the client that `entrance` has let in.

Only in these two an error becomes wire text.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from msgspec import UNSET

from metrics_stream.consumers.authentication import EntranceConsumer
from metrics_stream.consumers.replay_sources import open_replay_source
from metrics_stream.consumers.session import Past, Session
from metrics_stream.core.delivery.pending import Delivery
from metrics_stream.core.delivery.selection import check_filters, expand
from metrics_stream.core.errors import ProtocolError
from metrics_stream.core.formatting import format_timestamp
from metrics_stream.core.protocol import messages
from metrics_stream.core.protocol import parsing as protocol
from metrics_stream.core.protocol.codes import CloseCode, ErrorCode
from metrics_stream.core.protocol.parsing import parse_instant
from metrics_stream.hub.clients import Client

logger = logging.getLogger(__name__)


class MetricsConsumer(EntranceConsumer):
    """Speaks the protocol with one client and keeps its selection and delivery in the hub."""

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Answer one message; nothing a client sends ends anything but its own socket."""
        if self._closing or self._is_gone or (self.client is None and self._waiting is None):
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
        ref: messages.Ref = UNSET
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
                messages.Error(code=ErrorCode.INTERNAL, message="the server failed to answer this message", ref=ref)
            )

    async def _handle(self, message: messages.AnyClientMessage) -> None:
        if self.client is None and not isinstance(message, messages.Authenticate):
            raise ProtocolError(ErrorCode.NOT_AUTHENTICATED, "send `authenticate` with a token first")
        await _HANDLERS[type(message)](self, message)

    async def _subscribe(self, message: messages.Subscribe) -> None:
        wanted = expand(message.metric_types, self.access.metric_types, self.access.everything)
        past = Past.of(message)
        await self._session.settle()
        client = self._client
        asked = self._in_order(wanted)
        metric_types = self._in_order(wanted.union(client.selection.metric_types))
        selection = replace(client.selection, metric_types=metric_types)
        if self._session.replay is None:
            await self._session.admit(selection, past, message.ref, asked)
        else:  # what is replayed comes of other types from now on; `live` brings the rest
            self.runtime.hub.change(client, selection, client.delivery)
            await self._send(messages.SubscriptionConfirmed(metric_types=metric_types, ref=message.ref))

    async def _unsubscribe(self, message: messages.Unsubscribe) -> None:
        # Whoever gives up everything keeps nothing, not even what it had to name to get.
        unwanted = expand(message.metric_types, self.access.metric_types, self.access.metric_types)
        await self._session.settle()
        client, hub = self._client, self.runtime.hub
        metric_types = self._in_order(frozenset(client.selection.metric_types) - unwanted)
        hub.change(client, replace(client.selection, metric_types=metric_types), client.delivery)
        position = hub.position_reached_by(client)
        await self._send(
            messages.SubscriptionConfirmed(metric_types=metric_types, position=position or UNSET, ref=message.ref)
        )

    async def _set_filters(self, message: messages.SetFilters) -> None:
        client = self._client
        filters = check_filters(message.filters, max_terms=self.runtime.settings.max_filter_terms)
        self.runtime.hub.change(client, replace(client.selection, filters=filters), client.delivery)
        await self._send(messages.FiltersUpdated(filters=filters, ref=message.ref))

    async def _set_update_interval(self, message: messages.SetUpdateInterval) -> None:
        client = self._client
        interval = messages.clamp(message.interval_seconds, messages.INTERVAL_SECONDS)
        self.runtime.hub.change(client, client.selection, replace(client.delivery, interval_seconds=interval))
        await self._send(messages.UpdateIntervalSet(interval_seconds=interval, ref=message.ref))

    async def _set_batching(self, message: messages.SetBatching) -> None:
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
            messages.BatchingSet(
                batch_size=delivery.batch_size,
                batch_timeout_seconds=delivery.batch_timeout_seconds,
                mode=delivery.mode,
                ref=message.ref,
            )
        )

    async def _ping(self, message: messages.Ping) -> None:
        position = self.runtime.hub.position_reached_by(self._client) or UNSET
        now = format_timestamp(time.time())
        await self._send(messages.Pong(timestamp=now, position=position, ref=message.ref))

    async def _replay(self, message: messages.Replay) -> None:
        at = None if message.from_ is UNSET else parse_instant("from", message.from_)
        run = None if message.run is UNSET else message.run
        session = self._session
        await session.settle()
        # What may be seen now; when that changes before the replay has begun, `allow` ends it like one that plays.
        access = self.access
        session.begins_replay = True
        try:
            replay_source = await open_replay_source(self.runtime, access, run)
            await session.start_replay(replay_source, message, at, access.permit)
        finally:
            session.begins_replay = False

    async def _seek(self, message: messages.Seek) -> None:
        await self._session.seek(message, parse_instant("to", message.to))

    async def _pause(self, message: messages.Pause) -> None:
        await self._session.pause(message)

    async def _resume(self, message: messages.Resume) -> None:
        await self._session.resume(message)

    async def _live(self, message: messages.Live) -> None:
        if not self.access.is_live:
            raise ProtocolError(ErrorCode.INVALID_MESSAGE, "the link shows a test run, and nothing that is live")
        await self._session.live(message)

    @property
    def _client(self) -> Client:
        assert self.client is not None, "messages are handled only for clients that were taken in"
        return self.client

    @property
    def _session(self) -> Session:
        assert self.session is not None, "messages are handled only for clients that were taken in"
        return self.session


_HANDLERS: dict[type[messages.ClientMessage], Callable[[MetricsConsumer, Any], Awaitable[None]]] = {
    messages.Subscribe: MetricsConsumer._subscribe,
    messages.Unsubscribe: MetricsConsumer._unsubscribe,
    messages.SetFilters: MetricsConsumer._set_filters,
    messages.SetUpdateInterval: MetricsConsumer._set_update_interval,
    messages.SetBatching: MetricsConsumer._set_batching,
    messages.Ping: MetricsConsumer._ping,
    messages.Authenticate: MetricsConsumer._authenticate,
    messages.Replay: MetricsConsumer._replay,
    messages.Seek: MetricsConsumer._seek,
    messages.Pause: MetricsConsumer._pause,
    messages.Resume: MetricsConsumer._resume,
    messages.Live: MetricsConsumer._live,
}
