"""What a client wants, and the wish compiled into a callable: metric in, its JSON or nothing out.

Room: core. A metric that a selection takes whole is forwarded as the bytes its producer made; only a filter on
agents or fields decodes, and then once per metric, whichever number of views ask.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import msgspec

from metrics_stream.core.codes import ErrorCode
from metrics_stream.core.metrics import ALL, IDENTITY_FIELDS, Metric
from metrics_stream.core.protocol import MAX_TERM_LENGTH, Filters, ProtocolError, quote

Entry = dict[str, msgspec.Raw]


class _Document(msgspec.Struct):
    metric_type: msgspec.Raw
    timestamp: msgspec.Raw
    source: msgspec.Raw
    data: Entry | list[Entry]


_decode_document = msgspec.json.Decoder(_Document).decode
_decode_agents = msgspec.json.Decoder(dict[str, Entry] | list[Entry]).decode
_decode_id = msgspec.json.Decoder(str | int | float | bool | None).decode
_encode = msgspec.json.Encoder().encode


class Arrival:
    """One metric as the hub received it; decoded at most once, when the first view asks for a part of it."""

    def __init__(self, metric: Metric) -> None:
        self.metric = metric

    @cached_property
    def document(self) -> _Document:
        """The decoded body; shared by all views, so nobody changes it."""
        return _decode_document(self.metric.body)


Projection = Callable[[Arrival], bytes | None]


@dataclass(frozen=True, slots=True)
class Selection:
    """What a client wants: metric types in catalogue order, narrowed by filters. Equal wishes share a view."""

    metric_types: tuple[str, ...] = ()
    filters: Filters = field(default_factory=Filters)


def expand(asked: tuple[str, ...], allowed: tuple[str, ...]) -> frozenset[str]:
    """Return the metric types meant by `asked`, `all` standing for every allowed one; raise ProtocolError on others."""
    for item in asked:
        if item != ALL and item not in allowed:
            raise ProtocolError(
                ErrorCode.UNKNOWN_METRIC_TYPE,
                f"unknown metric type {quote(item)}; allowed: {', '.join(allowed)}, {ALL}",
            )
    return frozenset(allowed) if ALL in asked else frozenset(asked)


def check_filters(filters: Filters, *, max_terms: int) -> Filters:
    """Return `filters` without repetitions, in sorted order; raise ProtocolError when there is too much of it."""
    clean = {}
    for name in Filters.__struct_fields__:
        terms: tuple[str, ...] = getattr(filters, name)
        if len(terms) > max_terms:
            raise ProtocolError(
                ErrorCode.TOO_MANY_TERMS, f"`filters.{name}` names {len(terms)} values; allowed: at most {max_terms}"
            )
        for term in terms:
            if len(term) > MAX_TERM_LENGTH:
                raise ProtocolError(
                    ErrorCode.INVALID_MESSAGE,
                    f"`filters.{name}` has the value {quote(term)} with {len(term)} characters; allowed: at most "
                    f"{MAX_TERM_LENGTH}",
                )
        clean[name] = tuple(sorted(set(terms)))
    return Filters(**clean)


def compile_projection(filters: Filters) -> Projection:
    """Return a callable that yields the JSON of what `filters` leave of a metric, or None when nothing is left.

    `sources` and `agent_ids` leave out metrics and entries; metrics that have no agents pass `agent_ids` untouched.
    `fields` keeps those keys of the object, or of each agent entry, whose identity always stays.
    """
    sources = frozenset(filters.sources)
    agent_ids = frozenset(filters.agent_ids)
    fields = frozenset(filters.fields)

    def project(arrival: Arrival) -> bytes | None:
        metric = arrival.metric
        if sources and metric.source not in sources:
            return None
        only_agents = None
        if agent_ids and metric.agent_ids:
            wanted = agent_ids.intersection(metric.agent_ids)
            if not wanted:
                return None
            # All wanted: what the producer encoded is what goes out.
            only_agents = wanted if len(wanted) < len(set(metric.agent_ids)) else None
        if only_agents is None and not fields:
            return metric.body
        document = arrival.document
        data = _project_data(document.data, only_agents, fields, has_agents=bool(metric.agent_ids))
        if not data:
            return None
        return _encode(_Document(document.metric_type, document.timestamp, document.source, data))

    return project


def _project_data(
    data: Entry | list[Entry], only_agents: frozenset[str] | None, fields: frozenset[str], *, has_agents: bool
) -> Entry | list[Entry]:
    if isinstance(data, list):
        kept = [entry for entry in data if only_agents is None or _id_of(entry) in only_agents]
        return [part for entry in kept if (part := _project_entry(entry, fields))]
    result = {key: value for key, value in data.items() if not fields or key in fields}
    if has_agents:
        # Named as a field, `agents` stays whole; else the fields are looked for in each of its entries.
        agents = _project_agents(data["agents"], only_agents, fields if "agents" not in fields else frozenset())
        result.pop("agents", None)
        if agents is not None:
            result["agents"] = agents
    return result


def _project_agents(raw: msgspec.Raw, only_agents: frozenset[str] | None, fields: frozenset[str]) -> msgspec.Raw | None:
    agents = _decode_agents(raw)
    if isinstance(agents, list):
        entries = _project_data(agents, only_agents, fields, has_agents=True)
        return msgspec.Raw(_encode(entries)) if entries else None
    named = {
        agent_id: projected
        for agent_id, entry in agents.items()
        if (only_agents is None or agent_id in only_agents) and (projected := _project_entry(entry, fields))
    }
    return msgspec.Raw(_encode(named)) if named else None


def _project_entry(entry: Entry, fields: frozenset[str]) -> Entry:
    """Return the entry's part in `fields` with its identity, or an empty one when none of the fields is there."""
    if not fields:
        return entry
    if fields.isdisjoint(entry):
        return {}
    return {key: value for key, value in entry.items() if key in fields or key in IDENTITY_FIELDS}


def _id_of(entry: Entry) -> str:
    return str(_decode_id(entry["agent_id"]))
