"""What a client may see: grants, and the permit that joins them.

A permit is ANDed with the selection of a client. It is part of the client's view, so that clients with different
permits never share a frame.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from metrics_stream.core.metrics.keys import AGENT_ID, RowTest, Terms, row_test
from metrics_stream.core.metrics.paths import common_names, is_covered
from metrics_stream.core.metrics.patterns import covers, covers_all, overlap

_NONE: frozenset[str] = frozenset()

NO_AGENT = "\0"
"""Stands in a grant for no agent at all, since an empty set means every agent; no form accepts it as an id."""


@dataclass(frozen=True, slots=True)
class Grant:
    """Access to metric types, narrowed to sources, rows and fields; an empty set narrows nothing.

    As in a client's filters, `agent_ids` and `keys` are patterns that do not narrow metrics without rows, and `fields`
    are names of fields of the object or of each row, which cover what is below them. Of several terms on one part, all
    must match.
    """

    metric_types: frozenset[str]
    sources: frozenset[str] = _NONE
    agent_ids: frozenset[str] = _NONE
    fields: frozenset[str] = _NONE
    keys: frozenset[Terms] = frozenset()

    @property
    def rows(self) -> RowTest:
        """The test of the rows that it shows."""
        return row_test(self.agent_ids, self.keys)

    @property
    def terms(self) -> frozenset[Terms]:
        """The terms on parts of keys, those on the ids of agents among them."""
        return self.keys | {Terms(AGENT_ID, self.agent_ids)} if self.agent_ids else self.keys

    def covers(self, metric_type: str, source: str) -> bool:
        """Return whether the grant shows anything of metrics of this type and source."""
        return metric_type in self.metric_types and (not self.sources or source in self.sources)

    def covers_row(self, row: str | None) -> bool:
        """Return whether the grant shows anything of a row; None stands for data that belongs to no row."""
        return self.rows.keeps(row)

    def shows_whole(self, rows: Collection[str], *, may_have_others: bool) -> bool:
        """Return whether the grant shows all of a metric that it covers and that has these rows.

        `may_have_others` means that the body can hold agents which `rows` do not name, because they are malformed.
        """
        if self.fields:
            return False
        if not self.agent_ids and not self.keys:
            return True
        return not may_have_others and self.rows.keeps_all(rows)

    def includes(self, other: Grant) -> bool:
        """Return whether the grant shows everything that another grant shows."""
        return (
            self.metric_types.issuperset(other.metric_types)
            and (not self.sources or (bool(other.sources) and self.sources.issuperset(other.sources)))
            and all(any(_includes(mine, theirs) for theirs in other.terms) for mine in self.terms)
            and (
                not self.fields or (bool(other.fields) and all(is_covered(name, self.fields) for name in other.fields))
            )
        )

    def overlap(self, other: Grant) -> Grant | None:
        """Return the grant of what both grants show; None if that is nothing."""
        metric_types = self.metric_types & other.metric_types
        sources = _overlap(self.sources, other.sources)
        both = self.fields and other.fields
        fields = (common_names(self.fields, other.fields) or None) if both else self.fields or other.fields
        if not metric_types or sources is None or fields is None:
            return None
        # Without a common row, metrics without rows remain.
        agent_ids, keys = _join_terms([*self.terms, *other.terms])
        return Grant(metric_types, sources, agent_ids, fields, keys)


def _overlap(mine: frozenset[str], theirs: frozenset[str]) -> frozenset[str] | None:
    """Return what two narrowings have in common, where an empty one narrows nothing; None if that is nothing."""
    return (mine & theirs or None) if mine and theirs else mine or theirs


def _includes(mine: Terms, theirs: Terms) -> bool:
    return mine.part == theirs.part and covers_all(mine.patterns, theirs.patterns)


def _join_terms(terms: Iterable[Terms]) -> tuple[frozenset[str], frozenset[Terms]]:
    """Return the patterns of agents, and the other terms, of what all of the terms match."""
    joined: list[Terms] = []
    for term in sorted(set(terms), key=lambda item: item.sorted):
        if joined and joined[-1].part == term.part:
            common = overlap(joined[-1].patterns, term.patterns)
            if common is not None:
                joined[-1] = Terms(term.part, common)
                continue
        joined.append(term)
    of_agents = next((item for item in joined if item.part == AGENT_ID), None)
    agent_ids = _NONE if of_agents is None else of_agents.patterns or frozenset({NO_AGENT})
    return agent_ids, frozenset(item for item in joined if item is not of_agents)


@dataclass(frozen=True, slots=True)
class Permit:
    """What a client may see: all that any of the grants shows; None shows everything."""

    grants: frozenset[Grant] | None = None
    runs: frozenset[frozenset[str]] | None = None
    """Sets of sources: metrics name their test run if all sources of the run are in one of the sets; None: always."""

    def grants_for(self, metric_type: str, source: str) -> list[Grant]:
        """Return the grants that cover metrics of this type and source; only for a permit that has grants."""
        return [grant for grant in self.grants or () if grant.covers(metric_type, source)]

    def covers(self, metric_type: str, source: str) -> bool:
        """Return whether anything of metrics of this type and source may be visible."""
        return self.grants is None or bool(self.grants_for(metric_type, source))

    def includes(self, grant: Grant) -> bool:
        """Return whether one grant of the permit shows everything that `grant` shows."""
        return self.grants is None or any(own.includes(grant) for own in self.grants)

    def overlap(self, other: Permit) -> Permit:
        """Return the permit for what both permits show."""
        runs = self.runs if other.runs is None else other.runs
        if self.runs is not None and other.runs is not None:
            runs = frozenset(common for mine in self.runs for theirs in other.runs if (common := mine & theirs))
        if self.grants is None or other.grants is None:
            return Permit(other.grants if self.grants is None else self.grants, runs)
        pairs = (mine.overlap(theirs) for mine in self.grants for theirs in other.grants)
        return Permit(frozenset(common for common in pairs if common is not None), runs)

    def plus(self, grants: frozenset[Grant]) -> Permit:
        """Return the permit for what this permit or one of the grants shows."""
        return Permit(None if self.grants is None else self.grants | grants, self.runs)

    def names_run(self, sources: Collection[str] | None) -> bool:
        """Return whether a test run of these sources is visible; no sources mean every source, None unknown ones."""
        if self.runs is None:
            return True
        return bool(sources) and any(allowed.issuperset(sources or ()) for allowed in self.runs)

    def is_whole(self, metric_type: str) -> bool:
        """Return whether everything of a metric type is visible."""
        return self.includes(Grant(frozenset({metric_type})))

    def visible_sources(self, sources: Iterable[str]) -> list[str]:
        """Return those of the sources of which anything may be visible."""
        return [
            item
            for item in sources
            if self.grants is None or any(not grant.sources or item in grant.sources for grant in self.grants)
        ]

    def visible_agents(self, agent_ids: Iterable[str]) -> list[str]:
        """Return those of the agents, or patterns of their ids, of which anything may be visible."""
        return self.visible_values(AGENT_ID, agent_ids)

    def visible_values(self, part: str, patterns: Iterable[str]) -> list[str]:
        """Return those patterns of a part of a key of which everything may be visible in rows of one grant."""
        return [
            item
            for item in patterns
            if self.grants is None
            or any(
                all(covers(term.patterns, item) for term in grant.terms if term.part == part) for grant in self.grants
            )
        ]

    def visible_keys(self, keys: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
        """Return the visible patterns by part, without parts of which no pattern is visible."""
        shown = {part: self.visible_values(part, patterns) for part, patterns in keys.items()}
        return {part: patterns for part, patterns in shown.items() if patterns}

    def visible_fields(self, fields: Iterable[str], metric_type: str | None = None) -> list[str]:
        """Return those of the fields of which anything may be visible, in metrics of one type or of any."""
        return [
            item
            for item in fields
            if self.grants is None
            or any(
                (not grant.fields or common_names(grant.fields, frozenset({item})))
                and metric_type in (None, *grant.metric_types)
                for grant in self.grants
            )
        ]

    def metric_types(self, known: Iterable[str]) -> tuple[str, ...]:
        """Return the metric types that are at least partly visible, in the order of `known`."""
        if self.grants is None:
            return tuple(known)
        seen = frozenset[str]().union(*(grant.metric_types for grant in self.grants))
        return tuple(item for item in known if item in seen)

    def shows(self, metric_type: str, source: str, row: str | None, path: str) -> bool:
        """Return whether the series of one field is visible; `path` names it."""
        if self.grants is None:
            return True
        return any(
            grant.covers_row(row) and (not grant.fields or is_covered(path, grant.fields))
            for grant in self.grants_for(metric_type, source)
        )


EVERYTHING = Permit()
NOTHING = Permit(frozenset(), frozenset())
