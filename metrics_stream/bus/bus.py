"""Both ends of the channel layer: group names, envelope, publish, listen. Every call has a deadline.

One group message carries a batch of metrics as one msgpack blob: the in-memory layer deep-copies what it is given, and
a blob is copied for free. Where there is a history, it takes the metrics first, and the message says where they stand
in it; otherwise the producer's number says what is missing or came twice.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import msgspec
from channels.layers import InMemoryChannelLayer, get_channel_layer

from metrics_stream.bus.publication import ProducerNumbering, Publication, batches
from metrics_stream.core.delivery.explanation import Question
from metrics_stream.core.errors import BusError, NotSharedError
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.history import History, Placed
from metrics_stream.history.deadline import within

logger = logging.getLogger(__name__)

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Metric]).decode
_decode_question = msgspec.msgpack.Decoder(Question).decode


@dataclass(frozen=True, slots=True)
class StatsRequest:
    """Somebody asks every server process for its statistics, or whichever has a client a question about it."""

    reply_to: str
    question: Question | None = None


@dataclass(frozen=True, slots=True)
class AccessChanged:
    """Somebody may see more or less than before, or is signed out."""


@dataclass(frozen=True, slots=True)
class CloseClient:
    """A client, whichever process it is connected to, has to go."""

    client_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class CanaryMessage:
    """A message of this process to itself came back."""

    number: int


@dataclass(frozen=True, slots=True)
class Published:
    """Metrics of one type that were published at once.

    `number` counts what their producer published of the type before; without one, nothing is known of their producer.
    `place` is where they stand in the history, None where there is none.
    """

    metrics: list[Metric]
    producer: str = ""
    number: int | None = None
    place: Placed | None = None


Message = Published | StatsRequest | AccessChanged | CloseClient | CanaryMessage


# What asynchronous code publishes is numbered by event loop. A forked child must not go on with its parent's numbers.
_numberings: WeakKeyDictionary[asyncio.AbstractEventLoop, ProducerNumbering] = WeakKeyDictionary()
os.register_at_fork(after_in_child=_numberings.clear)


class _Server:
    """Whether a server runs in this process, and the event loop on which its hub listens."""

    declared = False
    loop: asyncio.AbstractEventLoop | None = None


def declare_server() -> None:
    """Say that this process serves the application, so that the in-memory layer reaches its clients."""
    _Server.declared = True


def listen_on(loop: asyncio.AbstractEventLoop | None) -> None:
    """Say on which event loop the hub of this process listens."""
    _Server.loop = loop


def listening_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop on which the hub of this process listens, None where no hub does."""
    home = _Server.loop
    return home if home is not None and home.is_running() else None


def layer_is_shared() -> bool:
    """Return whether the channel layer joins processes; the in-memory one serves a single process."""
    return not isinstance(get_channel_layer(), InMemoryChannelLayer)


def group_name(prefix: str, metric_type: str) -> str:
    """Return the channel-layer group of a metric type."""
    return f"{prefix}.{metric_type}"


