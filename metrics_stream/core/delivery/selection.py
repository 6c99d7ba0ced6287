"""What a client has selected, compiled into a callable from a metric to the JSON for the client, or None.

A metric that is selected whole is forwarded as the bytes of its producer. Only filters and grants for agents or fields
decode it, once for all views.
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
from metrics_stream.core.formatting import quote, quote_some
from metrics_stream.core.metrics.annotations import UNITS, WINDOWS, keep_shown
from metrics_stream.core.metrics.catalogue import ALL
from metrics_stream.core.metrics.keys import AGENT_ID, AGENT_KEY, ALLOWED_NAME, agent_row, is_name, row_test
from metrics_stream.core.metrics.metric import MAX_TERM_LENGTH, Metric, RunMetric, name_run
from metrics_stream.core.metrics.paths import is_covered, names_below
from metrics_stream.core.metrics.patterns import count_wild
from metrics_stream.core.metrics.permission import EVERYTHING, Permit
from metrics_stream.core.metrics.projection import (
    AGENTS,
    ALL_FIELDS,
    Data,
    Entry,
    Narrowing,
    join_fields,
    may_hold_agents,
    names_in,
    project,
)
from metrics_stream.core.protocol.codes import ErrorCode
from metrics_stream.core.protocol.messages import Filters


class _Document(msgspec.Struct, omit_defaults=True):
    """A metric, or the summary of an interval; all keys behind `key` but `run` name fields by their paths."""

    metric_type: msgspec.Raw
    timestamp: msgspec.Raw
    source: msgspec.Raw
    data: Data
    key: tuple[str, ...] | UnsetType = UNSET
    units: Entry | UnsetType = UNSET
    windows: Entry | UnsetType = UNSET
    summary: Entry | UnsetType = UNSET
    worst: list[str] | UnsetType = UNSET
    clock_ahead_seconds: float | UnsetType = UNSET
    run: str | UnsetType = UNSET


_decode_document = msgspec.json.Decoder(_Document).decode
_encode = msgspec.json.Encoder().encode

_AGENTS = frozenset({AGENTS})

# No key has more parts.
MAX_PARTS = 20
# Patterns with `*` are tried one after the other on each row.
MAX_WILD_TERMS = 100


class DecodedMetric:
    """One metric as the hub received it; decoded at most once, when the first view needs a part of it."""

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self.names_agents = bool(metric.rows) and AGENT_ID in metric.key
        """Whether its rows belong to agents."""
        self._under: dict[Permit, DecodedMetric | None] = {}

    def under(self, permit: Permit) -> DecodedMetric | None:
        """Return the part that a permit shows, or None; computed once for all views of the permit."""
        if permit.grants is None:
            return self
        if permit not in self._under:
            self._under[permit] = self._restrict(permit)
        return self._under[permit]

    def _restrict(self, permit: Permit) -> DecodedMetric | None:
        metric = self.metric
        if type(metric) is RunMetric and not permit.names_run(metric.runs[-1][1]):
            return DecodedMetric(_with_visible_run(metric, permit)).under(permit)
        grants = permit.grants_for(metric.metric_type, metric.source)
        may_have_others = not metric.rows and may_hold_agents(metric.body)
        if any(grant.shows_whole(metric.rows, may_have_others=may_have_others) for grant in grants):
            return self
        if not grants:
            return None
        narrowings = [Narrowing(grant.agent_ids, grant.fields, grant.keys) for grant in grants]
        data = project(self.document.data, narrowings, key=metric.key if metric.rows else (), reads_every_id=True)
        if not data:
            return None
        names = frozenset[str]().union(*data) if isinstance(data, list) else frozenset(data)
        fields = join_fields(narrowings)

        def keeps(path: str) -> bool:
            # The paths of agents under a key begin with `agents`; summaries over all agents are not those of some.
            return (
                is_covered(path, names)
                and (fields is ALL_FIELDS or is_covered(path, fields))
                and not is_covered(path, _AGENTS)
            )

        body = _encode_part(self.document, data, keeps, fields)
        rows = tuple(row for row in metric.rows if any(item.rows.keeps(row) for item in narrowings))
        return DecodedMetric(msgspec.structs.replace(metric, rows=rows, body=body))

    @cached_property
    def document(self) -> _Document:
        """The decoded body. All views share it, so it must not be changed."""
        return _decode_document(self.metric.body)

    @cached_property
    def parts(self) -> tuple[bytes, dict[str, bytes], bytes]:
        """The JSON before the fields of an object, each field as JSON, and the JSON behind them.

        Without fields if the metric has rows, its data is no object, a key contains a dot, or something else names
        its fields.
        """
        document = self.document
        if self.metric.key or not isinstance(document.data, dict) or _names_fields(document):
            return b"", {}, b""
        if any("." in key for key in document.data):
            return b"", {}, b""
        head = b'{"metric_type":%b,"timestamp":%b,"source":%b,"data":{' % (
            bytes(document.metric_type),
            bytes(document.timestamp),
            bytes(document.source),
        )
        tail = b"}"
        if document.clock_ahead_seconds is not UNSET:
            tail += b',"clock_ahead_seconds":%b' % _encode(document.clock_ahead_seconds)
        if document.run is not UNSET:
            tail += b',"run":%b' % _encode(document.run)
        return (
            head,
            {intern(key): b"%b:%b" % (_encode(key), bytes(value)) for key, value in document.data.items()},
            tail + b"}",
        )


def _with_visible_run(metric: RunMetric, permit: Permit) -> Metric:
    """Return the metric with the run that was started last of those that the permit shows, or without a run."""
    run = next((run for run, sources in reversed(metric.runs) if permit.names_run(sources)), None)
    body = metric.plain if run is None else name_run(metric.plain, run)
    return Metric(metric.metric_type, metric.source, metric.timestamp, metric.rows, body, metric.key)


def permitted_metrics(metrics: Iterable[Metric], permit: Permit) -> Iterator[Metric]:
    """Yield the parts of metrics that a permit shows."""
    for metric in metrics:
        permitted = DecodedMetric(metric).under(permit)
        if permitted is not None:
            yield permitted.metric


Projection = Callable[[DecodedMetric], bytes | None]


@dataclass(frozen=True, slots=True)
class Selection:
    """What a client gets: metric types in catalogue order, narrowed by its filters and its permit.

    Clients with equal selections share a view.
    """

    metric_types: tuple[str, ...] = ()
    filters: Filters = field(default_factory=Filters)
    permit: Permit = EVERYTHING

    @property
    def is_narrowed(self) -> bool:
        """Whether metrics of its types can be left out, so that its share of a loss is unknown."""
        return self.filters != Filters() or self.permit != EVERYTHING


def expand(asked: Iterable[str], allowed: tuple[str, ...], everything: tuple[str, ...]) -> tuple[frozenset[str], str]:
    """Return the metric types that `asked` names, with `all` replaced, and what is wrong with unknown names, if any.

    Capitals do not matter: clients of the original server send the names of its enum. Raises ProtocolError if all
    names are unknown.
    """
    names = {name: name.lower() for name in asked}
    unknown = [name for name, slug in names.items() if slug != ALL and slug not in allowed]
    choice = ", ".join((*allowed, ALL))
    problem = f"unknown metric type {quote_some(unknown)}; allowed: {choice}" if unknown else ""
    if problem and len(unknown) == len(names):
        raise ProtocolError(ErrorCode.UNKNOWN_METRIC_TYPE, problem)
    known = frozenset(names.values()).intersection(allowed)
    return known.union(everything) if ALL in names.values() else known, problem


def names_all(asked: Iterable[str]) -> bool:
    """Return whether `asked` names every metric type, also those to come."""
    return any(name.lower() == ALL for name in asked)


def check_filters(filters: Filters, *, max_terms: int) -> Filters:
    """Return `filters` sorted and without repetitions; raise ProtocolError if terms are too many or too long.

    Patterns of `keys.agent_id` become those of `agent_ids`.
    """
    if len(filters.keys) > MAX_PARTS:
        message = f"`filters.keys` names {len(filters.keys)} parts of keys; allowed: at most {MAX_PARTS}"
        raise ProtocolError(ErrorCode.TOO_MANY_TERMS, message)
    clean = {name: _check_terms(name, getattr(filters, name), max_terms) for name in ("agent_ids", "fields", "sources")}
    keys = {}
    for part in sorted(filters.keys):
        if not is_name(part):
            message = f"`filters.keys` names the part {quote(part)}; allowed: {ALLOWED_NAME}"
            raise ProtocolError(ErrorCode.INVALID_MESSAGE, message)
        if terms := _check_terms(f"keys.{part}", filters.keys[part], max_terms):
            keys[part] = terms
    if of_agents := keys.pop(AGENT_ID, ()):
        clean["agent_ids"] = _check_terms("agent_ids", (*clean["agent_ids"], *of_agents), max_terms)
    if (count := sum(map(count_wild, [clean["agent_ids"], *keys.values()]))) > MAX_WILD_TERMS:
        message = f"`filters` has {count} values with `*`; allowed: at most {MAX_WILD_TERMS}"
        raise ProtocolError(ErrorCode.TOO_MANY_TERMS, message)
    return Filters(**clean, keys=keys)


def _check_terms(name: str, terms: tuple[str, ...], max_terms: int) -> tuple[str, ...]:
    """Return terms sorted and without repetitions; raise ProtocolError."""
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
    return tuple(sorted(set(terms)))


def compile_projection(filters: Filters, permit: Permit = EVERYTHING) -> Projection:
    """Return a callable from a metric to the JSON that filters and permit leave of it, or None."""
    project_filtered = _compile_filters(filters)
    if permit == EVERYTHING:
        return project_filtered

    def project_permitted(decoded: DecodedMetric) -> bytes | None:
        permitted = decoded.under(permit)
        return None if permitted is None else project_filtered(permitted)

    return project_permitted


def _compile_filters(filters: Filters) -> Projection:
    """Return a callable from a metric to the JSON that filters leave of it, or None.

    `sources` leaves out metrics. `agent_ids` and `keys` leave out rows; they do not narrow metrics without rows, nor
    the fields beside the agents of an object. `fields` keeps what these names cover of the object, or of each row,
    whose identity always stays.
    """
    sources = frozenset(filters.sources)
    agents = frozenset(map(agent_row, filters.agent_ids))
    fields = frozenset(filters.fields)
    of_all_rows = (Narrowing(frozenset(), fields),)
    of_some_rows = (Narrowing(frozenset(filters.agent_ids), fields, filters.terms),)
    keeps_row, has_keys = row_test(frozenset(filters.agent_ids), filters.terms).keeps, bool(filters.keys)
    names_agents = bool(agents) and not count_wild(filters.agent_ids)

    def keeps(path: str) -> bool:
        return not fields or is_covered(path, fields)

    def keeps_without_agents(path: str) -> bool:
        # Where an agent was left out, the summaries of agents under a key go, too.
        return not is_covered(path, _AGENTS) and keeps(path)

    def project_filtered(decoded: DecodedMetric) -> bytes | None:
        metric = decoded.metric
        if sources and metric.source not in sources:
            return None
        narrowings = of_all_rows
        if (agents and decoded.names_agents) or (has_keys and metric.rows):
            if names_agents and metric.key == AGENT_KEY:  # most filters, and faster than a test of each row
                wanted = agents.intersection(metric.rows)
            else:
                wanted = frozenset(filter(keeps_row, metric.rows))
            if not wanted and not may_hold_agents(metric.body):
                return None  # a list of other rows
            # If all are wanted, the client gets what the producer encoded.
            if len(wanted) < len(set(metric.rows)):
                narrowings = of_some_rows
        if narrowings is of_all_rows and not fields:
            return metric.body
        document = decoded.document
        # A permit can have left out all agents that were under a key.
        has_rows = bool(metric.rows) and (isinstance(document.data, list) or AGENTS in document.data)
        data = project(document.data, narrowings, key=metric.key if has_rows else (), reads_every_id=False)
        if not data:
            return None
        keeps_shown = keeps if narrowings is of_all_rows else keeps_without_agents
        return _encode_part(document, data, keeps_shown, fields or ALL_FIELDS)

    if fields and not sources and not agents and not has_keys and not any("." in name for name in fields):
        return _project_fields_first(filters.fields, project_filtered)
    return project_filtered


def _project_fields_first(names: tuple[str, ...], project_filtered: Projection) -> Projection:
    """Return a faster callable for a filter of fields alone, on objects: each such view runs it for every metric."""
    names = tuple(map(intern, names))
    # Repeat the last name: with a single name, itemgetter returns no tuple.
    pick: Callable[[dict[str, bytes]], tuple[bytes, ...]] = itemgetter(*names, names[-1])
    join = b",".join

    def project_fields(decoded: DecodedMetric) -> bytes | None:
        head, parts, tail = decoded.parts
        if not parts:
            return project_filtered(decoded)
        kept: Sequence[bytes]
        try:
            kept = pick(parts)[:-1]
        except KeyError:
            kept = [parts[name] for name in names if name in parts]
        # Concatenation is three times as fast as formatting.
        return head + join(kept) + tail if kept else None

    return project_fields


def _names_fields(document: _Document) -> bool:
    return document.summary is not UNSET or document.units is not UNSET or document.windows is not UNSET


def _encode_part(document: _Document, data: Data, keeps: Callable[[str], bool], fields: frozenset[str]) -> bytes:
    """Return the document as JSON with this `data`; summaries stay for those paths for which `keeps` returns True.

    Units and windows stay for those of `fields` that are in `data`, and for the objects that hold them.
    """
    part = msgspec.structs.replace(document, data=data)
    for key in (UNITS, WINDOWS):
        if isinstance(stated := getattr(document, key), dict):
            shown = keep_shown(stated, names_in(data))
            if fields is not ALL_FIELDS:
                heads = names_below(fields)
                shown = {name: value for name, value in shown.items() if is_covered(name, fields) or name in heads}
            setattr(part, key, shown or UNSET)
    if isinstance(part.summary, dict):
        part.summary = {path: summed for path, summed in part.summary.items() if keeps(path)}
        if part.worst is not UNSET:
            part.worst = [path for path in part.worst if keeps(path)]
    return _encode(part)
