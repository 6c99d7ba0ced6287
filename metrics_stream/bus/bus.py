"""Both ends of the channel layer: producers publish, server processes listen. Every call has a deadline.

A group message carries a batch of metrics of one type. If there is a history, it takes the batch first, and the message
says where the batch stands in it; otherwise the numbers of the producer show what is missing or came twice.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import msgspec
from channels.layers import InMemoryChannelLayer, get_channel_layer

from metrics_stream.bus.messages import (
    CanaryMessage,
    Message,
    StatsRequest,
    ToProcesses,
    decode,
    encode,
    encode_publication,
)
from metrics_stream.bus.publication import ProducerNumbering, Publication, batches
from metrics_stream.core.delivery.explanation import Question
from metrics_stream.core.errors import BusError, NotSharedError, WrongNodeError
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.protocol.positions import Position
from metrics_stream.history import History, Placed
from metrics_stream.history.deadline import within

logger = logging.getLogger(__name__)

# Asynchronous code numbers its metrics per event loop. A forked child must not continue the numbers of its parent.
_numberings: WeakKeyDictionary[asyncio.AbstractEventLoop, ProducerNumbering] = WeakKeyDictionary()
os.register_at_fork(after_in_child=_numberings.clear)


class _Server:
    """Whether this process is a server, and the event loop on which its hub listens."""

    declared = False
    loop: asyncio.AbstractEventLoop | None = None


def declare_server() -> None:
    """Declare that this process serves the application, so that the in-memory layer reaches its clients."""
    _Server.declared = True


def listen_on(loop: asyncio.AbstractEventLoop | None) -> None:
    """Set the event loop on which the hub of this process listens; None when it stops."""
    _Server.loop = loop


def listening_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop on which the hub of this process listens; None if no hub does."""
    home = _Server.loop
    return home if home is not None and home.is_running() else None


def layer_is_shared() -> bool:
    """Return whether the channel layer connects processes; the in-memory layer serves a single one."""
    return not isinstance(get_channel_layer(), InMemoryChannelLayer)


def group_name(prefix: str, metric_type: str) -> str:
    """Return the channel-layer group of a metric type."""
    return f"{prefix}.{metric_type}"


