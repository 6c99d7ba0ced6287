"""Which metrics have the newest of some row: the others have been replaced, row by row, by later ones.

A source whose set of rows changes publishes metrics of ever new kinds. Without this, each of them would stay as the
newest of its kind.
"""

from __future__ import annotations

Kind = tuple[str, str, tuple[str, ...]]
"""The type of `Metric.kind`: metric type, source and rows."""


class _Holder:
    __slots__ = ("all", "count", "kind")

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.all = len(set(kind[2]))
        self.count = 0
        """Of how many rows it has the newest."""


class NewestRows:
    """The kinds of metrics that have the newest of at least one row."""

    def __init__(self) -> None:
        self._by_row: dict[tuple[str, str], dict[str, _Holder]] = {}
        self._holders: dict[Kind, _Holder] = {}

    def put(self, kind: Kind) -> list[Kind]:
        """Note a metric that is newer than all others; return the kinds that have the newest of no row any more.

        A metric without rows replaces only those of its own kind, which the caller knows by itself.
        """
        metric_type, source, rows = kind
        if not rows:
            return []
        holder = self._holders.get(kind)
        if holder is None:
            holder = self._holders[kind] = _Holder(kind)
        elif holder.count == holder.all:
            return []  # the same rows came last time
        by_row = self._by_row.setdefault((metric_type, source), {})
        replaced = []
        for row in rows:
            before = by_row.get(row)
            if before is holder:
                continue
            by_row[row] = holder
            holder.count += 1
            if before is not None:
                before.count -= 1
                if not before.count:
                    replaced.append(before.kind)
                    del self._holders[before.kind]
        return replaced

    def drop(self, kind: Kind) -> None:
        """Forget a kind that is not kept any more."""
        holder = self._holders.pop(kind, None)
        if holder is None:
            return
        place = kind[0], kind[1]
        by_row = self._by_row[place]
        for row in kind[2]:
            if by_row.get(row) is holder:
                del by_row[row]
        if not by_row:
            del self._by_row[place]
