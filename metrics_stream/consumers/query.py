"""What the address of a WebSocket asks for: the preset of an admin, and the past that the client wants with it."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs

import msgspec
from channels.db import database_sync_to_async
from django.db import DatabaseError
from msgspec import UNSET

from metrics_stream.access.grants import Access
from metrics_stream.access.visibility import find_preset
from metrics_stream.consumers.past import Past
from metrics_stream.core.delivery.pending import Delivery
from metrics_stream.core.delivery.selection import Selection, check_filters
from metrics_stream.core.errors import ProtocolError
from metrics_stream.core.formatting import quote
from metrics_stream.core.metrics.catalogue import ALL
from metrics_stream.core.protocol import bounds, messages
from metrics_stream.core.protocol.codes import ErrorCode
from metrics_stream.models import ClientPreset
from metrics_stream.models.key_filters import read_terms

logger = logging.getLogger(__name__)

# In threads of their own: a new client must not wait for a page that takes long.
_look_up = database_sync_to_async(find_preset, thread_sensitive=False)

Query = dict[str, list[str]]
"""The query of an address as `parse_qs` returns it."""

_PAST_IN_QUERY = ("resume_from", "backfill_seconds", "max_points")


@dataclass(frozen=True, slots=True)
class Opening:
    """What a client begins with; without a preset nothing is subscribed and the default delivery is in force.

    `sends_newest` says whether the client gets the newest metrics of what it subscribes to. `wanted` are the metric
    types that the preset names, `all` included. `version` is that of the definitions, or an earlier one.
    """

    preset: str | None = None
    wanted: frozenset[str] = frozenset()
    selection: Selection = field(default_factory=Selection)
    delivery: Delivery = field(default_factory=Delivery)
    past: Past = field(default_factory=Past)
    sends_newest: bool = True
    version: int = -1

    def types_for(self, access: Access) -> frozenset[str]:
        """Return the metric types that the preset names, with those that `all` stands for."""
        return self.wanted.union(access.everything) if ALL in self.wanted else self.wanted


async def read_opening(query_string: bytes, access: Access, *, max_terms: int, version: int = -1) -> Opening:
    """Return what the query of an address asks for, as far as it is visible; raise ProtocolError for what is wrong."""
    query = parse_qs(query_string.decode("latin-1"))
    slug = query.get("preset", [""])[0]
    if not slug:
        return Opening()
    opening = await read_preset(slug, access, max_terms=max_terms)
    return replace(opening, past=_read_past(query), version=version)


async def read_preset(slug: str, access: Access, *, max_terms: int) -> Opening:
    """Return what a preset gives, as far as it is visible; raise ProtocolError as `_find_preset` or if it is broken."""
    preset = await _find_preset(slug, access)
    types, selection, delivery = _read_preset(preset, access, max_terms=max_terms)
    return Opening(preset.slug, types, selection, delivery, sends_newest=preset.sends_newest)


async def _find_preset(slug: str, access: Access) -> ClientPreset:
    """Return what is visible of a preset.

    Raise ProtocolError, for a preset of which nothing is visible as for one that does not exist.
    """
    try:
        preset = await _look_up(access, slug)
    except (DatabaseError, ValueError) as error:  # ValueError: a NUL in the slug
        logger.exception("the preset %r could not be read", slug)
        raise ProtocolError(ErrorCode.INTERNAL, "the preset could not be read; the default is in force") from error
    if preset is None:
        raise ProtocolError(ErrorCode.UNKNOWN_PRESET, f"unknown preset {quote(slug)}; the default delivery is in force")
    return preset


def _read_past(query: Query) -> Past:
    """Return what the query asks for of the past; raise ProtocolError for a value that is not a number."""
    values = {name: query[name][0] for name in _PAST_IN_QUERY if name in query}
    try:
        numbers = {name: float(values[name]) for name in ("backfill_seconds", "max_points") if name in values}
        if not all(map(math.isfinite, numbers.values())):
            raise ValueError("JSON has no such numbers")
    except ValueError as error:
        raise ProtocolError(
            ErrorCode.INVALID_MESSAGE, f"{quote(values)} in the address; they must be numbers"
        ) from error
    return Past.of(
        messages.Subscribe(
            resume_from=values.get("resume_from", UNSET),
            backfill_seconds=numbers.get("backfill_seconds", UNSET),
            max_points=int(numbers.get("max_points", bounds.DEFAULT_MAX_POINTS)),
        )
    )


def _read_preset(preset: ClientPreset, access: Access, *, max_terms: int) -> tuple[frozenset[str], Selection, Delivery]:
    """Return the types that a preset names, and what it asks for as far as it is visible.

    Raise ProtocolError for a broken preset.
    """
    try:
        types = msgspec.convert(preset.metric_types, frozenset[str])
        terms: dict[str, Any] = {
            "agent_ids": preset.agent_ids,
            "fields": preset.fields,
            "sources": preset.sources,
            "keys": read_terms(msgspec.convert(preset.keys, list[str])),
        }
        filters = msgspec.convert(terms, messages.Filters)
    except msgspec.ValidationError as error:
        logger.exception("the preset %r is broken", preset.slug)
        raise ProtocolError(
            ErrorCode.UNKNOWN_PRESET, f"the preset {preset.slug!r} is broken; the default delivery is in force"
        ) from error
    wanted = types.union(access.everything) if ALL in types else types
    delivery = Delivery.clamped(
        interval_seconds=preset.interval_seconds,
        batch_size=preset.batch_size,
        batch_timeout_seconds=preset.batch_timeout_seconds,
        mode=next((mode for mode in messages.MODES if mode == preset.mode), "all"),
    )
    metric_types = tuple(item for item in access.metric_types if item in wanted)
    return types, Selection(metric_types, check_filters(filters, max_terms=max_terms), access.live_permit), delivery
