"""The history of an installation of several processes: in the Redis that carries the channel layer."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine, Iterable, Sequence
from hashlib import blake2b, sha1
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import msgspec
from channels_redis.utils import create_pool
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, OutOfMemoryError

from metrics_stream.core.errors import BusError
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.protocol.positions import HistoryBatch, Position
from metrics_stream.history.deadline import within
from metrics_stream.history.interface import (
    PAGE_BYTES,
    PAGE_METRICS,
    ActiveRun,
    Bounds,
    Page,
    Placed,
    newest_of_each_key,
)

logger = logging.getLogger(__name__)

_SCRIPT = Path(__file__).with_name("history.lua").read_text()
_SCRIPT_ID = sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()

# Redis does one thing at a time: more questions at once would only cost more connections.
MAX_QUESTIONS_AT_ONCE = 8

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.decode
_decode_placed = msgspec.msgpack.Decoder(Placed).decode
_decode_stretches = msgspec.msgpack.Decoder(list[HistoryBatch]).decode
_decode_stretch = msgspec.msgpack.Decoder(HistoryBatch).decode
_decode_parts = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_decode_runs = msgspec.msgpack.Decoder(tuple[ActiveRun, ...]).decode


class _Reached(NamedTuple):
    """How far a page came in one type: to `offset`, or to `limit` where it is the last one; -1 lost is unknown."""

    metric_type: str
    offset: int
    lost: int
    limit: int


_decode_page = msgspec.msgpack.Decoder(tuple[str, bool, list[_Reached]]).decode


class _Link(NamedTuple):
    client: Redis
    questions: asyncio.Semaphore


class RedisHistory:
    """Streams in Redis. For all threads and event loops of a process: each loop has connections of its own."""

    def __init__(self, host: dict[str, Any], *, bounds: Bounds, prefix: str, timeout_seconds: float) -> None:
        """Take `host` as the channel layer does: one of its `hosts`, decoded."""
        # A connection may have broken since the last call, and everything may be asked twice. Every call has a deadline
        # here; with one of its own, redis-py makes a task of each send.
        self._host = {"retry": Retry(NoBackoff(), 1), "socket_timeout": None, **host}
        self._prefix = f"{prefix}.history"
        self._timeout = timeout_seconds
        self._question = {
            "seconds": bounds.seconds,
            "metrics": bounds.metrics,
            "bytes": bounds.bytes,
            "mark_seconds": min(1.0, bounds.seconds / 64),
            "seed": secrets.token_hex(4),
        }
        self._links: WeakKeyDictionary[asyncio.AbstractEventLoop, _Link] = WeakKeyDictionary()

    async def append(
        self, batch: Sequence[Metric], *, payload: bytes, producer: str, number: int, known: Position | None
    ) -> Placed:
        """Keep a batch."""
        metric_type = batch[0].metric_type
        question = {
            "metric_type": metric_type,
            "count": len(batch),
            "number": number,
            "known_epoch": known.epoch if known is not None else "",
            "known_offsets": known.offsets if known is not None else {},
            "sources": list({metric.source for metric in batch}),
            "newest": _newest_in(batch, payload),
        }
        answer = await self._ask("append", question, "keep metrics in the history", producer, payload)
        return _decode_placed(answer)

    async def heads(self, metric_types: Iterable[str]) -> Position:
        """Return where the types end."""
        return await self._place("heads", list(metric_types))

    async def since_time(self, metric_types: Iterable[str], seconds_since_1970: float) -> Position:
        """Return the place before an instant."""
        return await self._place("since_time", list(metric_types), instant=seconds_since_1970)

    async def _place(self, operation: str, metric_types: list[str], **question: float) -> Position:
        asked = {"metric_types": metric_types, **question}
        epoch, offsets = _decode(await self._ask(operation, asked, "find a place in the history"))
        return Position(epoch, dict(zip(metric_types, offsets, strict=True)))

    async def since(
        self,
        position: Position,
        *,
        until: Position | None = None,
        max_metrics: int = PAGE_METRICS,
        max_bytes: int = PAGE_BYTES,
    ) -> Page:
        """Return what came after a position."""
        limits = until.offsets if until is not None else {}
        question = {
            "epoch": position.epoch,
            "until_epoch": until.epoch if until is not None else None,
            "types": [(item, offset, limits.get(item)) for item, offset in position.offsets.items()],
            "max_metrics": max_metrics,
            "max_bytes": max_bytes,
        }
        header, body = await self._ask("since", question, "read the history")
        epoch, is_last, types = _decode_page(header)
        asked = position.offsets if position.epoch == epoch else {}
        limits = {item.metric_type: item.limit for item in types}
        found, unreadable = _stretches_in(body)
        batches = [batch.after(asked.get(batch.metric_type, 0)).before(limits[batch.metric_type]) for batch in found]
        lost = {item.metric_type: item.lost if item.lost > 0 else None for item in types if item.lost}
        lost.update(dict.fromkeys(unreadable))
        return Page(batches, Position(epoch, {item.metric_type: item.offset for item in types}), is_last, lost)

    async def newest(self, metric_types: Iterable[str]) -> list[HistoryBatch]:
        """Return the newest of each key."""
        answer = await self._ask("newest", {"metric_types": list(metric_types)}, "read the history")
        return sorted(_stretches_in(answer)[0], key=lambda batch: (batch.order, batch.first))

    async def oldest_at(self, metric_types: Iterable[str]) -> float | None:
        """Return when the oldest was published."""
        answer = await self._ask("oldest_at", {"metric_types": list(metric_types)}, "read the history")
        return msgspec.msgpack.decode(answer, type=float | None)

    async def set_active_runs(self, runs: Sequence[ActiveRun]) -> None:
        """Say which runs are going on."""
        client = self._link().client
        key = f"{self._prefix}.runs"
        call = client.set(key, _encode(list(runs))) if runs else client.delete(key)
        await within(self._timeout, call, "keep the active runs")

    async def active_runs(self) -> tuple[ActiveRun, ...]:
        """Return which runs are going on."""
        answer = await within(self._timeout, self._link().client.get(f"{self._prefix}.runs"), "read the active runs")
        return _decode_runs(answer) if isinstance(answer, bytes) else ()

    async def close(self) -> None:
        """Close the connections of this event loop."""
        link = self._links.pop(asyncio.get_running_loop(), None)
        if link is not None:
            await link.client.aclose(close_connection_pool=True)

    # --- talking to Redis ---

    async def _ask(
        self, operation: str, question: dict[str, Any], what: str, producer: str | None = None, *payload: bytes
    ) -> Any:
        link = self._link()
        keys = [self._prefix, f"{self._prefix}.runs"]
        if producer is not None:
            keys.append(f"{self._prefix}.producer.{producer}")
        arguments = (len(keys), *keys, operation, _encode({**self._question, **question}), *payload)
        call = _evaluate(link.client, arguments)
        try:
            # What is published never waits behind those who read.
            return await within(self._timeout, call if producer is not None else _in_turn(link, call), what)
        except BusError as error:
            if isinstance(error.__cause__, OutOfMemoryError):
                raise BusError(
                    f"the channel layer could not {what}: Redis has no memory left; give it more, or lower "
                    "HISTORY_SECONDS, HISTORY_METRICS or HISTORY_BYTES"
                ) from error
            raise

    def _link(self) -> _Link:
        loop = asyncio.get_running_loop()
        link = self._links.get(loop)
        if link is None:
            client = Redis(connection_pool=create_pool(self._host))
            link = self._links[loop] = _Link(client, asyncio.Semaphore(MAX_QUESTIONS_AT_ONCE))
            _before_close(loop, self.close)
        return link


async def _evaluate(client: Redis, arguments: tuple[Any, ...]) -> Any:
    try:
        return await client.evalsha(_SCRIPT_ID, *arguments)
    except NoScriptError:
        return await client.eval(_SCRIPT, *arguments)


async def _in_turn(link: _Link, call: Coroutine[Any, Any, Any]) -> Any:
    try:
        async with link.questions:
            return await call
    finally:
        call.close()


def _stretches_in(body: bytes) -> tuple[list[HistoryBatch], set[str]]:
    """Return the stretches of an answer, and the types of those that cannot be read.

    One that some other program or version wrote must not hide what is beside it, nor be read in vain again and again.
    """
    try:
        return _decode_stretches(body), set()
    except msgspec.MsgspecError:
        pass
    found: list[HistoryBatch] = []
    unreadable: set[str] = set()
    for part in _decode_parts(body):
        try:
            found.append(_decode_stretch(part))
        except msgspec.MsgspecError as error:
            metric_type = _decode(part)[0]
            logger.warning("a stretch of %s in the history cannot be read and is left out: %s", metric_type, error)
            unreadable.add(metric_type)
    return found, unreadable


def _newest_in(batch: Sequence[Metric], payload: bytes) -> list[tuple[str, int, int, int, str]]:
    """Return for each key a short name of it, and the index, start, length and source of its newest metric."""
    lengths = [len(memoryview(part)) for part in _decode_parts(payload)]
    starts = list(accumulate(lengths, initial=len(payload) - sum(lengths)))
    return [
        (
            blake2b(_encode(key[1:]), digest_size=12).hexdigest(),
            *(index, starts[index], lengths[index]),
            batch[index].source,
        )
        for key, index in newest_of_each_key(batch).items()
    ]


def _before_close(loop: asyncio.AbstractEventLoop, action: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Do something on a loop when it is closed, as channels_redis does: nothing else tells who made only the loop."""
    close = loop.close

    def closing() -> None:
        loop.close = close  # type: ignore[method-assign]
        if not (loop.is_running() or loop.is_closed()):
            loop.run_until_complete(action())
        close()

    loop.close = closing  # type: ignore[method-assign]
