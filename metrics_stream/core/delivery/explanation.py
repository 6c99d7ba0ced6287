"""Explain step by step why a client gets a metric or not, using the same functions that deliver.

The question is tried on a sample metric: the newest one published that fits, or one made up for the purpose.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import msgspec

from metrics_stream.core.delivery.listed_names import Visible, list_names
from metrics_stream.core.delivery.pending import Delivery, Pending
from metrics_stream.core.delivery.selection import DecodedMetric, Selection, compile_projection
from metrics_stream.core.formatting import format_duration, quote
from metrics_stream.core.metrics.catalogue import Catalogue
from metrics_stream.core.metrics.encoding import encode_metric
from metrics_stream.core.metrics.keys import AGENT_ID, AGENT_KEY, agent_row, agents_of
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.metrics.paths import MISSING, look_up
from metrics_stream.core.metrics.permission import EVERYTHING, Grant, Permit
from metrics_stream.core.metrics.projection import AGENTS, MALFORMED, entries_in
from metrics_stream.core.protocol.messages import Filters

# The filters in the order in which they are explained, with a noun for people.
FILTER_WORDS = {"agent_ids": "agents", "fields": "fields", "sources": "sources"}

# If the newest metric is older, the page remarks on it: the producer has stopped publishing.
OUTDATED_SECONDS = 60.0

# A metric that is made up has at most so many agents and fields of filters and grants.
_MOST_SAMPLE_NAMES = 50
_MOST_SAMPLE_BYTES = 10_000_000

Verdict = Literal["yes", "no", "note"]


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """The client and the metric that are asked about; without a metric type only the client is described.

    An empty source, agent or field means any.
    """

    client_id: str
    metric_type: str = ""
    source: str = ""
    agent_id: str = ""
    field: str = ""
    newest: Metric | None = None
    """The newest metric of the history that fits, as far as the person who asks may see it."""
    newest_of_type: Metric | None = None
    """The newest metric of the type, from any source."""
    history_seconds: float = 0.0
    """How far back both were searched; 0 without a history."""
    asker: Permit = EVERYTHING
    """What the person who asks may see; the answer names nothing else."""

    @property
    def asker_sees_all(self) -> bool:
        """Whether the person who asks may see everything."""
        return self.asker.grants is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """The state of a client and of its server process. Instants are those of the hub's clock."""

    catalogue: Catalogue
    wall_time: float
    now: float
    bus_problem: str | None = None
    permit: Permit = EVERYTHING
    selection: Selection
    delivery: Delivery
    is_replaying: bool = False
    is_recovering: bool = False
    busy_seconds: float | None = None
    slow_after_seconds: float = 10.0
    backlog_bytes: int | None = None
    waiting_metrics: int = 0
    dropped_metrics: int = 0
    last_frame_at: float = float("-inf")
    """The last frame of the client itself, which can differ from that of its view."""
    view_frame_at: float = float("-inf")
    due_at: float | None = None
    """When the frame for the metrics that wait is due."""


class Step(msgspec.Struct, frozen=True):
    """One check on the way from the producer to the client, and its result."""

    title: str
    verdict: Verdict
    text: str


class Explanation(msgspec.Struct, frozen=True):
    """All steps and their conclusion."""

    gets: bool
    summary: str
    steps: list[Step]


def fits(metric: Metric, *, source: str, agent_id: str) -> bool:
    """Return whether a metric is of this source and agent; an empty one means any."""
    return (not source or metric.source == source) and (not agent_id or agent_row(agent_id) in metric.rows)


def holds(body: bytes | None, agent_id: str, path: str) -> bool:
    """Return whether the JSON of a metric contains a field of an agent; empty means any. None contains nothing."""
    if body is None:
        return False
    try:
        data = msgspec.json.decode(body)["data"]
    except MALFORMED:
        return False
    return any((not path or look_up(part, path) is not MISSING) for part in _parts_of(data, agent_id))


def _parts_of(data: object, agent_id: str) -> Iterable[dict[str, object]]:
    """Return the objects in a metric's data that can hold a field of the agent."""
    agents = data.get(AGENTS) if isinstance(data, dict) else data
    named = [entry for found_id, entry in entries_in(agents) if agent_id in ("", found_id)]
    # The fields beside agents belong to none of them.
    return [data, *named] if isinstance(data, dict) and not agent_id else named


