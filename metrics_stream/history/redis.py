"""The history of an installation with several processes: in the Redis of the channel layer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from hashlib import blake2b, sha1
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

import msgspec
from channels_redis.utils import create_pool
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError

from metrics_stream.core.errors import BusError, WrongNodeError
from metrics_stream.core.metrics.keys import restore_rows
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.metrics.newest_rows import Kind
from metrics_stream.core.protocol.positions import HistoryBatch, Position
from metrics_stream.history.accepted import AcceptedBatches, LostReport
from metrics_stream.history.deadline import within
from metrics_stream.history.interface import (
    DEFAULT_PAGE_METRICS,
    PAGE_BYTES,
    ActiveRun,
    Bounds,
    Page,
    Placed,
    newest_of_each_key,
)
from metrics_stream.history.newest_kinds import OWNER_KINDS, SHARE_BYTES, SOURCE_KINDS, shares_of
from metrics_stream.history.redis_node import NodeWatch
from metrics_stream.history.taken import TakenBatches

T = TypeVar("T")

logger = logging.getLogger(__name__)

_FOLDER = Path(__file__).parent
_SCRIPT = (_FOLDER / "history.lua").read_text()
for _part in ("newest.lua", "failover.lua"):
    _SCRIPT = _SCRIPT.replace(f"-- Here stands {_part}.", (_FOLDER / _part).read_text())
_SCRIPT_ID = sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()

# Redis does one thing at a time: more calls at once would only cost more connections.
MAX_CALLS_AT_ONCE = 8

# What one call reads of the newest metrics: a few milliseconds of Redis' time.
NEWEST_PAGE_METRICS = 1_000
NEWEST_PAGE_BYTES = 1_000_000

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.decode
_decode_placed = msgspec.msgpack.Decoder(Placed).decode
_decode_batches = msgspec.msgpack.Decoder(list[HistoryBatch]).decode
_decode_batch = msgspec.msgpack.Decoder(HistoryBatch).decode
_decode_parts = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_decode_report = msgspec.msgpack.Decoder(LostReport).decode
_decode_runs = msgspec.msgpack.Decoder(tuple[ActiveRun, ...]).decode


class _Reached(NamedTuple):
    """How far a page reaches in one type: to `offset`, on the last page to `limit`; `lost` is -1 if unknown."""

    metric_type: str
    offset: int
    lost: int
    limit: int


_decode_page = msgspec.msgpack.Decoder(tuple[str, bool, list[_Reached]]).decode
_decode_newest_page = msgspec.msgpack.Decoder(tuple[str, list[tuple[str, int]]]).decode


class _Link(NamedTuple):
    """The connections of one event loop."""

    client: Redis
    reading: asyncio.Semaphore
    nodes: NodeWatch


class RedisHistory:
    """Streams in Redis. It can be used from several threads and event loops: each loop has its own connections."""

    def __init__(self, host: dict[str, Any], *, bounds: Bounds, prefix: str, timeout_seconds: float) -> None:
        """`host` is one of the channel layer's `hosts`, decoded."""
        # Retry once: a connection may have broken since the last call, and every call may be repeated. No socket
        # timeout, since every call here has a deadline, and with a timeout redis-py makes a task for each send.
        self._host = {"retry": Retry(NoBackoff(), 1), "socket_timeout": None, **host}
        self._prefix = f"{prefix}.history"
        self._timeout = timeout_seconds
        self._common = {
            "seconds": bounds.seconds,
            "metrics": bounds.metrics,
            "bytes": bounds.bytes,
            "mark_seconds": min(1.0, bounds.seconds / 64),
            "seed": secrets.token_hex(4),
            # The limits of the shares of a metric, in the order of `shares_of`.
            "share_kinds": [SOURCE_KINDS, OWNER_KINDS],
            "share_bytes": SHARE_BYTES,
        }
        self._accepted = AcceptedBatches()
        self._taken = TakenBatches(bounds.seconds)
        self._links: WeakKeyDictionary[asyncio.AbstractEventLoop, _Link] = WeakKeyDictionary()

    async def append(
        self,
        batch: Sequence[Metric],
        *,
        payload: bytes,
        producer: str,
        number: int,
        known: Position | None,
        owner: str = "",
    ) -> Placed:
        """Keep a batch; see History."""
        metric_type = batch[0].metric_type
        request = {
            "metric_type": metric_type,
            "count": len(batch),
            "number": number,
            **_known(known),
            "sources": list({metric.source for metric in batch}),
            "newest": _newest_in(batch, payload, owner),
            "owner": owner,
            **self._taken.claim(),
        }
        answer = await self._call_script("append", request, "keep metrics in the history", payload, producer=producer)
        placed = _decode_placed(answer)
        self._taken.note(placed.epoch)
        if self._accepted.follow(placed.epoch):
            # The metrics are kept: that the report fails must not fail the call. The next one repeats it.
            with contextlib.suppress(BusError):
                await self._report_lost(placed.epoch)
        return placed

    def note_accepted(self, batch: Sequence[Metric], placed: Placed) -> None:
        """Remember a batch of which its producer was told that it is accepted; see History."""
        self._accepted.note(batch, placed)

    async def _report_lost(self, epoch: str) -> None:
        for report in self._accepted.lost_before(epoch):
            request = {"field": f"{report.reporter}:{report.epoch}"}
            await self._call_script("report_lost", request, "report lost metrics", _encode(report))
        self._accepted.note_reported(epoch)

    async def lost_reports(self) -> list[LostReport]:
        """Return the reports on lost metrics; see History."""
        answer = await self._call_script("lost_reports", {}, "read the reports on lost metrics")
        return [_decode_report(value) for value in answer[1::2]]

    async def drop_lost_reports(self, reports: Sequence[LostReport]) -> None:
        """Forget reports that were counted; see History."""
        request = {"fields": [f"{report.reporter}:{report.epoch}" for report in reports]}
        await self._call_script("drop_lost_reports", request, "forget the reports on lost metrics")

    async def announce(self, installation: str, gone_seconds: float) -> list[str]:
        """Note that an installation uses this Redis; see History."""
        request = {"installation": installation, "gone_seconds": gone_seconds}
        found: list[bytes] = await self._call_script("announce", request, "announce this installation")
        return [item.decode() for item in found]

    async def clock(self) -> float:
        """Return the time of Redis; see History."""
        return msgspec.msgpack.decode(await self._call_script("clock", {}, "tell its time"), type=float)

    async def confirm(self, known: Position) -> None:
        """Begin a new epoch if a position is not reached; see History."""
        await self._call_script("confirm", _known(known), "compare a position with the history")

    async def heads(self, metric_types: Iterable[str]) -> Position:
        """Return where the types end; see History."""
        return await self._find_position("heads", list(metric_types))

    async def since_time(self, metric_types: Iterable[str], seconds_since_1970: float) -> Position:
        """Return the position before an instant; see History."""
        return await self._find_position("since_time", list(metric_types), instant=seconds_since_1970)

    async def _find_position(self, operation: str, metric_types: list[str], **options: float) -> Position:
        request = {"metric_types": metric_types, **options}
        epoch, offsets = _decode(await self._call_script(operation, request, "find a place in the history"))
        return Position(epoch, dict(zip(metric_types, offsets, strict=True)))

    async def since(
        self,
        position: Position,
        *,
        until: Position | None = None,
        is_past: bool = False,
        max_metrics: int = DEFAULT_PAGE_METRICS,
        max_bytes: int = PAGE_BYTES,
    ) -> Page:
        """Return the metrics after a position; see History."""
        limits = until.offsets if until is not None else {}
        request = {
            "epoch": position.epoch,
            "is_past": is_past,
            "until_epoch": until.epoch if until is not None else None,
            "types": [(item, offset, limits.get(item)) for item, offset in position.offsets.items()],
            "max_metrics": max_metrics,
            "max_bytes": max_bytes,
        }
        header, body = await self._call_script("since", request, "read the history")
        epoch, is_last, types = _decode_page(header)
        asked = position.offsets if position.epoch == epoch else {}
        limits = {item.metric_type: item.limit for item in types}
        found, unreadable = _batches_in(body)
        batches = [batch.after(asked.get(batch.metric_type, 0)).before(limits[batch.metric_type]) for batch in found]
        lost = {item.metric_type: item.lost if item.lost > 0 else None for item in types if item.lost}
        lost.update(dict.fromkeys(unreadable))
        return Page(batches, Position(epoch, {item.metric_type: item.offset for item in types}), is_last, lost)

    async def newest(self, metric_types: Iterable[str]) -> list[HistoryBatch]:
        """Return the newest metric of each key, read in pages; see History."""
        begin = [(item, 0) for item in metric_types]
        found: dict[Kind, HistoryBatch] = {}
        epoch, left = "", begin
        while left:
            request = {
                "epoch": epoch,
                "types": left,
                "max_metrics": NEWEST_PAGE_METRICS,
                "max_bytes": NEWEST_PAGE_BYTES,
            }
            header, body = await self._call_script("newest", request, "read the history")
            epoch_now, left = _decode_newest_page(header)
            if epoch_now != epoch:
                found.clear()
                epoch = epoch_now
            # A kind that gets a newer metric between two pages comes in both.
            found.update((batch.metrics[0].kind, batch) for batch in _batches_in(body)[0])
        return sorted(found.values(), key=lambda batch: (batch.order, batch.first))

    async def oldest_at(self, metric_types: Iterable[str]) -> float | None:
        """Return when the oldest metric was published; see History."""
        answer = await self._call_script("oldest_at", {"metric_types": list(metric_types)}, "read the history")
        return msgspec.msgpack.decode(answer, type=float | None)

    async def set_active_runs(self, runs: Sequence[ActiveRun]) -> None:
        """Set the runs in progress."""
        client = self._link().client
        key = f"{self._prefix}.runs"
        # An empty list, too: without the key it is unknown which runs are active.
        await self._call(client.set(key, _encode(list(runs))), "keep the active runs")

    async def active_runs(self) -> tuple[ActiveRun, ...] | None:
        """Return the runs in progress; see History."""
        answer = await self._call(self._link().client.get(f"{self._prefix}.runs"), "read the active runs")
        return _decode_runs(answer) if isinstance(answer, bytes) else None

    async def close(self) -> None:
        """Close the connections of this event loop."""
        link = self._links.pop(asyncio.get_running_loop(), None)
        if link is not None:
            await link.client.aclose(close_connection_pool=True)

    # --- calls to Redis ---

    async def _call_script(
        self, operation: str, request: dict[str, Any], action: str, *payload: bytes, producer: str | None = None
    ) -> Any:
        link = self._link()
        keys = [self._prefix, f"{self._prefix}.runs"]
        if producer is not None:
            keys.append(f"{self._prefix}.producer.{producer}")

        def arguments() -> tuple[Any, ...]:
            encoded = _encode({**self._common, "node": link.nodes.node, **request})
            return (len(keys), *keys, operation, encoded, *payload)

        call = _evaluate(link.client, arguments)
        # Publishing never waits behind readers.
        return await self._call(call if producer is not None else _in_turn(link, call), action)

    async def _call(self, call: Awaitable[T], action: str) -> T:
        try:
            return await within(self._timeout, call, action)
        except WrongNodeError:
            # The next call connects to the Redis that has the name then. Calls in progress find out by themselves.
            await self._link().client.connection_pool.disconnect(inuse_connections=False)
            raise

    def _link(self) -> _Link:
        loop = asyncio.get_running_loop()
        link = self._links.get(loop)
        if link is None:
            nodes = NodeWatch(self._prefix, self._host.get("redis_connect_func"))
            client = Redis(connection_pool=create_pool({**self._host, "redis_connect_func": nodes.arrive}))
            link = self._links[loop] = _Link(client, asyncio.Semaphore(MAX_CALLS_AT_ONCE), nodes)
            _before_close(loop, self.close)
        return link


