"""The places of clients: how many connections a user, token or address has, over all server processes.

Each process counts its own and keeps these counts in Redis, where they expire soon after the process has ended, however
it ended. While Redis is away, the limits hold for each process alone.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from channels_redis.utils import create_pool
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from metrics_stream.conf import StreamSettings
from metrics_stream.limits.shared import TIMEOUT_SECONDS, asking, find_host

_SCRIPT = Path(__file__).with_name("places.lua").read_text()

# The places of a process that was killed come free after so long.
HOLD_SECONDS = 20
# The list of processes is kept so long after the last of them has renewed its places or taken one.
KEEP_SECONDS = 86_400
# A process renews its places this often; what it gives back meanwhile, others can take at once.
RENEW_SECONDS = 5.0
# So long it gathers what is given back, since many clients may leave at once.
GATHER_SECONDS = 0.1


class Places:
    """The places that the clients of this process take. For one event loop."""

    def __init__(self, settings: StreamSettings) -> None:
        """Connect at the first call. Without a shared channel layer this process is alone."""
        self._key = f"{settings.group_prefix}.limits.places"
        self._process = secrets.token_hex(8)
        self._own_key = f"{self._key}.{self._process}"
        self._host = find_host()
        self._client: Redis | None = None
        self._counts: Counter[str] = Counter()
        self._changed: set[str] = set()
        self._has_changed = asyncio.Event()
        # One call at a time: they set how many places there are.
        self._turn = asyncio.Lock()

    def count(self, owner: str) -> int:
        """Return how many places an owner has in this process."""
        return self._counts[owner]

    async def take(self, limits: Mapping[str, int]) -> str | None:
        """Take a place of each owner and return None, or take none and return whose places are all taken."""
        for owner, limit in limits.items():
            if self._counts[owner] >= limit:
                return owner
        self._counts.update(limits.keys())
        full = None
        try:
            full = await self._take_shared(limits)
        except asyncio.CancelledError:
            self.give_back(*limits)
            raise
        if full is not None:
            self.give_back(*limits)
        return full

    def give_back(self, *owners: str) -> None:
        """Give back a place of each owner."""
        for owner in owners:
            self._counts[owner] -= 1
            if self._counts[owner] <= 0:
                del self._counts[owner]
        if self._host is not None:
            self._changed.update(owners)
            self._has_changed.set()

    async def run(self) -> None:
        """Keep the places in Redis as they are here, until cancelled; then free them."""
        if self._host is None:
            return await asyncio.Event().wait()  # type: ignore[return-value]
        try:
            while True:
                try:
                    async with asyncio.timeout(RENEW_SECONDS):
                        await self._has_changed.wait()
                        await asyncio.sleep(GATHER_SECONDS)
                except TimeoutError:
                    pass
                await self._renew()
        finally:
            await self._leave()

    # --- Redis ---

    async def _take_shared(self, limits: Mapping[str, int]) -> str | None:
        if self._host is None or not limits:
            return None
        async with self._turn:
            claims = [part for owner, limit in limits.items() for part in (owner, self._counts[owner], limit)]
            index = await self._call("eval", _SCRIPT, 1, self._key, self._process, HOLD_SECONDS, *claims)
            if index is None:
                self._changed.update(limits)
        return list(limits)[index - 1] if index else None

    async def _renew(self) -> None:
        self._has_changed.clear()
        async with self._turn:
            changed, self._changed = self._changed, set()
            if not await self._write(changed):
                self._changed |= changed

    async def _write(self, changed: set[str]) -> bool:
        """Write the numbers of places of some owners; return False if that failed."""
        is_kept = await self._call("expire", self._own_key, HOLD_SECONDS)
        if is_kept is None:
            return False
        # The list of processes, too, when nobody takes a place for long.
        is_listed = await self._call("expire", self._key, KEEP_SECONDS)
        if is_listed is None:
            return False
        if not is_kept or not is_listed:
            # Redis was emptied, or did not hear of this process for too long.
            changed |= self._counts.keys()
        ended = [owner for owner in changed if owner not in self._counts]
        counts = {owner: self._counts[owner] for owner in changed if owner in self._counts}
        answers = []
        if ended:
            answers.append(await self._call("hdel", self._own_key, *ended))
        if counts:
            answers.append(await self._call("hset", self._own_key, mapping={"": 1, **counts}))
            answers.append(await self._call("expire", self._own_key, HOLD_SECONDS))
            answers.append(await self._call("hset", self._key, self._process, 1))
            answers.append(await self._call("expire", self._key, KEEP_SECONDS))
        return None not in answers

    async def _leave(self) -> None:
        if self._client is None:
            return
        try:
            await self._call("delete", self._own_key)
        finally:
            client, self._client = self._client, None
            await client.aclose(close_connection_pool=True)

    async def _call(self, command: str, *arguments: Any, **options: Any) -> Any:
        if asking.is_paused:
            return None
        if self._client is None:
            # Once again: a connection may have broken since the last call.
            host = {**(self._host or {}), "retry": Retry(NoBackoff(), 1), "socket_timeout": None}
            self._client = Redis(connection_pool=create_pool(host))
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                answer = await getattr(self._client, command)(*arguments, **options)
        except (RedisError, OSError, TimeoutError) as error:
            asking.note_failure(error)
            return None
        asking.note_success()
        return answer