def explain(question: Question, situation: Situation) -> Explanation:
    """Return why the client gets the metric in question, or why not."""
    visible = question.asker.metric_types(situation.catalogue.slugs)
    known = situation.catalogue.types[question.metric_type] if question.metric_type in visible else None
    if known is None:
        names = ", ".join(visible)
        return _conclude([Step("Metric type", "no", f"{quote(question.metric_type)} is unknown; there are: {names}.")])
    sample = _find_or_make_sample(question, situation)
    filters = list(_filter_steps(sample, question, situation.selection.filters))
    access = _access_step(sample, question, situation.permit)
    steps = [
        Step("Metric type", "yes", f"{known.slug} is known here as {known.label}."),
        _published_step(question, situation),
        _bus_step(situation.bus_problem),
        access,
        _subscription_step(question, situation.selection),
        *filters,
    ]
    if len(filters) > 0 and all(step.verdict == "yes" for step in [access, *filters]):
        steps += _common_steps(sample, question, situation)
    steps += [_delivery_step(situation.delivery), _client_step(situation)]
    if all(step.verdict != "no" for step in steps):
        steps.append(_frame_step(sample, situation))
    return _conclude(steps)


def _conclude(steps: list[Step]) -> Explanation:
    against = [step.title for step in steps if step.verdict == "no"]
    if not against:
        return Explanation(True, "It gets this metric.", steps)
    return Explanation(False, f"It does not get this metric, because of: {', '.join(against)}.", steps)


# --- the sample ---


def _find_or_make_sample(question: Question, situation: Situation) -> Metric:
    newest = question.newest
    if newest is not None and holds(newest.body, question.agent_id, question.field):
        return newest
    filters, grants = situation.selection.filters, situation.permit.grants or frozenset()
    kind = situation.catalogue.types[question.metric_type]
    own = [grant for grant in grants if kind.slug in grant.metric_types]
    names = {question.field} if question.field else _join_terms(filters.fields, *(g.fields for g in own))
    if not question.field:
        names |= {field.name for field in kind.fields} or {"value"}
    entry: dict[str, object] = dict.fromkeys(sorted(names), 0)
    agents = {question.agent_id} if question.agent_id else _join_terms(filters.agent_ids, *(g.agent_ids for g in own))
    data: object = entry
    if kind.key and kind.key != AGENT_KEY:
        terms = {part: [*filters.keys.get(part, ())] for part in kind.key}
        for part, patterns in sorted(term.sorted for grant in own for term in grant.keys):
            terms.get(part, []).extend(patterns)
        data = [{**entry, **row} for row in _sample_rows(terms)]
    elif kind.key or question.agent_id:
        entries = [{**entry, AGENT_ID: agent_id} for agent_id in sorted(agents) or ["agent"]]
        data = entries if kind.key else {AGENTS: entries}
    sources = _join_terms(filters.sources) or _join_terms(*(g.sources for g in own))
    source = question.source or (newest.source if newest is not None else min(sources, default="any"))
    return encode_metric(kind, data, timestamp=situation.wall_time, source=source, max_bytes=_MOST_SAMPLE_BYTES)


def _sample_rows(terms: Mapping[str, Sequence[str]]) -> Iterator[dict[str, str]]:
    """Yield rows that have patterns as parts of their keys: a pattern matches itself."""
    count = min(_MOST_SAMPLE_NAMES, max(map(len, terms.values())) or 1)
    for number in range(count):
        yield {part: patterns[number % len(patterns)] if patterns else part for part, patterns in terms.items()}


def _join_terms(*terms: Iterable[str]) -> set[str]:
    return set(sorted({name for each in terms for name in each})[:_MOST_SAMPLE_NAMES])


# --- the steps, in the order in which a metric passes them ---


