"""Who may have how many of the series that are kept: the tokens share them, and the sources of each token.

Anybody may take what is free. When nothing is free, whoever has less than the others takes a series from the one that
has most. So a producer that invents ever more names displaces its own series and nobody else's.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, NamedTuple, TypeVar

K = TypeVar("K", bound=Hashable)


class Owner(NamedTuple):
    """A token, or a source that publishes without one; and the source."""

    token: str
    source: str

    @property
    def account(self) -> Owner:
        """Whose series are counted together: those of a token over all its sources."""
        return Owner(self.token, "") if self.token else self


class _Ranking(Generic[K]):
    """How many each has; finds who has most without looking at all of them."""

    def __init__(self) -> None:
        self._counts: dict[K, int] = {}
        self._by_count: dict[int, dict[K, None]] = {}
        self._most = 0

    def count(self, name: K) -> int:
        return self._counts.get(name, 0)

    @property
    def first(self) -> K:
        """Of those that have most, the one that reached it last."""
        return next(reversed(self._by_count[self._most]))

    @property
    def most(self) -> int:
        return self._most

    def change(self, name: K, difference: int) -> None:
        """Count one more or one less."""
        before = self._counts.pop(name, 0)
        now = before + difference
        if before:
            del self._by_count[before][name]
        if now:
            self._counts[name] = now
            self._by_count.setdefault(now, {})[name] = None
        self._most = max(self._most, now)
        if not self._by_count.get(self._most):
            self._by_count.pop(self._most, None)
            self._most -= 1


class SeriesShares(Generic[K]):
    """The owners of at most `limit` series."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._owners: dict[K, Owner] = {}
        self._series: dict[Owner, OrderedDict[K, None]] = {}
        self._accounts: _Ranking[Owner] = _Ranking()
        self._sources: dict[Owner, _Ranking[Owner]] = {}

    def __len__(self) -> int:
        return len(self._owners)

    @property
    def is_full(self) -> bool:
        """Whether nothing is free."""
        return len(self._owners) >= self._limit

    def find_victim(self, owner: Owner) -> K | None:
        """Return the series that gives way to a new one of an owner when nothing is free; None if none has to."""
        account = owner.account
        if self._accounts.most > self._accounts.count(account) + 1:
            return self._latest_of(self._accounts.first)
        sources = self._sources.get(account)
        if sources is not None and sources.most > sources.count(owner) + 1:
            return self._latest_of(account)
        return None

    def _latest_of(self, account: Owner) -> K:
        return next(reversed(self._series[self._sources[account].first]))

    def add(self, series: K, owner: Owner) -> None:
        """Give a new series to an owner."""
        self._owners[series] = owner
        self._series.setdefault(owner, OrderedDict())[series] = None
        self._accounts.change(owner.account, 1)
        self._sources.setdefault(owner.account, _Ranking()).change(owner, 1)

    def remove(self, series: K) -> None:
        """Take a series from its owner."""
        owner = self._owners.pop(series)
        own = self._series[owner]
        del own[series]
        self._accounts.change(owner.account, -1)
        self._sources[owner.account].change(owner, -1)
        if not own:
            del self._series[owner]
        if not self._accounts.count(owner.account):
            del self._sources[owner.account]

    def owner_of(self, series: K) -> Owner:
        """Return the owner of a series."""
        return self._owners[series]
