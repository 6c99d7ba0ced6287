"""Calls to what is shared between processes, the channel layer and the history: each has a deadline.

Below bus and history, which raise the same error for the same Redis.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from redis.exceptions import RedisError

from metrics_stream.core.errors import BusError

T = TypeVar("T")


async def within(seconds: float, awaitable: Awaitable[T], what: str) -> T:
    """Return what is awaited; raise BusError saying `what` could not be done when it fails or takes longer."""
    try:
        async with asyncio.timeout(seconds):
            return await awaitable
    except TimeoutError as error:
        raise BusError(f"the channel layer took more than {seconds:g} s to {what}") from error
    except (RedisError, OSError) as error:
        # redis-py appends every sentinel's own words to its own, behind a colon.
        raise BusError(f"the channel layer could not {what}: {str(error).partition(' : ')[0]}") from error