def _published_step(question: Question, situation: Situation) -> Step:
    title = "Published lately"
    newest, of_type = question.newest, question.newest_of_type
    asked = _describe_question(question)
    if not question.history_seconds:
        return Step(title, "note", "There is no history here, so this is unknown.")
    if newest is None:
        kept = format_duration(question.history_seconds)
        nothing = f"Nothing of {asked} was published in the last {kept}"
        if not question.asker_sees_all:
            return Step(title, "note", f"{nothing} that you may see yourself.")
        if of_type is not None and (question.source or question.agent_id):
            nothing += f"; the newest {of_type.metric_type} metric is {_describe_age(of_type, situation.wall_time)}"
        return Step(title, "no", f"{nothing}.")
    text = f"The newest of {asked} is {_describe_age(newest, situation.wall_time)}"
    if question.field and not holds(newest.body, question.agent_id, question.field):
        verdict: Verdict = "no" if question.asker_sees_all else "note"
        seen = "" if question.asker_sees_all else " that you may see yourself"
        return Step(title, verdict, f"{text}, and has no field {quote(question.field)}{seen}.")
    is_outdated = situation.wall_time - newest.timestamp > OUTDATED_SECONDS
    return Step(title, "note" if is_outdated else "yes", f"{text}.")


def _describe_question(question: Question) -> str:
    parts = [question.metric_type]
    parts += [f"source {question.source}"] if question.source else []
    parts += [f"agent {question.agent_id}"] if question.agent_id else []
    return ", ".join(parts)


def _describe_age(metric: Metric, wall_time: float) -> str:
    return f"{_format_seconds(wall_time - metric.timestamp)} old, of source {metric.source}"


def _bus_step(problem: str | None) -> Step:
    if problem is None:
        return Step("Channel layer", "yes", "It delivers what the clients of this server process have subscribed to.")
    return Step("Channel layer", "no", f"{problem[:1].upper()}{problem[1:]}.")


def _access_step(sample: Metric, question: Question, permit: Permit) -> Step:
    title = "Access"
    if permit.grants is None:
        return Step(title, "yes", "It may see everything.")
    if not permit.grants:
        return Step(title, "no", "It may see no live metrics.")

    def describe(grant: Grant) -> str:
        return _describe_grant(grant, question.asker)

    grants = sorted(permit.grants, key=describe)
    through = [grant for grant in grants if _is_shown(sample, question, Filters(), Permit(frozenset({grant})))]
    if through:
        return Step(title, "yes", f"Let through by: {'; or '.join(map(describe, through))}.")
    return Step(title, "no", f"It may see only: {'; or '.join(map(describe, grants))}.")


def _describe_grant(grant: Grant, asker: Permit) -> str:
    text = f"metrics of {list_names(grant.metric_types, asker.metric_types) or 'no type'}"
    narrowed = [
        ("sources", grant.sources, asker.visible_sources),
        ("agents", grant.agent_ids, asker.visible_agents),
        ("fields", grant.fields, asker.visible_fields),
    ]
    text += "".join(f", only the {noun} {list_names(terms, shown)}" for noun, terms, shown in narrowed if terms)
    for part, patterns in sorted(term.sorted for term in grant.keys):
        text += f", only rows with the {part} {list_names(patterns, partial(asker.visible_values, part))}"
    return text


def _subscription_step(question: Question, selection: Selection) -> Step:
    types = list_names(selection.metric_types, question.asker.metric_types, most=len(selection.metric_types))
    if question.metric_type in selection.metric_types:
        return Step("Subscription", "yes", f"It has subscribed to {types}.")
    has = f"It has subscribed to {types} only" if selection.metric_types else ""
    return Step("Subscription", "no", f"{has or 'It has subscribed to nothing'}; the client has to send `subscribe`.")


def _filter_steps(sample: Metric, question: Question, filters: Filters) -> Iterable[Step]:
    if filters == Filters():
        yield Step("Filters", "yes", "It has set none.")
    asker = question.asker
    visible: dict[str, Visible] = {
        "agent_ids": asker.visible_agents,
        "fields": asker.visible_fields,
        "sources": asker.visible_sources,
    }
    for name, noun in FILTER_WORDS.items():
        terms: tuple[str, ...] = getattr(filters, name)
        if terms:
            own = msgspec.structs.replace(Filters(), **{name: terms})
            lets_through = _is_shown(sample, question, own, EVERYTHING)
            text = f"It wants only: {list_names(terms, visible[name])}." + (
                "" if lets_through else f" {_describe_sample(sample, name, question)}"
            )
            yield Step(f"Filter of {noun}", "yes" if lets_through else "no", text)
    for part, patterns in filters.keys.items():
        lets_through = _is_shown(sample, question, Filters(keys={part: patterns}), EVERYTHING)
        text = f"It wants only rows with: {list_names(patterns, partial(asker.visible_values, part))}."
        text += "" if lets_through else " The metric has no such row."
        yield Step(f"Filter of {part}", "yes" if lets_through else "no", text)


