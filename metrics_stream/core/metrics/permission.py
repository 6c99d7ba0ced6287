"""What somebody may see at most, and the part of a metric that is left of it then.

Room: core. A permit is ANDed with what a client asks for, and is part of its view, so that no frame crosses it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

_NONE: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Grant:
    """Metric types, and of them only what these sources, agents and fields name; an empty one of the three names all.

    As in a client's filters, metrics that have no agents are not narrowed by `agent_ids`, and `fields` are keys of the
    object or of each agent entry.
    """

    metric_types: frozenset[str]
    sources: frozenset[str] = _NONE
    agent_ids: frozenset[str] = _NONE
    fields: frozenset[str] = _NONE

    def covers(self, metric_type: str, source: str) -> bool:
        """Return whether it lets something of such a metric through."""
        return metric_type in self.metric_types and (not self.sources or source in self.sources)

    def covers_agent(self, agent_id: str | None) -> bool:
        """Return whether it lets something of an agent through; None is what belongs to no agent."""
        return agent_id is None or not self.agent_ids or agent_id in self.agent_ids

    def shows_whole(self, agent_ids: Collection[str], *, may_have_others: bool) -> bool:
        """Return whether it lets a metric with these agents, which it covers, through untouched.

        `may_have_others` is whether agents may be in it that are not in order, so that it has none by its own account.
        """
        is_theirs = not may_have_others and self.agent_ids.issuperset(agent_ids)
        return not self.fields and (not self.agent_ids or is_theirs)

    def includes(self, other: Grant) -> bool:
        """Return whether it lets all of that through which another grant does."""
        pairs = ((self.sources, other.sources), (self.agent_ids, other.agent_ids), (self.fields, other.fields))
        return self.metric_types.issuperset(other.metric_types) and all(
            not mine or (theirs and mine.issuperset(theirs)) for mine, theirs in pairs
        )


@dataclass(frozen=True, slots=True)
class Permit:
    """All that any of the grants lets through; None lets everything through."""

    grants: frozenset[Grant] | None = None

    def grants_for(self, metric_type: str, source: str) -> list[Grant]:
        """Return the grants that cover such a metric; for a permit that has grants."""
        return [grant for grant in self.grants or () if grant.covers(metric_type, source)]

    def includes(self, grant: Grant) -> bool:
        """Return whether one of its grants lets all of that through which another grant does."""
        return self.grants is None or any(own.includes(grant) for own in self.grants)

    def metric_types(self, known: Iterable[str]) -> tuple[str, ...]:
        """Return those of the known metric types of which something may be seen."""
        if self.grants is None:
            return tuple(known)
        seen = frozenset[str]().union(*(grant.metric_types for grant in self.grants))
        return tuple(item for item in known if item in seen)

    def shows(self, metric_type: str, source: str, agent_id: str | None, path: str) -> bool:
        """Return whether the series of one field may be seen; `path` is dotted where objects are nested."""
        if self.grants is None:
            return True
        name = path.partition(".")[0]
        return any(
            grant.covers_agent(agent_id) and (not grant.fields or name in grant.fields)
            for grant in self.grants_for(metric_type, source)
        )


EVERYTHING = Permit()
NOTHING = Permit(frozenset())