async def _evaluate(client: Redis, arguments: Callable[[], tuple[Any, ...]]) -> Any:
    try:
        return await client.evalsha(_SCRIPT_ID, *arguments())
    except NoScriptError:
        # Encoded anew: the first call may have led to another Redis than before.
        return await client.eval(_SCRIPT, *arguments())


def _known(position: Position | None) -> dict[str, Any]:
    return {
        "known_epoch": position.epoch if position is not None else "",
        "known_offsets": position.offsets if position is not None else {},
    }


async def _in_turn(link: _Link, call: Coroutine[Any, Any, Any]) -> Any:
    try:
        async with link.reading:
            return await call
    finally:
        call.close()


def _batches_in(body: bytes) -> tuple[list[HistoryBatch], set[str]]:
    """Return the batches of an answer, and the types of batches that cannot be decoded.

    A batch that another program or version wrote must not hide the others, nor be read in vain again and again.
    """
    try:
        return [_restored(batch) for batch in _decode_batches(body)], set()
    except msgspec.MsgspecError:
        pass
    found: list[HistoryBatch] = []
    unreadable: set[str] = set()
    for part in _decode_parts(body):
        try:
            found.append(_restored(_decode_batch(part)))
        except msgspec.MsgspecError as error:
            metric_type = _decode(part)[0]
            logger.warning("a batch of %s in the history cannot be decoded and is ignored: %s", metric_type, error)
            unreadable.add(metric_type)
    return found, unreadable


