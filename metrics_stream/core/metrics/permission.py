"""What somebody may see at most, and the part of a metric that is left of it then.

Room: core. A permit is ANDed with what a client asks for, and is part of its view, so that no frame crosses it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

import msgspec

from metrics_stream.core.metrics.metric import IDENTITY_FIELDS

Entry = dict[str, msgspec.Raw]
Data = Entry | list[Entry]

_NONE: frozenset[str] = frozenset()

_decode_agents = msgspec.json.Decoder(dict[str, Entry] | list[Entry]).decode
_decode_id = msgspec.json.Decoder(str | int | float | bool | None).decode
_encode = msgspec.json.Encoder().encode


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


def permitted_part(data: Data, grants: Collection[Grant], *, has_agents: bool) -> Data:
    """Return what at least one of the grants lets through of a metric's data that all of them cover; maybe nothing."""
    if isinstance(data, list):
        return [part for entry in data if (part := _part_of(entry, _id_of(entry) if has_agents else None, grants))]
    names = _names(grants)
    kept = {key: value for key, value in data.items() if names is None or key in names}
    if has_agents:
        agents = _part_of_agents(data["agents"], grants)
        kept.pop("agents", None)
        if agents is not None:
            kept["agents"] = agents
    elif "agents" in kept and bytes(kept["agents"])[:1] in b"[{" and not _any_agent(grants):
        # Whose it is nobody can tell.
        del kept["agents"]
    return kept


def _part_of_agents(raw: msgspec.Raw, grants: Collection[Grant]) -> msgspec.Raw | None:
    # Named as a field, `agents` may be seen whole; else the fields are looked for in each of its entries.
    grants = [replace(grant, fields=_NONE) if "agents" in grant.fields else grant for grant in grants]
    agents = _decode_agents(raw)
    if isinstance(agents, list):
        entries = [part for entry in agents if (part := _part_of(entry, _id_of(entry), grants))]
        return msgspec.Raw(_encode(entries)) if entries else None
    named = {agent_id: part for agent_id, entry in agents.items() if (part := _part_of(entry, agent_id, grants))}
    return msgspec.Raw(_encode(named)) if named else None


def _any_agent(grants: Collection[Grant]) -> bool:
    """Return whether one of the grants shows the field `agents` of all agents."""
    return any(not grant.agent_ids and (not grant.fields or "agents" in grant.fields) for grant in grants)


def _part_of(entry: Entry, agent_id: str | None, grants: Collection[Grant]) -> Entry:
    """Return the part of an agent's entry, with its identity; an empty one when none of its fields may be seen."""
    covering = [grant for grant in grants if grant.covers_agent(agent_id)]
    names = _names(covering)
    if names is None:
        return entry
    if names.isdisjoint(entry):
        return {}
    return {key: value for key, value in entry.items() if key in names or key in IDENTITY_FIELDS}


def _names(grants: Collection[Grant]) -> frozenset[str] | None:
    """Return the fields that grants name between them, None when one of them lets every field through."""
    if any(not grant.fields for grant in grants):
        return None
    return _NONE.union(*(grant.fields for grant in grants))


def _id_of(entry: Entry) -> str:
    return str(_decode_id(entry["agent_id"]))
