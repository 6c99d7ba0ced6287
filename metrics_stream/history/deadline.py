"""The deadline of calls to the channel layer and to the history in Redis, with one error for both."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from redis.exceptions import RedisError

from metrics_stream.core.errors import BusError, WrongNodeError
from metrics_stream.history.redis_errors import explain, is_of_wrong_node

T = TypeVar("T")


async def within(seconds: float, awaitable: Awaitable[T], action: str) -> T:
    """Return the result of `awaitable`; raise BusError when it fails or takes longer than `seconds`.

    The error is a WrongNodeError when the name of this Redis may belong to another one by now. `action` completes the
    message: "the channel layer could not publish".
    """
    try:
        async with asyncio.timeout(seconds):
            return await awaitable
    except TimeoutError as error:
        raise BusError(f"the channel layer took more than {seconds:g} s to {action}") from error
    except (RedisError, OSError) as error:
        kind = WrongNodeError if is_of_wrong_node(error) else BusError
        raise kind(f"the channel layer could not {action}: {explain(error)}") from error
