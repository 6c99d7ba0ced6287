"""The turns of views: the clients of one user or token keep the event loop for a part of the time only.

A view whose owner has had its part waits; what is published meanwhile leaves with its next frame, as if its interval
were longer. Views that clients of several owners share, and clients without an owner, never wait.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

from metrics_stream.hub.clients import Client, View

# After the frames of a view, those of the same owner wait for so many times as long as that took.
PAUSES = 3.0
# Views with a turn that no client has any more are forgotten when there are more than this.
MAX_PROMISED = 256


@dataclass(slots=True)
class _Account:
    """What the views of one owner have taken."""

    clients: int = 0
    free_at: float = 0.0
    seconds: float = 0.0
    """How long the frames of a view take, a moving average."""
    promised: set[View] = field(default_factory=set)


class OwnerTurns:
    """Tells when the frames of a view may leave."""

    def __init__(self) -> None:
        self._owners: dict[Client, Hashable] = {}
        self._accounts: dict[Hashable, _Account] = {}

    def assign(self, client: Client, owner: Hashable | None) -> None:
        """Set whose client it is, None for nobody's."""
        self.forget(client)
        if owner is not None:
            self._owners[client] = owner
            self._accounts.setdefault(owner, _Account()).clients += 1

    def forget(self, client: Client) -> None:
        """Forget a client; harmless if it has no owner."""
        owner = self._owners.pop(client, None)
        if owner is not None:
            account = self._accounts[owner]
            account.clients -= 1
            if not account.clients:
                del self._accounts[owner]

    def has_turn(self, view: View) -> bool:
        """Return whether the frames of a view leave at its timer, whatever comes meanwhile."""
        account = self._account_of(view)
        return account is not None and view in account.promised

    def reserve(self, view: View, now: float) -> float:
        """Return when the frames of a view that are due may leave: now, or later, as a turn that it keeps."""
        account = self._account_of(view)
        if account is None:
            return now
        if view in account.promised:
            account.promised.discard(view)
            return now
        at = max(now, account.free_at)
        account.free_at = at + PAUSES * account.seconds
        if at > now:
            if len(account.promised) > MAX_PROMISED:
                account.promised = {item for item in account.promised if item.timer is not None}
            account.promised.add(view)
        return at

    def note(self, view: View, seconds: float) -> None:
        """Note how long the frames of a view took."""
        account = self._account_of(view)
        if account is not None:
            account.seconds += (seconds - account.seconds) / 8

    def _account_of(self, view: View) -> _Account | None:
        """Return the account of the only owner of a view's clients."""
        if not self._owners or not view.clients:
            return None
        owner = self._owners.get(next(iter(view.clients)))
        account = None if owner is None else self._accounts[owner]
        if account is None or len(view.clients) > account.clients:
            return None
        return account if all(self._owners.get(client) == owner for client in view.clients) else None
