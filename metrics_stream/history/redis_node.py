"""Which Redis a connection leads to: a primary that sentinels or a name replaced must be noticed before it is used."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from redis.exceptions import NoPermissionError, ResponseError

_SCRIPT = Path(__file__).with_name("arrive.lua").read_text()
_RUN_ID = re.compile(r"^run_id:(\w+)", re.MULTILINE)

# After a move, the programs that publish have so long to say what the earlier Redis had taken of them. Server processes
# publish each second.
DOUBT_SECONDS = 3.0


class NodeWatch:
    """Notes at each new connection which Redis it leads to, here and in that Redis. For one event loop."""

    def __init__(self, state_key: str, connect: Callable[[Any], Awaitable[None]] | None) -> None:
        """`state_key` is that of the history; `connect` replaces what redis-py does with a new connection."""
        self._state_key = state_key
        self._connect = connect
        self.node = ""
        """The id of the Redis of the newest connection; empty if this user may not ask for it."""

    async def arrive(self, connection: Any) -> None:
        """Prepare a new connection of redis-py; raise RedisError if it cannot be used."""
        await (connection.on_connect() if self._connect is None else self._connect(connection))
        try:
            answer = await _ask(connection, "INFO", "server")
        except NoPermissionError:
            return
        except ResponseError as error:
            if "unknown command" in str(error):
                return
            raise
        found = _RUN_ID.search(answer.decode() if isinstance(answer, bytes) else str(answer))
        if found is not None:
            self.node = found[1]
            await _ask(connection, "EVAL", _SCRIPT, 1, self._state_key, self.node, DOUBT_SECONDS)


async def _ask(connection: Any, *command: Any) -> Any:
    await connection.send_command(*command)
    return await connection.read_response()
