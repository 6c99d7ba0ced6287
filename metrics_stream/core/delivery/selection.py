"""What a client wants, and the wish compiled into a callable: metric in, its JSON or nothing out.

Room: core. A metric that a selection takes whole is forwarded as the bytes its producer made; only a filter on
agents or fields decodes, and then once per metric, whichever number of views ask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import itemgetter
from sys import intern

import msgspec
from msgspec import UNSET, UnsetType

from metrics_stream.core.errors import ProtocolError
from metrics_stream.core.formatting import quote
from metrics_stream.core.metrics.catalogue import ALL
from metrics_stream.core.metrics.metric import IDENTITY_FIELDS, MAX_TERM_LENGTH, Metric
from metrics_stream.core.metrics.permission import EVERYTHING, Permit
from metrics_stream.core.metrics.projection import permitted_part
from metrics_stream.core.protocol.codes import ErrorCode
from metrics_stream.core.protocol.messages import Filters

Entry = dict[str, msgspec.Raw]


class _Document(msgspec.Struct, omit_defaults=True):
    """A metric, or what stands for the metrics of an interval; its `summary` and `worst` name fields by their paths."""

    metric_type: msgspec.Raw
    timestamp: msgspec.Raw
    source: msgspec.Raw
    data: Entry | list[Entry]
    summary: Entry | UnsetType = UNSET
    worst: list[str] | UnsetType = UNSET
    run: str | UnsetType = UNSET


_decode_document = msgspec.json.Decoder(_Document).decode
_decode_agents = msgspec.json.Decoder(dict[str, Entry] | list[Entry]).decode
_decode_id = msgspec.json.Decoder(str | int | float | bool | None).decode
_encode = msgspec.json.Encoder().encode


class DecodedMetric:
    """One metric as the hub received it; decoded at most once, when the first view asks for a part of it."""

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self._under: dict[Permit, DecodedMetric | None] = {}

    def under(self, permit: Permit) -> DecodedMetric | None:
        """Return what a permit leaves of it, None when that is nothing; found once for all views of the permit."""
        if permit.grants is None:
            return self
        if permit not in self._under:
            self._under[permit] = self._restricted(permit)
        return self._under[permit]

    def _restricted(self, permit: Permit) -> DecodedMetric | None:
        metric = self.metric
        grants = permit.grants_for(metric.metric_type, metric.source)
        may_have_others = not metric.agent_ids and b'"agents"' in metric.body
        if any(grant.shows_whole(metric.agent_ids, may_have_others=may_have_others) for grant in grants):
            return self
        if not grants:
            return None
        document = self.document
        data = permitted_part(document.data, grants, has_agents=bool(metric.agent_ids))
        if not data:
            return None
        kept = msgspec.structs.replace(document, data=data)
        names = frozenset[str]().union(*data) if isinstance(data, list) else frozenset(data)
        # What is summed up of agents under a key is named by them; the sums of all are not those of some.
        _keep_summaries(kept, lambda path: (first := path.partition(".")[0]) in names and first != "agents")
        agent_ids = tuple(item for item in metric.agent_ids if any(grant.covers_agent(item) for grant in grants))
        return DecodedMetric(msgspec.structs.replace(metric, agent_ids=agent_ids, body=_encode(kept)))

    @cached_property
    def document(self) -> _Document:
        """The decoded body; shared by all views, so nobody changes it."""
        return _decode_document(self.metric.body)

    @cached_property
    def parts(self) -> tuple[bytes, dict[str, bytes], bytes]:
        """What stands before the fields of an object, every field as JSON, and what stands behind them.

        There are none where there are agents, or no object, or a summary.
        """
        document = self.document
        if self.metric.agent_ids or not isinstance(document.data, dict) or document.summary is not UNSET:
            return b"", {}, b""
        head = b'{"metric_type":%b,"timestamp":%b,"source":%b,"data":{' % (
            bytes(document.metric_type),
            bytes(document.timestamp),
            bytes(document.source),
        )
        tail = b"}}" if document.run is UNSET else b'},"run":%b}' % _encode(document.run)
        return (
            head,
            {intern(key): b"%b:%b" % (_encode(key), bytes(value)) for key, value in document.data.items()},
            tail,
        )


def permitted_metrics(metrics: Iterable[Metric], permit: Permit) -> Iterator[Metric]:
    """Yield what a permit leaves of metrics."""
    for metric in metrics:
        permitted = DecodedMetric(metric).under(permit)
        if permitted is not None:
            yield permitted.metric


Projection = Callable[[DecodedMetric], bytes | None]


@dataclass(frozen=True, slots=True)
class Selection:
    """What a client gets: metric types in catalogue order, narrowed by its filters and by what it may see.

    Equal selections share a view.
    """

    metric_types: tuple[str, ...] = ()
    filters: Filters = field(default_factory=Filters)
    permit: Permit = EVERYTHING

    @property
    def is_narrowed(self) -> bool:
        """Whether something of its metric types may be left out, so that nobody knows how much of a loss is its own."""
        return self.filters != Filters() or self.permit != EVERYTHING


def expand(asked: Iterable[str], allowed: tuple[str, ...], everything: tuple[str, ...]) -> frozenset[str]:
    """Return the metric types meant by `asked`, `all` standing for `everything`; raise ProtocolError on others."""
    asked = frozenset(asked)
    for item in sorted(asked):
        if item != ALL and item not in allowed:
            raise ProtocolError(
                ErrorCode.UNKNOWN_METRIC_TYPE,
                f"unknown metric type {quote(item)}; allowed: {', '.join(allowed)}, {ALL}",
            )
    return asked.union(everything) - {ALL} if ALL in asked else asked


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


def compile_projection(filters: Filters, permit: Permit = EVERYTHING) -> Projection:
    """Return a callable that yields the JSON of what filters and permit leave of a metric, or None."""
    project = _compile_filters(filters)
    if permit == EVERYTHING:
        return project

    def project_permitted(decoded: DecodedMetric) -> bytes | None:
        permitted = decoded.under(permit)
        return None if permitted is None else project(permitted)

    return project_permitted


def _compile_filters(filters: Filters) -> Projection:
    """Return a callable that yields the JSON of what `filters` leave of a metric, or None when nothing is left.

    `sources` and `agent_ids` leave out metrics and entries; metrics that have no agents pass `agent_ids` untouched.
    `fields` keeps those keys of the object, or of each agent entry, whose identity always stays.
    """
    sources = frozenset(filters.sources)
    agent_ids = frozenset(filters.agent_ids)
    fields = frozenset(filters.fields)

    def project(decoded: DecodedMetric) -> bytes | None:
        metric = decoded.metric
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
        document = decoded.document
        data = _project_data(document.data, only_agents, fields, has_agents=bool(metric.agent_ids))
        if not data:
            return None
        kept = msgspec.structs.replace(document, data=data)
        _keep_summaries(kept, _keep_paths(only_agents, fields))
        return _encode(kept)

    return _project_fields_first(filters.fields, project) if fields and not sources and not agent_ids else project


def _project_fields_first(names: tuple[str, ...], project: Projection) -> Projection:
    """Return what `project` does for a filter of fields alone, faster for an object: every such view does it anew."""
    names = tuple(map(intern, names))
    # The last name twice: of one name alone, itemgetter returns no tuple.
    pick: Callable[[dict[str, bytes]], tuple[bytes, ...]] = itemgetter(*names, names[-1])
    join = b",".join

    def project_fields(decoded: DecodedMetric) -> bytes | None:
        head, parts, tail = decoded.parts
        if not parts:
            return project(decoded)
        kept: Sequence[bytes]
        try:
            kept = pick(parts)[:-1]
        except KeyError:
            kept = [parts[name] for name in names if name in parts]
        # Added up: three times as fast as formatted.
        return head + join(kept) + tail if kept else None

    return project_fields


def _keep_summaries(document: _Document, is_kept: Callable[[str], bool]) -> None:
    """Leave in a document of our own only the summaries of the paths that are kept."""
    if isinstance(document.summary, dict):
        document.summary = {path: summed for path, summed in document.summary.items() if is_kept(path)}
        document.worst = UNSET if document.worst is UNSET else [path for path in document.worst if is_kept(path)]


def _keep_paths(only_agents: frozenset[str] | None, fields: frozenset[str]) -> Callable[[str], bool]:
    """Return what says whether the filters leave the field of a path; those of agents under a key only when whole."""

    def is_kept(path: str) -> bool:
        first = path.partition(".")[0]
        return (not fields or first in fields) and (only_agents is None or first != "agents")

    return is_kept


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
