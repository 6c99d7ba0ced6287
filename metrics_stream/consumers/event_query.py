"""What the address of an event stream asks for: metric types and filters, when events leave, and where to resume."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated
from urllib.parse import urlencode

import msgspec
from msgspec import Meta

from metrics_stream.access.grants import Access
from metrics_stream.consumers.past import Past
from metrics_stream.consumers.query import Opening, read_opening
from metrics_stream.core.delivery.selection import Selection, check_filters, expand
from metrics_stream.core.errors import ProtocolError
from metrics_stream.core.formats.queries import Keys, ShortText
from metrics_stream.core.metrics.catalogue import ALL
from metrics_stream.core.protocol.bounds import INTERVAL_SECONDS
from metrics_stream.core.protocol.codes import ErrorCode
from metrics_stream.core.protocol.messages import Filters, Mode
from metrics_stream.core.protocol.positions import parse_position

Names = tuple[str, ...]
Interval = Annotated[float, Meta(ge=INTERVAL_SECONDS[0], le=INTERVAL_SECONDS[1])]
Position = Annotated[str, Meta(max_length=2_000)]


class StreamQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The parameters of an event stream."""

    preset: Annotated[
        ShortText | None, Meta(description="The slug of a preset; the other parameters replace its values.")
    ] = None
    types: Annotated[Names, Meta(description="Metric types with commas between them; without it, every one.")] = ()
    sources: Annotated[Names, Meta(description="Sources with commas between them; without it, every one.")] = ()
    agent_ids: Annotated[
        Names, Meta(description="Agents with commas between them. Metrics without agents are not affected.")
    ] = ()
    fields: Annotated[Names, Meta(description="Fields with commas between them; without it, every one.")] = ()
    keys: Keys = {}
    interval: Annotated[Interval | None, Meta(description="The shortest time between two events, in seconds.")] = None
    mode: Annotated[Mode | None, Meta(description="What comes if several metrics arrived since the last event.")] = None
    last_event_id: Annotated[
        Position | None,
        Meta(description="The id of the last event before, for clients that cannot send the header."),
    ] = None


async def read_stream_query(
    query: StreamQuery, access: Access, *, last_event_id: str | None, max_terms: int, version: int = -1
) -> tuple[Opening, Opening]:
    """Return what the preset gives, and what the client begins with, as far as they are visible.

    `version` is that of the definitions before the call. Raises ProtocolError for what is wrong.
    """
    preset = urlencode({"preset": query.preset or ""}).encode()
    opening = await read_opening(preset, access, max_terms=max_terms, version=version)
    filters = opening.selection.filters
    given = {name: getattr(query, name) for name in Filters.__struct_fields__ if getattr(query, name, None)}
    filters = check_filters(msgspec.structs.replace(filters, **given), max_terms=max_terms)
    metric_types, wanted = opening.selection.metric_types, opening.wanted
    if query.types or not metric_types:
        wanted = frozenset(map(str.lower, query.types or (ALL,)))
        known, problem = expand(query.types or (ALL,), access.metric_types, access.everything)
        if problem:
            raise ProtocolError(ErrorCode.UNKNOWN_METRIC_TYPE, problem)
        metric_types = access.visible_types(known)
    delivery = opening.delivery
    if query.interval is not None or query.mode is not None:
        delivery = replace(
            delivery,
            interval_seconds=delivery.interval_seconds if query.interval is None else query.interval,
            mode=query.mode or delivery.mode,
        )
    position = last_event_id or query.last_event_id
    past = Past() if not position else Past(resume_from=parse_position(position, name="Last-Event-ID"))
    selection = Selection(metric_types, filters, access.live_permit)
    return opening, replace(opening, wanted=wanted, selection=selection, delivery=delivery, past=past)