class Bus:
    """The channel layer as producers and the hub use it. Made per event loop; opening it is the listener's business."""

    def __init__(self, *, group_prefix: str, timeout_seconds: float, history: History | None = None) -> None:
        """`history` takes what is published before it is sent."""
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
        """True when other processes hear what is published here."""
        return layer_is_shared()

    def check_reach(self) -> None:
        """Raise NotShared when nothing published from this process can reach a client."""
        if not self.is_shared and not _Server.declared:
            raise NotSharedError(
                "the in-memory channel layer serves one process, and the server is another one, so nothing would "
                "reach it. Set REDIS_URL for both (`python3 dev.py run` and `python3 dev.py manage …` do), "
                "or publish from inside the server"
            )

    # --- the producers' end ---

    async def publish(
        self,
        metrics: Sequence[Metric],
        *,
        once: str | None = None,
        on_sent: Callable[[Sequence[Metric]], None] | None = None,
    ) -> None:
        """Send metrics to the groups of their types, in order; raise BusError when the layer fails or is too slow.

        Published again under the same name, `once`, the same metrics arrive once. `on_sent` hears of each part that
        has been taken.
        """
        self.check_reach()
        shared = _numberings.setdefault(asyncio.get_running_loop(), ProducerNumbering())
        if once is not None:
            for index, batch in enumerate(batches(metrics)):
                # A history remembers the last number of a producer: so each part is a producer with one number.
                numbering = ProducerNumbering(f"{once}.{index}.{len(batch)}", shared.known)
                await self.send(numbering.prepare(batch))
                shared.known = numbering.known
                _tell(on_sent, batch)
            return
        await self._call(shared.turn.acquire(), "publish what was published before")
        try:
            for batch in batches(metrics):
                await self.send(shared.prepare(batch))
                _tell(on_sent, batch)
        finally:
            shared.turn.release()

    async def send(self, publication: Publication) -> None:
        """Send a publication, for the first time or again; raise BusError when the layer fails or is too slow."""
        self.check_reach()
        home = _Server.loop
        if self.is_shared or home is asyncio.get_running_loop():
            await self._send(publication)
        elif home is not None and home.is_running():
            # The in-memory layer is not thread-safe: only the loop that listens may put something into it.
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._send(publication), home))
        else:
            # The server has had no client yet: nobody to send to, but somebody may come.
            await self._append(publication)

    async def _send(self, publication: Publication) -> None:
        placed = await self._append(publication)
        message = {
            "type": "metrics.publish",
            "payload": publication.payload,
            "producer": publication.numbering.id,
            "number": publication.number,
        }
        if placed is not None:
            message["place"] = tuple(placed)
        group = group_name(self._prefix, publication.metric_type)
        await self._call(self._layer.group_send(group, message), "publish")

    async def _append(self, publication: Publication) -> Placed | None:
        if self._history is None:
            return None
        numbering, metric_type = publication.numbering, publication.metric_type
        placed = await self._history.append(
            publication.metrics,
            payload=publication.payload,
            producer=numbering.id,
            number=publication.number,
            known=numbering.known,
        )
        numbering.learn(metric_type, placed.epoch, placed.first + len(publication.metrics))
        return placed

    # --- the hub's end ---

    async def open(self) -> None:
        """Make this process's channel and hear requests for statistics on it."""
        self._channel = await self._call(self._layer.new_channel(), "make a channel")
        await self.join_control()

    async def join(self, metric_type: str) -> None:
        """Hear a metric type; harmless when it is heard already."""
        await self._call(self._layer.group_add(group_name(self._prefix, metric_type), self._channel), "join a group")

    async def leave(self, metric_type: str) -> None:
        """Hear a metric type no more."""
        await self._call(
            self._layer.group_discard(group_name(self._prefix, metric_type), self._channel), "leave a group"
        )

    async def close(self, metric_types: Iterable[str]) -> None:
        """Leave these groups and the one of requests; what is already away leaves nothing to do."""
        for group in [*(group_name(self._prefix, item) for item in metric_types), self._control_group]:
            await self._call(self._layer.group_discard(group, self._channel), "leave a group")

    async def reset(self) -> None:
        """Drop all connections and memberships, so that `open` begins anew."""
        await self._call(self._layer.flush(), "drop its connections")

    async def join_control(self) -> None:
        """Hear requests to all server processes."""
        await self._call(self._layer.group_add(self._control_group, self._channel), "join a group")

    async def send_canary(self, number: int) -> None:
        """Send a numbered message over the layer to this process itself."""
        await self._call(self._layer.send(self._channel, {"type": "bus.canary", "number": number}), "carry a canary")

    async def receive(self) -> Message | None:
        """Wait for the next message and return what it holds; None for one that this version does not know."""
        message = await self._layer.receive(self._channel)
        read = _READERS.get(message.get("type"))
        try:
            return None if read is None else read(message)
        except (msgspec.DecodeError, KeyError, TypeError) as error:
            # Only what does not use this module can send it; it must not stop the others.
            logger.warning("a message that makes no sense is left out: %s", error)
            return None

    # --- statistics of all processes ---

    @property
    def _control_group(self) -> str:
        # A metric type never holds a hyphen, so this group is no type's.
        return f"{self._prefix}.control-all"

    async def reply_stats(self, request: StatsRequest, answer: dict[str, Any]) -> None:
        """Answer a request for statistics, or its question."""
        message = {"type": "stats.reply", "payload": msgspec.json.encode(answer)}
        await self._call(self._layer.send(request.reply_to, message), "answer a request")

    async def tell_processes(self, message: AccessChanged | CloseClient) -> None:
        """Tell every server process; raise BusError when the layer fails or is too slow."""
        match message:
            case AccessChanged():
                content: dict[str, Any] = {"type": "access.changed"}
            case CloseClient(client_id, reason):
                content = {"type": "client.close", "client_id": client_id, "reason": reason}
        await self._call(self._layer.group_send(self._control_group, content), "tell the server processes")

    async def gather_stats(self, *, wait_seconds: float) -> list[dict[str, Any]]:
        """Return the statistics of every server process that answers within `wait_seconds`."""
        # On the in-memory layer there is one, and nobody else to wait for.
        return await self._ask(None, wait_seconds, most_answers=None if self.is_shared else 1)

    async def ask_about_client(self, question: Question, *, wait_seconds: float) -> dict[str, Any] | None:
        """Return what the process that has a client answers; None when none says within `wait_seconds` that it has."""
        answers = await self._ask(question, wait_seconds, most_answers=1)
        return answers[0] if answers else None

    async def _ask(
        self, question: Question | None, wait_seconds: float, *, most_answers: int | None
    ) -> list[dict[str, Any]]:
        self.check_reach()
        channel = await self._call(self._layer.new_channel(), "make a channel")
        request: dict[str, Any] = {"type": "stats.request", "reply_to": channel}
        if question is not None:
            request["question"] = _encode(question)
        await self._call(self._layer.group_send(self._control_group, request), "ask the server processes")
        answers: list[dict[str, Any]] = []
        try:
            async with asyncio.timeout(wait_seconds) as limit:
                # Until it is cancelled: layers forget a channel of whoever gives up waiting on it, and only then.
                while True:
                    message = await self._layer.receive(channel)
                    answers.append(msgspec.json.decode(message["payload"]))
                    if len(answers) == most_answers:
                        limit.reschedule(0)
        except TimeoutError:
            return answers

    async def _call(self, awaitable: Awaitable[Any], what: str) -> Any:
        return await within(self._timeout, awaitable, what)


def _tell(on_sent: Callable[[Sequence[Metric]], None] | None, batch: Sequence[Metric]) -> None:
    if on_sent is not None:
        on_sent(batch)


def _published(message: dict[str, Any]) -> Published:
    place = message.get("place")
    return Published(
        _decode(message["payload"]),
        message.get("producer", ""),
        message.get("number"),
        None if place is None else Placed(*place),
    )


def _stats_request(message: dict[str, Any]) -> StatsRequest:
    question = message.get("question")
    return StatsRequest(message["reply_to"], None if question is None else _decode_question(question))


_READERS: dict[Any, Callable[[dict[str, Any]], Message]] = {
    "metrics.publish": _published,
    "stats.request": _stats_request,
    "access.changed": lambda _: AccessChanged(),
    "client.close": lambda message: CloseClient(message["client_id"], message["reason"]),
    "bus.canary": lambda message: CanaryMessage(message["number"]),
}
