"""Send the past as columns, in parts that delay no live frame.

The columns come from `history/recent_series.py` or from the recording of a test run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import UNSET

from metrics_stream.consumers.sink import wait_until_idle
from metrics_stream.core.formatting import format_timestamp
from metrics_stream.core.metrics.keys import agent_of, parse_row
from metrics_stream.core.protocol.message_parts import Series
from metrics_stream.core.protocol.messages import Backfill
from metrics_stream.core.protocol.parsing import encode
from metrics_stream.core.protocol.prepared_message import PreparedMessage
from metrics_stream.core.series.columns import SeriesColumns, permitted_series
from metrics_stream.hub.clients import Client
from metrics_stream.hub.hub import Hub
from metrics_stream.pacing import Pace

# Columns of this many values go into one message: some 50 kB, which any client can take while live frames go on.
MAX_MESSAGE_VALUES = 4_000


async def send_backfill(
    client: Client,
    hub: Hub,
    series: Sequence[SeriesColumns],
    metric_types: tuple[str, ...],
    *,
    since: float,
    until: float,
    left_out: tuple[str, ...] = (),
) -> None:
    """Send series to one client; the last message says that it is the last, and of which types series are missing."""
    parts, pace = list(_parts(series)) or [[]], Pace()
    for number, part in enumerate(parts, 1):
        first = part[0] if part else None
        await wait_until_idle(client)
        message = Backfill(
            metric_types=metric_types,
            from_=format_timestamp(first.starts_at if first is not None else since),
            until=format_timestamp(until),
            bucket_seconds=first.bucket_seconds if first is not None else 1.0,
            # The client may see less now than when they were read.
            series=[_as_message(item) for item in permitted_series(part, client.selection.permit)],
            done=number == len(parts),
            left_out=left_out if left_out and number == len(parts) else UNSET,
        )
        hub.write_text(client, PreparedMessage(encode(message).encode()))
        await pace.pause_if_due()


def _parts(series: Sequence[SeriesColumns]) -> Iterable[list[SeriesColumns]]:
    part: list[SeriesColumns] = []
    values = 0
    for item in series:
        size = 4 * len(item.buckets)
        if part and (values + size > MAX_MESSAGE_VALUES or _grid(item) != _grid(part[0])):
            yield part
            part, values = [], 0
        part.append(item)
        values += size
    if part:
        yield part


def _grid(item: SeriesColumns) -> tuple[float, float]:
    return item.starts_at, item.bucket_seconds


def _as_message(item: SeriesColumns) -> Series:
    more: dict[str, Any] = {}
    if item.min != item.last or item.max != item.last:
        more |= {"min": item.min, "max": item.max}
    if item.row is not None and agent_of(item.row) is None:
        more["key"] = dict(parse_row(item.row))
    if item.percentile is not None:
        more |= {"percentile": item.percentile, "is_worst": item.is_worst}
    return Series(
        metric_type=item.metric_type,
        source=item.source,
        agent_id=agent_of(item.row),
        field=item.field,
        buckets=item.buckets,
        last=item.last,
        nulls=item.nulls,
        unit=item.unit,
        window_seconds=item.window_seconds,
        **more,
    )
