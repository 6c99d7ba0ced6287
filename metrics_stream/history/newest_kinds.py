"""How much of the newest metric of each kind is kept, and who has to give way when it is too much.

A kind is what has one `Metric.kind`; one whose rows have all come again in metrics of other kinds goes. Each source has
a share of the kinds of a metric type, and so has each token over all its sources: a producer that names ever more
agents displaces its own kinds and nobody else's. `newest.lua` does the same in Redis, with the same limits.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator
from typing import NamedTuple

from metrics_stream.core.metrics.newest_rows import Kind, NewestRows

# A source with one metric for each of as many agents as a token may have is kept whole.
SOURCE_KINDS = 1_000
OWNER_KINDS = 2_000
# Of one share in one metric type, so that a client takes it in a few frames. The newest kind of a share always stays.
SHARE_BYTES = 2_000_000

Share = tuple[str, str | None]
"""An owner and one of its sources; None for the source means the owner with all its sources."""


def shares_of(owner: str, source: str) -> tuple[Share, ...]:
    """Return the shares that a metric counts for; without a token that is its source alone."""
    return ((owner, source), (owner, None)) if owner else ((owner, source),)


class _Kind(NamedTuple):
    offset: int
    size: int
    shares: tuple[Share, ...]


class NewestKinds:
    """The offset of the newest metric of each kind of one metric type, within the shares of sources and tokens."""

    def __init__(self) -> None:
        self._kinds: OrderedDict[Kind, _Kind] = OrderedDict()
        self._by_share: dict[Share, OrderedDict[Kind, None]] = {}
        self._bytes: Counter[Share] = Counter()
        self._rows = NewestRows()

    def put(self, key: Kind, offset: int, size: int, owner: str) -> None:
        """Set the newest metric of a kind; offsets rise. The oldest kinds of a share that is too large then go."""
        was_kept = self._leave(key)
        # One that is still here has the newest of its only row.
        if key[2] and not (was_kept and len(key[2]) == 1):
            for replaced in self._rows.put(key):
                self._leave(replaced)
        kind = self._kinds[key] = _Kind(offset, size, shares_of(owner, key[1]))
        for share in kind.shares:
            self._by_share.setdefault(share, OrderedDict())[key] = None
            self._bytes[share] += size
            self._shrink(share)

    def _shrink(self, share: Share) -> None:
        keys, limit = self._by_share[share], SOURCE_KINDS if share[1] is not None else OWNER_KINDS
        while len(keys) > limit or (self._bytes[share] > SHARE_BYTES and len(keys) > 1):
            self._forget(next(iter(keys)))

    def _forget(self, key: Kind) -> None:
        if key[2]:
            self._rows.drop(key)
        self._leave(key)

    def _leave(self, key: Kind) -> bool:
        """Take a kind out of its shares; return whether it was kept."""
        if (kind := self._kinds.pop(key, None)) is None:
            return False
        for share in kind.shares:
            keys = self._by_share[share]
            del keys[key]
            self._bytes[share] -= kind.size
            if not keys:
                del self._by_share[share], self._bytes[share]
        return True

    def drop_before(self, first: int) -> None:
        """Drop the kinds whose newest metric is before an offset."""
        while self._kinds and next(iter(self._kinds.values())).offset < first:
            self._forget(next(iter(self._kinds)))

    def offsets(self) -> Iterator[int]:
        """Yield the offsets, in order."""
        return (kind.offset for kind in self._kinds.values())
