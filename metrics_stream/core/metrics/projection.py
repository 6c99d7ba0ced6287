"""Project the data of a metric onto what a viewer may see."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import msgspec

from metrics_stream.core.metrics.metric import IDENTITY_FIELDS
from metrics_stream.core.metrics.permission import Grant

Entry = dict[str, msgspec.Raw]
Data = Entry | list[Entry]

_decode_agents = msgspec.json.Decoder(dict[str, Entry] | list[Entry]).decode
_decode_id = msgspec.json.Decoder(str | int | float | bool | None).decode
_encode = msgspec.json.Encoder().encode

_NONE: frozenset[str] = frozenset()


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
