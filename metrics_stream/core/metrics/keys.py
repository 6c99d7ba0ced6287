"""The keys of rows: what tells a row of a metric type from the others, as text for the server and for people.

A keyed metric type has an ordered key, the names of its parts: `("agent_id",)` for agents, `("name", "method",
"scenario", "group")` for requests. Within the server a row is one text: `part=value`, joined by U+001F in the order of
the key, without parts that are absent: `name=/users␟method=GET`, `agent_id=agent-1`. Only this module knows the format.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from metrics_stream.core.metrics.metric import MAX_TERM_LENGTH, Metric
from metrics_stream.core.metrics.patterns import Match, count_wild, matcher_of

AGENT_ID = "agent_id"
AGENT_KEY: tuple[str, ...] = (AGENT_ID,)
"""The key of agents: of the type `agent`, and of what any object has under the key `agents`."""

SEPARATOR = "\x1f"

OTHER = "(other)"
"""The first part of the row into which rows past the budget are folded; its other parts are absent."""

# The texts of a row, its source and its metric type are an index of the database; PostgreSQL allows 2,704 bytes.
MAX_ROW_BYTES = 1_600

# Characters that no database stores, and those that break a line of a log.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

ALLOWED_NAME = f"1 to {MAX_TERM_LENGTH} characters, none of them a control character"


def is_name(text: str) -> bool:
    """Return whether a text can be a source, or a part of the key of a row."""
    return 0 < len(text) <= MAX_TERM_LENGTH and not _UNPRINTABLE.search(text)


def text_of(value: Any) -> str:
    """Return a decoded value of a part as text; empty for null and for what is neither text nor number."""
    if type(value) is str:
        return value
    return str(value) if type(value) in {int, float} else ""


def make_row(parts: Iterable[tuple[str, str]]) -> str:
    """Return the text of a row from its parts in the order of the key; empty ones are absent."""
    return SEPARATOR.join([f"{part}={_without_separator(value)}" for part, value in parts if value])


def _without_separator(value: str) -> str:
    return value.replace(SEPARATOR, "\ufffd") if SEPARATOR in value else value


def row_in(entry: Mapping[str, Any], key: Iterable[str]) -> str:
    """Return the text of the row that a decoded entry is."""
    return make_row([(part, text_of(entry.get(part))) for part in key])


@lru_cache(maxsize=20_000)
def parse_row(row: str) -> Mapping[str, str]:
    """Return the parts of a row by name, in the order of the key."""
    pairs = (item.partition("=") for item in row.split(SEPARATOR) if item)
    return MappingProxyType({part: value for part, _, value in pairs})


_AGENT = f"{AGENT_ID}="


def agent_row(agent_id: str) -> str:
    """Return the text of an agent's row."""
    return _AGENT + _without_separator(agent_id)


def agent_of(row: str | None) -> str | None:
    """Return the id of the agent that a row is of; None for other rows, and for no row."""
    return row[len(_AGENT) :] if row is not None and row.startswith(_AGENT) and SEPARATOR not in row else None


def agents_of(rows: Iterable[str]) -> tuple[str, ...]:
    """Return the ids of the agents among rows."""
    return tuple([agent_id for row in rows if (agent_id := agent_of(row)) is not None])


def make_storable(row: str) -> str:
    """Return a row's text that every database can store; those of `encode_metric` stay as they are."""
    return row.replace("\0", "\ufffd").encode(errors="replace")[:MAX_ROW_BYTES].decode(errors="ignore")


def label_row(row: str) -> str:
    """Return a row as people read it: its values, `GET /users` for a name and a method, the id of an agent."""
    parts = dict(parse_row(row))
    if "name" in parts and "method" in parts:
        parts = {"name": f"{parts.pop('method')} {parts.pop('name')}", **parts}
    return " · ".join(parts.values())


# --- matching ---


class Terms(NamedTuple):
    """The patterns of which one has to match a part of a row's key."""

    part: str
    patterns: frozenset[str]

    @property
    def sorted(self) -> tuple[str, list[str]]:
        """The part and its patterns in an order that is the same in every process."""
        return self.part, sorted(self.patterns)


class RowTest:
    """Which rows some terms keep; all of the terms must match.

    Terms on `agent_id` narrow agents, and rows with this part; the others narrow rows that are no agents, of which one
    without the part has an empty text there.
    """

    __slots__ = ("_agents", "_others", "agent")

    def __init__(self, terms: Collection[Terms]) -> None:
        tests = [(part, matcher_of(patterns)) for part, patterns in sorted(terms, key=lambda item: item.part)]
        of_agents = [test for part, test in tests if part == AGENT_ID]
        self.agent: Match | None = None
        """The test of the id of an agent; None keeps every agent."""
        if of_agents:
            self.agent = of_agents[0] if len(of_agents) == 1 else lambda text: all(test(text) for test in of_agents)
        ids = [term.patterns for term in terms if term.part == AGENT_ID]
        self._agents = frozenset(map(agent_row, ids[0])) if len(ids) == 1 and not count_wild(ids[0]) else None
        """The rows of agents that are kept, if the terms name all of them."""
        self._others = tuple((part, test) for part, test in tests if part != AGENT_ID)

    def tests_for(self, key: tuple[str, ...]) -> tuple[tuple[str, Match], ...]:
        """Return the tests of the parts of rows with this key."""
        if key == AGENT_KEY or (self.agent is not None and AGENT_ID in key):
            own = () if self.agent is None else ((AGENT_ID, self.agent),)
            return own if key == AGENT_KEY else (*own, *self._others)
        return self._others

    def keeps_all(self, rows: Collection[str]) -> bool:
        """Return whether all of some rows are kept."""
        return (self._agents is not None and self._agents.issuperset(rows)) or all(map(self.keeps, rows))

    def keeps(self, row: str | None) -> bool:
        """Return whether a row is kept; None stands for data that belongs to no row, which terms never narrow."""
        if row is None:
            return True
        if self._agents is not None and row in self._agents:
            return True
        if (agent_id := agent_of(row)) is not None:
            return self.agent is None or (self._agents is None and self.agent(agent_id))
        parts = parse_row(row)
        return all(test(parts.get(part, "")) for part, test in self._others) and (
            self.agent is None or AGENT_ID not in parts or self.agent(parts[AGENT_ID])
        )


@lru_cache(maxsize=1_000)
def row_test(agent_ids: frozenset[str], keys: frozenset[Terms]) -> RowTest:
    """Return the test of the rows that the patterns of ids of agents and the terms on other parts keep."""
    return RowTest(keys | {Terms(AGENT_ID, agent_ids)} if agent_ids else keys)


def restore_rows(metrics: list[Metric]) -> list[Metric]:
    """Return metrics whose rows are as today; those of an earlier version have the ids of agents, and no key."""
    if not any(metric.rows and not metric.key for metric in metrics):
        return metrics
    return [_restore(metric) if metric.rows and not metric.key else metric for metric in metrics]


def _restore(metric: Metric) -> Metric:
    return msgspec.structs.replace(metric, rows=tuple(map(agent_row, metric.rows)), key=AGENT_KEY)