def _restored(batch: HistoryBatch) -> HistoryBatch:
    """Return a batch with the metrics as they are written today, also one that an earlier version wrote."""
    metrics = restore_rows(batch.metrics)
    return batch if metrics is batch.metrics else msgspec.structs.replace(batch, metrics=metrics)


def _newest_in(
    batch: Sequence[Metric], payload: bytes, owner: str
) -> list[tuple[str, int, int, int, str, list[str], str]]:
    """Return a short name of each key, and of its newest metric index, start, length, source, shares and rows.

    Shares and rows are short names, too; those of rows are joined.
    """
    lengths = [len(memoryview(part)) for part in _decode_parts(payload)]
    starts = list(accumulate(lengths, initial=len(payload) - sum(lengths)))
    return [
        (
            blake2b(_encode(key[1:]), digest_size=12).hexdigest(),
            *(index, starts[index], lengths[index]),
            batch[index].source,
            [blake2b(_encode(share), digest_size=8).hexdigest() for share in shares_of(owner, batch[index].source)],
            _pack_rows(batch[index]),
        )
        for key, index in newest_of_each_key(batch).items()
    ]


def _pack_rows(metric: Metric) -> str:
    place = _encode(metric.source)
    return "".join([blake2b(place + row.encode(), digest_size=6).hexdigest() for row in dict.fromkeys(metric.rows)])


def _before_close(loop: asyncio.AbstractEventLoop, action: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `action` on a loop when it is closed, as channels_redis does: plain code closes a loop without notice."""
    close = loop.close

    def closing() -> None:
        loop.close = close  # type: ignore[method-assign]
        if not (loop.is_running() or loop.is_closed()):
            loop.run_until_complete(action())
        close()

    loop.close = closing  # type: ignore[method-assign]
