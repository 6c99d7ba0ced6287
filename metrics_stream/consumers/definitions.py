"""Tells one client which metric types came, changed or went, and lets it follow the preset that it began with."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from metrics_stream.access.grants import Access
from metrics_stream.access.visibility import visible_catalogue
from metrics_stream.consumers.authentication import Authentication
from metrics_stream.consumers.query import Opening, read_preset
from metrics_stream.consumers.session import Send, Session
from metrics_stream.core.errors import ProtocolError
from metrics_stream.core.lru import LruDict
from metrics_stream.core.metrics.catalogue import ALL, Catalogue
from metrics_stream.core.protocol import messages
from metrics_stream.hub.clients import Client
from metrics_stream.hub.inspection import subscription_of
from metrics_stream.runtime.runtime import PerRuntime, Runtime

# What a preset gives of the delivery.
DELIVERY = ("interval_seconds", "batch_size", "batch_timeout_seconds", "mode")

# Clients with the same access see the same part of a preset; more than these are read more than once.
MAX_READ_PRESETS = 1_000


class PresetReader:
    """Reads a changed preset once for all clients with the same access."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._found: LruDict[Hashable, asyncio.Task[Opening]] = LruDict(MAX_READ_PRESETS)

    async def read(self, slug: str, access: Access) -> Opening:
        """Return what a preset gives now; raise ProtocolError."""
        key = (self._runtime.definitions.version, slug, access)
        task = self._found.use(key)
        if task is None:
            max_terms = self._runtime.settings.max_filter_terms
            task = self._found.put(key, asyncio.create_task(read_preset(slug, access, max_terms=max_terms)))
        return await asyncio.shield(task)


# Called with a runtime; the first client makes it.
preset_reader_of = PerRuntime(PresetReader)


class Definitions:
    """What one client knows of the metric types and of its preset."""

    def __init__(
        self,
        client: Client,
        runtime: Runtime,
        authentication: Authentication,
        session: Session,
        *,
        send: Send,
        opening: Opening,
        known: Catalogue,
    ) -> None:
        """`opening` is what the client began with, `known` are the metric types of before its access was looked up."""
        self._client = client
        self._runtime = runtime
        self._authentication = authentication
        self._session = session
        self._send = send
        self._opening = opening
        self._version = opening.version
        self._known = (known, authentication.access)
        self._turn = asyncio.Lock()

    async def follow(self) -> None:
        """Tell the client what has changed since the last call; cheap if nothing has."""
        async with self._turn:
            await self._tell_catalogue()
            await self._follow_preset()

    async def _tell_catalogue(self) -> None:
        before = self._known
        now = (self._runtime.settings.catalogue(), self._authentication.access)
        self._known = now
        if now[0] is before[0]:  # The answer to a changed access is `subscription_confirmed`.
            return
        known, described = _describe(*before), _describe(*now)
        if described == known:
            return
        changed = [item for slug, item in described.items() if known.get(slug) != item]
        await self._send(messages.CatalogueChanged(metric_types=now[1].metric_types, changed=changed))

    async def _follow_preset(self) -> None:
        version = self._runtime.definitions.version
        slug = self._opening.preset
        if slug is None or version == self._version:
            return
        self._version = version
        try:
            opening = await preset_reader_of(self._runtime).read(slug, self._authentication.access)
        except ProtocolError:
            return  # It was deleted, or is not visible any more: what it gave stays.
        before, self._opening = self._opening, opening
        if (opening.wanted, opening.selection, opening.delivery) != (before.wanted, before.selection, before.delivery):
            await self._continue_with(opening, before)

    async def _continue_with(self, opening: Opening, before: Opening) -> None:
        """Give the client what its preset gives now.

        What the client has set itself stays: what is in force of it is not what the preset gave.
        """
        session, access = self._session, self._authentication.access
        selection, delivery = self._client.selection, self._client.delivery
        followed = {
            name: getattr(opening.delivery, name)
            for name in DELIVERY
            if getattr(delivery, name) == getattr(before.delivery, name)
        }
        delivery = replace(delivery, **followed)
        if selection.filters == before.selection.filters:
            selection = replace(selection, filters=opening.selection.filters)
        everything = session.wants_all
        if selection.metric_types == access.visible_types(before.types_for(access)):
            selection = replace(selection, metric_types=access.visible_types(opening.types_for(access)))
            everything = ALL in opening.wanted
        await self._send(
            messages.SubscriptionChanged(
                subscription=subscription_of(selection, delivery, opening.preset),
                granted=subscription_of(opening.selection, opening.delivery, opening.preset),
            )
        )
        await session.follow(selection, delivery, everything=everything)


@lru_cache(maxsize=256)
def _describe(catalogue: Catalogue, access: Access) -> Mapping[str, Any]:
    """Return the description of each visible metric type, by slug; clients with the same access share it."""
    return {item["slug"]: item for item in visible_catalogue(access, catalogue)}
