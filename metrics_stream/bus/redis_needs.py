"""Find what a Redis lacks or forbids of what the channel layer and the history need, before metrics are lost for it.

Each command is called once on a key or channel of its own, with the rights that metrics need. The script of the
history calls the same commands; Redis checks the rights of the user for them as if it had called them itself.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Iterable
from typing import Any

from channels.layers import get_channel_layer
from channels_redis.pubsub import RedisPubSubChannelLayer
from channels_redis.utils import create_pool, decode_hosts
from django.conf import settings as django_settings
from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError, ResponseError

from metrics_stream.conf import StreamSettings
from metrics_stream.core.errors import BusError
from metrics_stream.history.deadline import within
from metrics_stream.history.redis_errors import explain, is_forbidden, is_of_cluster

# The key and the channel of this look, below the names that metrics have.
_NAME = "check"

# The maxmemory-policy with which nothing that was accepted is dropped.
_REFUSES = "noeviction"

DATA_COMMANDS: tuple[tuple[Any, ...], ...] = (
    ("TIME",),
    ("HSET", "{hash}", "name", "value"),
    ("HGET", "{hash}", "name"),
    ("HGETALL", "{hash}"),
    ("HMGET", "{hash}", "name"),
    ("HKEYS", "{hash}"),
    ("HINCRBY", "{hash}", "count", 1),
    ("HDEL", "{hash}", "other"),
    ("ZADD", "{sorted}", 1, "name"),
    ("ZCARD", "{sorted}"),
    ("ZRANGE", "{sorted}", 0, 0),
    ("ZREVRANGE", "{sorted}", 0, 0),
    ("ZRANGEBYSCORE", "{sorted}", 0, 1),
    ("ZREM", "{sorted}", "other"),
    ("ZREMRANGEBYRANK", "{sorted}", 5, 6),
    ("ZREMRANGEBYSCORE", "{sorted}", 5, 6),
    ("XADD", "{stream}", "*", "name", "value"),
    ("XRANGE", "{stream}", "-", "+", "COUNT", 1),
    ("XTRIM", "{stream}", "MAXLEN", 0),
    ("SET", "{text}", "value"),
    ("GET", "{text}"),
    ("EXPIRE", "{text}", 60),
    ("DEL", "{text}"),
    ("UNLINK", "{hash}", "{sorted}", "{stream}"),
    ("EVAL", "return redis.call('TIME')", 0),
    ("EVALSHA", "0" * 40, 0),
)
"""All commands of the history, with arguments that leave nothing behind."""


def layer_is_pubsub() -> bool:
    """Return whether the channel layer is the one of channels_redis whose needs are known here."""
    return isinstance(get_channel_layer(), RedisPubSubChannelLayer)


class RedisNeeds:
    """Looks at the Redis of the channel layer, with connections of its own. For one event loop."""

    def __init__(self, settings: StreamSettings, *, has_history: bool) -> None:
        """`has_history`: whether there is a history, which needs keys and commands of its own."""
        self._layer_config = django_settings.CHANNEL_LAYERS["default"].get("CONFIG", {})
        self._prefix = settings.group_prefix
        self._layer_prefix = self._layer_config.get("prefix", "asgi")
        self._has_history = has_history
        self._timeout = settings.bus_timeout_seconds
        self._client: Redis | None = None

    async def find_missing(self, *, with_channels: bool) -> str | None:
        """Return, in one line, what Redis lacks or forbids; None if it is all there. Raise BusError as every call."""
        if self._client is None:
            # Several hosts have the same rights, or the channel layer says so when it uses them.
            self._client = Redis(connection_pool=create_pool(decode_hosts(self._layer_config.get("hosts"))[0]))
        try:
            return await within(self._timeout, self._find_missing(self._client, with_channels), "be looked at")
        except BusError:
            await self.close()
            raise

    async def find_eviction(self) -> str | None:
        """Return, in one line, how Redis drops metrics that it has accepted; None if it refuses new ones instead.

        None as well where Redis does not say it. Call `find_missing` first, which connects.
        """
        if not self._has_history or self._client is None:
            return None
        memory = await within(self._timeout, _answer(self._client.info("memory")), "be looked at")
        policy = memory.get("maxmemory_policy", _REFUSES) if isinstance(memory, dict) else _REFUSES
        if policy == _REFUSES:
            return None
        return (
            f"Redis drops metrics of the history when its memory is full, because its maxmemory-policy is {policy}; "
            f"set it to {_REFUSES}, with which publishing is refused instead and producers wait"
        )

    async def close(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose(close_connection_pool=True)

    async def _find_missing(self, client: Redis, with_channels: bool) -> str | None:
        found: list[str] = []
        try:
            if self._has_history:
                found += await _forbidden_data(client, f"{self._prefix}.history.{_NAME}")
            if with_channels:
                found += await _forbidden_channels(client, f"{self._layer_prefix}__group__{self._prefix}.{_NAME}")
                found += await _forbidden_channels(client, f"{self._layer_prefix}specific.{_NAME}")
        except RedisError as error:
            if is_of_cluster(error):
                return explain(error)
            raise
        if not found:
            return None
        names = {"keys": f"{self._prefix}.history*", "channels": f"{self._layer_prefix}*"}
        needs = ", ".join(need.format(**names) for need in dict.fromkeys(found))
        return f"Redis forbids {needs}; docs/deployment.md lists the rights that this application needs"


async def _forbidden_data(client: Redis, key: str) -> list[str]:
    names = {kind: f"{key}.{kind}" for kind in ("hash", "sorted", "stream", "text")}
    pipeline = client.pipeline(transaction=False)
    for command in DATA_COMMANDS:
        pipeline.execute_command(*(part.format(**names) if isinstance(part, str) else part for part in command))
    answers = await pipeline.execute(raise_on_error=False)
    return _forbidden(zip([str(command[0]) for command in DATA_COMMANDS], answers, strict=True))


async def _forbidden_channels(client: Redis, channel: str) -> list[str]:
    answers = [("PUBLISH", await _answer(client.publish(channel, "")))]
    answers.append(("PING", await _answer(client.ping())))
    async with client.pubsub() as subscription:
        for command in ("SUBSCRIBE", "UNSUBSCRIBE"):
            await subscription.execute_command(command, channel)
            answer = await _answer(subscription.parse_response())
            answers.append((command, answer))
            if isinstance(answer, Exception):
                break
    return _forbidden(answers)


async def _answer(call: Awaitable[Any]) -> Any:
    try:
        return await call
    except ResponseError as error:
        return error


def _forbidden(answers: Iterable[tuple[str, Any]]) -> list[str]:
    """Return what answers of Redis say about rights; raise the first error about anything else."""
    found = []
    for command, answer in answers:
        if not isinstance(answer, Exception) or isinstance(answer, NoScriptError):
            continue
        if not is_forbidden(answer):
            raise answer
        # Redis names neither the key nor the channel that it forbids, and says "a key" or "one of the keys".
        words = str(answer)
        if re.search(r"\bkeys?\b", words):
            found.append("the keys {keys}")
        elif re.search(r"\bchannels?\b", words):
            found.append("the channels {channels}")
        else:
            found.append(f"the command {command}")
    return found
