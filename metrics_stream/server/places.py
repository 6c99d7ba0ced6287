"""The places of one server: how many connections it may hold, and which of them give theirs up first.

A connection that waits for its client (no complete request yet, or an idle one) costs the client nothing and the server
a file. When all places are taken, the one that has waited longest is ended, so that those who send nothing cannot keep
out those who do.
"""

from __future__ import annotations

from typing import Any, Protocol
from weakref import WeakKeyDictionary

from uvicorn.server import ServerState

# Of all places, those that sockets leave to pages and programs: one in ten, at most as many.
PAGES_SHARE = 10
PAGES_MOST = 500

# Connections over the limit, which are accepted to be answered 503: one in four, at most as many. `manage.py serve`
# keeps more files than that in reserve.
OVER_SHARE = 4
OVER_MOST = 125


class Waiting(Protocol):
    """A connection that can be ended while it waits for its client."""

    def give_way(self) -> None:
        """End, since another connection needs the place."""


class Places:
    """The places of the connections of one server; `limit` None means any number."""

    def __init__(self, connections: set[Any], limit: int | None) -> None:
        self._connections = connections
        self._limit = limit
        # In the order in which they began to wait.
        self._waiting: dict[Waiting, None] = {}
        self._sockets: set[object] = set()

    def wait(self, connection: Waiting) -> None:
        """Note that a connection waits for its client; one that waits already keeps its turn."""
        self._waiting.setdefault(connection)

    def proceed(self, connection: Waiting) -> None:
        """Note that a connection does not wait any longer, or is lost."""
        self._waiting.pop(connection, None)

    def take_in(self, newcomer: Waiting) -> None:
        """Make room for a new connection when even the places of those that are only answered 503 are taken."""
        if self._limit is None:
            return
        over = min(OVER_MOST, self._limit // OVER_SHARE)
        while len(self._connections) > self._limit + over and self._end_oldest(newcomer):
            pass

    def take_request(self, connection: Waiting) -> bool:
        """Return whether a connection with a complete request has a place."""
        return self._limit is None or self._make_room(self._limit - 1, connection)

    def take_socket(self, socket: object) -> int | None:
        """Give a place to a socket and return None, or return how many sockets have all of them."""
        if self._limit is not None:
            most = self._limit - min(PAGES_MOST, self._limit // PAGES_SHARE)
            if len(self._sockets) >= most:
                return most
            if not self._make_room(self._limit, None):
                return self._limit
        self._sockets.add(socket)
        return None

    def leave_socket(self, socket: object) -> None:
        """Free the place of a socket, if it has one."""
        self._sockets.discard(socket)

    def _make_room(self, most: int, own: Waiting | None) -> bool:
        while len(self._connections) > most:
            if not self._end_oldest(own):
                return False
        return True

    def _end_oldest(self, spared: Waiting | None) -> bool:
        oldest = next((each for each in self._waiting if each is not spared), None)
        if oldest is None:
            return False
        del self._waiting[oldest]
        # The loop reports its end later.
        self._connections.discard(oldest)
        oldest.give_way()
        return True


_places: WeakKeyDictionary[ServerState, Places] = WeakKeyDictionary()


def places_of(state: ServerState, limit: int | None) -> Places:
    """Return the places of a server; `limit` counts at the first call."""
    found = _places.get(state)
    if found is None:
        found = _places[state] = Places(state.connections, limit)
    return found