def _describe_sample(sample: Metric, name: str, question: Question) -> str:
    if name == "sources":
        return f"The metric is of {list_names((sample.source,), question.asker.visible_sources)}."
    if name == "agent_ids":
        agent_ids = (question.agent_id,) if question.agent_id else agents_of(sample.rows)
        return f"The metric is of {list_names(agent_ids, question.asker.visible_agents)}."
    return (
        f"That leaves nothing of {quote(question.field)}." if question.field else "That leaves nothing of the metric."
    )


def _common_steps(sample: Metric, question: Question, situation: Situation) -> Iterable[Step]:
    if not _is_shown(sample, question, situation.selection.filters, situation.permit):
        yield Step("Access and filters together", "no", "Its access and its filters together leave nothing.")


def _is_shown(sample: Metric, question: Question, filters: Filters, permit: Permit) -> bool:
    try:
        body = compile_projection(filters, permit)(DecodedMetric(sample))
    except MALFORMED:
        return False
    return holds(body, question.agent_id if sample.rows else "", question.field)


def _delivery_step(delivery: Delivery) -> Step:
    every = f"at most every {delivery.interval_seconds:g} s"
    match delivery.mode:
        case "latest":
            text = f"Mode latest: the newest of each source and its agents, {every}; a newer one replaces it before."
        case "aggregate":
            text = f"Mode aggregate: a summary of all metrics since the last frame replaces it, {every}."
        case _:
            text = f"Mode all: every metric, in a frame of its own, those that wait together {every}."
            if not delivery.is_single:
                text = (
                    f"Mode all: every metric, in frames {every}, once {delivery.batch_size} wait or "
                    f"{delivery.batch_timeout_seconds:g} s after the last one."
                )
    return Step("Delivery", "yes" if delivery.mode == "all" else "note", text)


def _client_step(situation: Situation) -> Step:
    title = "Client"
    waiting = f" {situation.waiting_metrics:,} metrics wait for it." if situation.waiting_metrics else ""
    if situation.dropped_metrics:
        waiting += f" It was told of {situation.dropped_metrics:,} that were dropped before."
    if situation.is_replaying:
        return Step(title, "no", "It watches a replay; it gets live metrics again after it sends `live`.")
    if situation.is_recovering:
        return Step(title, "note", f"It is being sent what was published before.{waiting}")
    if situation.busy_seconds is not None:
        rest = "" if situation.backlog_bytes is None else f", {situation.backlog_bytes:,} bytes of it are left"
        text = (
            f"It has not accepted all of its last frame for {_format_seconds(situation.busy_seconds)}{rest}. After "
            f"{situation.slow_after_seconds:g} s without any progress it is closed.{waiting}"
        )
        return Step(title, "note", text)
    return Step(title, "note" if situation.dropped_metrics else "yes", f"It accepts what it is sent.{waiting}")


def _frame_step(sample: Metric, situation: Situation) -> Step:
    title = "Next frame"
    now, floor_at = situation.now, situation.last_frame_at + situation.delivery.interval_seconds
    if situation.due_at is not None:
        return Step(
            title,
            "yes",
            f"Due in {_format_seconds(max(situation.due_at, floor_at) - now)}, with the metrics that wait.",
        )
    pending = Pending(
        situation.delivery, max_metrics=2, max_bytes=_MOST_SAMPLE_BYTES, last_frame_at=situation.view_frame_at
    )
    pending.add(sample, sample.body, now)
    due_at = max(now if pending.due_at is None else pending.due_at, floor_at)
    return Step(
        title, "yes", f"Nothing waits; a metric that arrived now would be sent in {_format_seconds(due_at - now)}."
    )


def _format_seconds(seconds: float) -> str:
    return f"{max(0.0, seconds):.2f} s" if seconds < 10 else format_duration(seconds)