class Bus:
    """The channel layer as producers and the hub use it. For one event loop; only a listener needs to `open` it."""

    def __init__(self, *, group_prefix: str, timeout_seconds: float, history: History | None = None) -> None:
        """`history` gets each batch before it is sent."""
        layer = get_channel_layer()
        if layer is None:
            raise BusError(
                "no channel layer is configured; set CHANNEL_LAYERS['default'], "
                "for example to {'BACKEND': 'channels.layers.InMemoryChannelLayer'}"
            )
        self._layer: Any = layer
        self._prefix = group_prefix
        self._timeout = timeout_seconds
        self._history = history
        self._channel: str | None = None

    @property
    def is_shared(self) -> bool:
        """Whether other processes receive what is published here."""
        return layer_is_shared()

    def check_reach(self) -> None:
        """Raise NotSharedError if nothing published in this process can reach a client."""
        if not self.is_shared and not _Server.declared:
            raise NotSharedError(
                "the in-memory channel layer serves one process, and the server is another one, so nothing would "
                "reach it. Set REDIS_URL for both (`python3 dev.py run` and `python3 dev.py manage …` do), "
                "or publish from inside the server"
            )

    # --- for producers ---

    async def publish(
        self,
        metrics: Sequence[Metric],
        *,
        owner: str = "",
        origin: str = "",
        idempotency_key: str | None = None,
        on_sent: Callable[[Sequence[Metric]], None] | None = None,
    ) -> None:
        """Send metrics to the groups of their types, in order; raise BusError when the layer fails or is too slow.

        `owner` names the token that they come with, whose share of the history they take; `origin` names the program
        that made them, by default this process. The same metrics published again with the same `idempotency_key`
        arrive once. `on_sent` is called with each batch once the layer has it.
        """
        self.check_reach()
        shared = _numberings.setdefault(asyncio.get_running_loop(), ProducerNumbering())
        if idempotency_key is not None:
            for index, batch in enumerate(batches(metrics)):
                # A history remembers only the last number of a producer, so each batch counts as a producer of its own.
                numbering = ProducerNumbering(f"{idempotency_key}.{index}.{len(batch)}", shared.known)
                await self.send(numbering.prepare(batch, owner=owner, origin=origin))
                shared.known = numbering.known
                if on_sent is not None:
                    on_sent(batch)
            return
        await self._call(shared.turn.acquire(), "publish what was published before")
        try:
            for batch in batches(metrics):
                await self.send(shared.prepare(batch, owner=owner, origin=origin))
                if on_sent is not None:
                    on_sent(batch)
        finally:
            shared.turn.release()

    def note_reached(self, position: Position) -> None:
        """Remember that the history has reached a position, which the next batch of this event loop confirms."""
        _numberings.setdefault(asyncio.get_running_loop(), ProducerNumbering()).reach(position)

    async def send(self, publication: Publication) -> None:
        """Send a publication, for the first time or again; raise BusError when the layer fails or is too slow."""
        self.check_reach()
        home = _Server.loop
        if self.is_shared or home is asyncio.get_running_loop():
            await self._send(publication)
        elif home is not None and home.is_running():
            # The in-memory layer is not thread-safe: only the loop that listens may put messages into it.
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._send(publication), home))
        else:
            # The server has had no client yet. There is no listener, but a later client reads the history.
            await self._append(publication)

    async def _send(self, publication: Publication) -> None:
        place = await self._append(publication)
        group = group_name(self._prefix, publication.metric_type)
        await self._call(self._layer.group_send(group, encode_publication(publication, place)), "publish")
        if self._history is not None and place is not None:
            self._history.note_accepted(publication.metrics, place)

    async def _append(self, publication: Publication) -> Placed | None:
        if self._history is None:
            return None
        numbering, metric_type = publication.numbering, publication.metric_type
        try:
            placed = await self._history.append(
                publication.metrics,
                payload=publication.payload,
                producer=numbering.id,
                number=publication.number,
                known=numbering.known,
                owner=publication.owner,
            )
        except WrongNodeError:
            # The layer must not stay on a Redis that was replaced either. Where the hub listens, the runtime does it,
            # since the groups have to be joined again.
            if listening_loop() is not asyncio.get_running_loop():
                await self.reset()
            raise
        numbering.learn(metric_type, placed.epoch, placed.first + len(publication.metrics))
        return placed

    # --- for the hub ---

    async def open(self) -> None:
        """Make the channel of this process and join the group of all server processes."""
        self._channel = await self._call(self._layer.new_channel(), "make a channel")
        await self.join_control()

    async def join(self, metric_type: str) -> None:
        """Join the group of a metric type; harmless if it is joined already."""
        await self._join(group_name(self._prefix, metric_type))

    async def _join(self, group: str) -> None:
        try:
            await self._call(self._layer.group_add(group, self._channel), "join a group")
        except RuntimeError as error:
            # `reset` was called meanwhile: the layer knows the channel of this process no more.
            raise BusError("the channel layer has dropped its connections, and no group can be joined yet") from error

    async def leave(self, metric_type: str) -> None:
        """Leave the group of a metric type."""
        await self._call(
            self._layer.group_discard(group_name(self._prefix, metric_type), self._channel), "leave a group"
        )

    async def close(self, metric_types: Iterable[str]) -> None:
        """Leave the groups of these types and the group of all server processes."""
        for group in [*(group_name(self._prefix, item) for item in metric_types), self._control_group]:
            await self._call(self._layer.group_discard(group, self._channel), "leave a group")

    async def reset(self) -> None:
        """Drop all connections and memberships, so that `open` starts afresh."""
        await self._call(self._layer.flush(), "drop its connections")

    async def join_control(self) -> None:
        """Join the group of all server processes, for requests to all of them."""
        await self._join(self._control_group)

    async def send_canary(self, number: int) -> None:
        """Send a numbered message over the layer to this process itself."""
        await self._call(self._layer.send(self._channel, encode(CanaryMessage(number))), "carry a canary")

    async def receive(self) -> Message | None:
        """Wait for the next message and return it; None for one that is malformed or of an unknown type."""
        content = await self._layer.receive(self._channel)
        try:
            return decode(content)
        except (msgspec.DecodeError, KeyError, TypeError) as error:
            # Only a program that does not use this module can send it; it must not stop the other messages.
            logger.warning("a malformed message on the channel layer is ignored: %s", error)
            return None

    # --- to all server processes ---

    @property
    def _control_group(self) -> str:
        # A metric type never contains a hyphen, so no type has this group.
        return f"{self._prefix}.control-all"

    async def reply_stats(self, request: StatsRequest, answer: dict[str, Any]) -> None:
        """Answer a request for statistics, or its question."""
        content = {"type": "stats.reply", "payload": msgspec.json.encode(answer)}
        await self._call(self._layer.send(request.reply_to, content), "answer a request")

    async def tell_processes(self, message: ToProcesses) -> None:
        """Send a message to every server process; raise BusError when the layer fails or is too slow."""
        await self._call(self._layer.group_send(self._control_group, encode(message)), "tell the server processes")

    async def gather_stats(self, *, wait_seconds: float) -> list[dict[str, Any]]:
        """Return the statistics of every server process that answers within `wait_seconds`."""
        # On the in-memory layer there is a single server process.
        return await self._request(None, wait_seconds, most_answers=None if self.is_shared else 1)

    async def ask_about_client(self, question: Question, *, wait_seconds: float) -> dict[str, Any] | None:
        """Return the answer of the process that has the client; None if no process answers within `wait_seconds`."""
        answers = await self._request(question, wait_seconds, most_answers=1)
        return answers[0] if answers else None

    async def _request(
        self, question: Question | None, wait_seconds: float, *, most_answers: int | None
    ) -> list[dict[str, Any]]:
        self.check_reach()
        channel = await self._call(self._layer.new_channel(), "make a channel")
        request = encode(StatsRequest(channel, question))
        await self._call(self._layer.group_send(self._control_group, request), "ask the server processes")
        answers: list[dict[str, Any]] = []
        try:
            async with asyncio.timeout(wait_seconds) as limit:
                # Until it is cancelled: a layer forgets the channel only when a wait on it is cancelled.
                while True:
                    content = await self._layer.receive(channel)
                    answers.append(msgspec.json.decode(content["payload"]))
                    if len(answers) == most_answers:
                        limit.reschedule(0)
        except TimeoutError:
            return answers

    async def _call(self, awaitable: Awaitable[Any], action: str) -> Any:
        return await within(self._timeout, awaitable, action)
