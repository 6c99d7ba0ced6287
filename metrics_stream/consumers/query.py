"""What the address of a socket asks for: a preset that an admin made, and what the client wishes of the past."""

from __future__ import annotations

import logging
import math
from typing import Any

import msgspec
from django.db import DatabaseError
from msgspec import UNSET

from metrics_stream.access.grants import Access
from metrics_stream.consumers.session import Past
from metrics_stream.core.delivery.pending import Delivery
from metrics_stream.core.delivery.selection import Selection, check_filters
from metrics_stream.core.errors import ProtocolError
from metrics_stream.core.formatting import quote
from metrics_stream.core.metrics.catalogue import ALL
from metrics_stream.core.protocol import messages
from metrics_stream.core.protocol.codes import ErrorCode
from metrics_stream.models import ClientPreset

logger = logging.getLogger(__name__)

Query = dict[str, list[str]]
"""The query of an address as `parse_qs` returns it."""

_PAST_IN_QUERY = ("resume_from", "backfill_seconds", "max_points")


async def find_preset(query: Query) -> ClientPreset | None:
    """Return the preset that an address names, None when it names none; ProtocolError when there is no such preset."""
    slug = query.get("preset", [""])[0]
    if not slug:
        return None
    try:
        preset = await ClientPreset.objects.filter(slug=slug).afirst()
    except (DatabaseError, ValueError) as error:  # ValueError: a NUL in the slug
        logger.exception("the preset %r could not be read", slug)
        raise ProtocolError(ErrorCode.INTERNAL, "the preset could not be read; the default is in force") from error
    if preset is None:
        raise ProtocolError(ErrorCode.UNKNOWN_PRESET, f"unknown preset {quote(slug)}; the default delivery is in force")
    return preset


def past_in(query: Query) -> Past:
    """Return what an address says of the past; ProtocolError for what is no number."""
    said = {name: query[name][0] for name in _PAST_IN_QUERY if name in query}
    try:
        numbers = {name: float(said[name]) for name in ("backfill_seconds", "max_points") if name in said}
        if not all(map(math.isfinite, numbers.values())):
            raise ValueError("JSON has no such numbers either")
    except ValueError as error:
        raise ProtocolError(ErrorCode.INVALID_MESSAGE, f"{quote(said)} in the address; they must be numbers") from error
    return Past.of(
        messages.Subscribe(
            resume_from=said.get("resume_from", UNSET),
            backfill_seconds=numbers.get("backfill_seconds", UNSET),
            max_points=int(numbers.get("max_points", messages.DEFAULT_MAX_POINTS)),
        )
    )


def wish_of(preset: ClientPreset, access: Access, *, max_terms: int) -> tuple[Selection, Delivery]:
    """Return what a preset asks for, as far as this client may see it; ProtocolError for one that is broken."""
    try:
        types = msgspec.convert(preset.metric_types, frozenset[str])
        terms: dict[str, Any] = {"agent_ids": preset.agent_ids, "fields": preset.fields, "sources": preset.sources}
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
    return Selection(metric_types, check_filters(filters, max_terms=max_terms), access.live_permit), delivery
