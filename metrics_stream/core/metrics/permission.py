"""What a client may see: grants, and the permit that joins them.

A permit is ANDed with the selection of a client. It is part of the client's view, so that clients with different
permits never share a frame.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

_NONE: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Grant:
    """Access to metric types, narrowed to sources, agents and fields; an empty set of the three narrows nothing.

    As in a client's filters, `agent_ids` do not narrow metrics without agents, and `fields` are keys of the object or
    of each agent's entry.
    """

    metric_types: frozenset[str]
    sources: frozenset[str] = _NONE
    agent_ids: frozenset[str] = _NONE
    fields: frozenset[str] = _NONE

    def covers(self, metric_type: str, source: str) -> bool:
        """Return whether the grant shows anything of metrics of this type and source."""
        return metric_type in self.metric_types and (not self.sources or source in self.sources)

    def covers_agent(self, agent_id: str | None) -> bool:
        """Return whether the grant shows anything of an agent; None stands for data that belongs to no agent."""
        return agent_id is None or not self.agent_ids or agent_id in self.agent_ids

    def shows_whole(self, agent_ids: Collection[str], *, may_have_others: bool) -> bool:
        """Return whether the grant shows all of a metric that it covers and that has these agents.

        `may_have_others` means that the body can hold agents which `agent_ids` do not name, because they are malformed.
        """
        is_theirs = not may_have_others and self.agent_ids.issuperset(agent_ids)
        return not self.fields and (not self.agent_ids or is_theirs)

    def includes(self, other: Grant) -> bool:
        """Return whether the grant shows everything that another grant shows."""
        pairs = ((self.sources, other.sources), (self.agent_ids, other.agent_ids), (self.fields, other.fields))
        return self.metric_types.issuperset(other.metric_types) and all(
            not mine or (theirs and mine.issuperset(theirs)) for mine, theirs in pairs
        )


@dataclass(frozen=True, slots=True)
class Permit:
    """What a client may see: all that any of the grants shows; None shows everything."""

    grants: frozenset[Grant] | None = None

    def grants_for(self, metric_type: str, source: str) -> list[Grant]:
        """Return the grants that cover metrics of this type and source; only for a permit that has grants."""
        return [grant for grant in self.grants or () if grant.covers(metric_type, source)]

    def includes(self, grant: Grant) -> bool:
        """Return whether one grant of the permit shows everything that `grant` shows."""
        return self.grants is None or any(own.includes(grant) for own in self.grants)

    def metric_types(self, known: Iterable[str]) -> tuple[str, ...]:
        """Return the metric types that are at least partly visible, in the order of `known`."""
        if self.grants is None:
            return tuple(known)
        seen = frozenset[str]().union(*(grant.metric_types for grant in self.grants))
        return tuple(item for item in known if item in seen)

    def shows(self, metric_type: str, source: str, agent_id: str | None, path: str) -> bool:
        """Return whether the series of one field is visible; `path` is dotted where objects are nested."""
        if self.grants is None:
            return True
        name = path.partition(".")[0]
        return any(
            grant.covers_agent(agent_id) and (not grant.fields or name in grant.fields)
            for grant in self.grants_for(metric_type, source)
        )


EVERYTHING = Permit()
NOTHING = Permit(frozenset())
