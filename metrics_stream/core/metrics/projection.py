"""The shape of rows, and the projection of a metric's data onto the rows and fields that may be shown.

A metric's data is an object, or a list of rows. A row is an object with the parts of its key: an agent has an
`agent_id`. An object can hold agents under the key `agents`: in a list, or in an object that is keyed by their ids.
Filters and grants use the same projection; for grants it is a security boundary.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from metrics_stream.core.metrics.keys import AGENT_ID, AGENT_KEY, Terms, agent_row, row_in, row_test, text_of
from metrics_stream.core.metrics.paths import is_covered, names_below
from metrics_stream.core.metrics.patterns import Match

AGENTS = "agents"

# These fields tell an agent from its neighbours; they stay in every part of it.
IDENTITY_FIELDS = frozenset({AGENT_ID, "agent_name"})

# Reading the data of a body raises one of these if the body is no metric, or its rows are not those in `rows`.
# Only a producer that does not use the helper can publish such a body.
MALFORMED = (msgspec.DecodeError, KeyError, RecursionError)

Row = dict[str, Any]
Entry = dict[str, msgspec.Raw]
Data = Entry | list[Entry]


# --- encoded data: which agents are in it ---


class _Agent(msgspec.Struct):
    agent_id: str | int | float


class _AgentHolder(msgspec.Struct):
    agents: list[_Agent] | dict[str, dict[str, msgspec.Raw]]


_decode_list = msgspec.json.Decoder(list[_Agent]).decode
_decode_holder = msgspec.json.Decoder(_AgentHolder).decode


def may_hold_agents(body: bytes) -> bool:
    """Return whether the JSON can contain the key `agents`, without decoding it."""
    return b'"agents"' in body


def agent_ids_in(data: bytes) -> tuple[str, ...]:
    """Return the ids of the agents in a metric's data, given as JSON; empty when it has none."""
    try:
        if data.startswith(b"["):
            return tuple(str(agent.agent_id) for agent in _decode_list(data))
        if not may_hold_agents(data):
            return ()
        agents = _decode_holder(data).agents
    except msgspec.ValidationError:  # the list, or the key `agents`, holds something else
        return ()
    return tuple(agents) if isinstance(agents, dict) else tuple(str(agent.agent_id) for agent in agents)


# --- decoded data: the rows one by one ---


class _Body(msgspec.Struct, gc=False):
    data: Any
    key: tuple[str, ...] = AGENT_KEY


decode_body = msgspec.json.Decoder(_Body).decode
"""Return an object with the decoded `data` of a metric, and the `key` of its rows; raise one of MALFORMED."""


def entries_in(agents: Any) -> Iterator[tuple[str | None, Row]]:
    """Yield each object in a list of agents, or in an object keyed by their ids, with its id; None if it has no id."""
    if type(agents) is dict:
        for agent_id, entry in agents.items():
            if type(entry) is dict:
                yield agent_id, entry
    elif type(agents) is list:
        for entry in agents:
            if type(entry) is dict:
                yield id_of(entry) if AGENT_ID in entry else None, entry


def split_rows(data: Any, key: tuple[str, ...] = AGENT_KEY) -> list[tuple[str | None, Row]]:
    """Return the object without its agents, with None, and each row with its text; skip anything else.

    Removes `agents` from `data`, and the parts of the key from the rows.
    """
    if key != AGENT_KEY and type(data) is list:
        return [(row, entry) for entry in data if type(entry) is dict and (row := _take_row(entry, key))]
    parts: list[tuple[str | None, Row]] = []
    agents = data
    if type(data) is dict:
        agents = data.pop(AGENTS, None)
        parts.append((None, data))
    for agent_id, entry in entries_in(agents):
        if agent_id is not None:
            entry.pop(AGENT_ID, None)
            parts.append((agent_row(agent_id), entry))
    return parts


def _take_row(entry: Row, key: tuple[str, ...]) -> str:
    row = row_in(entry, key)
    for part in key:
        entry.pop(part, None)
    return row


def rows_in(data: Any, key: tuple[str, ...] | None) -> list[tuple[str | None, Row]]:
    """Return the rows of a list of rows with their texts; empty for any other data. Without a key they are agents."""
    if key is not None and key != AGENT_KEY:
        is_list = type(data) is list and all(type(entry) is dict for entry in data)
        return [(row_in(entry, key), entry) for entry in data] if is_list else []
    return [(agent_row(id_of(entry)), entry) for entry in data] if are_agents(data) else []


def id_of(entry: Row) -> str:
    """Return the id of an agent's entry."""
    return str(entry[AGENT_ID])


def are_agents(entries: Any) -> bool:
    """Return whether this is a list of one or more agents, and of nothing else."""
    return (
        type(entries) is list
        and len(entries) > 0
        and all(type(entry) is dict and AGENT_ID in entry for entry in entries)
    )


def agents_by_id(agents: list[Row]) -> dict[str, Row]:
    """Return the entries of a list of agents by their ids; of two with the same id the last."""
    return {id_of(entry): entry for entry in agents}


# --- projection: data whose fields stay encoded ---


class Narrowing:
    """The rows to show, and the fields of each, of which an empty set means all."""

    __slots__ = ("fields", "rows")

    def __init__(self, agent_ids: frozenset[str], fields: frozenset[str], keys: frozenset[Terms] = frozenset()) -> None:
        """Take patterns of the ids of agents, and terms on parts of other keys."""
        self.fields = fields
        self.rows = row_test(agent_ids, keys)

    def with_all_fields(self) -> Narrowing:
        """Return a narrowing for the same rows."""
        whole = Narrowing(_NO_FIELDS, _NO_FIELDS)
        whole.rows = self.rows
        return whole


_NO_FIELDS: frozenset[str] = frozenset()

ALL_FIELDS: frozenset[str] = frozenset({"every field"})
"""Stands for every field. It is compared by identity, so that its one name is not taken for that of a field."""

_decode_agents = msgspec.json.Decoder(dict[str, Entry] | list[Entry]).decode
_decode_entry = msgspec.json.Decoder(Entry).decode
_decode_id = msgspec.json.Decoder(str | int | float | bool | None).decode
_encode = msgspec.json.Encoder().encode


def project(data: Data, narrowings: Sequence[Narrowing], *, key: tuple[str, ...], reads_every_id: bool) -> Data:
    """Return what at least one of the narrowings shows of a metric's data; empty when that is nothing.

    `key` is that of its rows, empty if it has none. `fields` names fields of the object, or of each row, which keeps
    its identity; paths.py says what a name covers. If it names `agents` itself, the entries under this key are shown
    whole. `agent_ids` do not narrow an object without agents; but a list or an object that it has under `agents` is
    shown only by a narrowing for all agents. Of an object with agents of which none is shown, the other fields stay,
    and beside them `agents` without entries unless the fields leave it out. With `reads_every_id` an
    agent without an id raises one of MALFORMED even if all agents are shown.
    """
    has_agents = key == AGENT_KEY
    if isinstance(data, list):
        if key and not has_agents:
            return _project_rows(data, narrowings, key)
        return _project_list(data, narrowings, reads_ids=has_agents and (reads_every_id or _names_agents(narrowings)))
    fields = join_fields(narrowings)
    shown = dict(data) if fields is ALL_FIELDS else _pick_fields(data, fields)
    if has_agents:
        agents = _project_agents(data[AGENTS], narrowings, reads_every_id=reads_every_id)
        shows_key = shown.pop(AGENTS, None) is not None
        if agents is not None:
            shown[AGENTS] = agents
        elif shows_key and shown:
            shown[AGENTS] = _without_entries(data[AGENTS])
    elif AGENTS in shown and bytes(shown[AGENTS])[:1] in b"[{" and not _shows_all_agents_whole(narrowings):
        # A list or an object can hold data of agents without a valid id, which no grant for single agents covers.
        del shown[AGENTS]
    return shown


def names_in(data: Data) -> frozenset[str]:
    """Return the names of all fields in a projection: those of the object, and those of its agents."""
    if isinstance(data, list):
        return frozenset[str]().union(*data)
    names = frozenset(data)
    if AGENTS in data:
        try:
            agents = _decode_agents(data[AGENTS])
        except msgspec.DecodeError:  # no agents, but a value of this name
            return names
        names = names.union(*(agents.values() if isinstance(agents, dict) else agents))
    return names


def _project_agents(raw: msgspec.Raw, narrowings: Sequence[Narrowing], *, reads_every_id: bool) -> msgspec.Raw | None:
    narrowings = [item.with_all_fields() if AGENTS in item.fields else item for item in narrowings]
    agents = _decode_agents(raw)
    shown: list[Entry] | dict[str, Entry]
    if isinstance(agents, list):
        shown = _project_list(agents, narrowings, reads_ids=reads_every_id or _names_agents(narrowings))
    else:
        shown = _project_keyed(agents, narrowings)
    return msgspec.Raw(_encode(shown)) if shown else None


def _without_entries(agents: msgspec.Raw) -> msgspec.Raw:
    """Return an empty list or object, as the agents of a metric came."""
    return msgspec.Raw(b"[]" if bytes(agents)[:1] == b"[" else b"{}")


def _project_list(entries: list[Entry], narrowings: Sequence[Narrowing], *, reads_ids: bool) -> list[Entry]:
    if reads_ids:
        if len(narrowings) != 1:
            return [
                part
                for entry in entries
                if (part := _pick(entry, _fields_of_agent(narrowings, str(_decode_id(entry[AGENT_ID])))))
            ]
        # Filters, and most permits, are one narrowing: look up its fields once instead of for each agent.
        agent_ids = [str(_decode_id(entry[AGENT_ID])) for entry in entries]
        if (test := narrowings[0].rows.agent) is not None:
            entries = [entry for entry, agent_id in zip(entries, agent_ids, strict=True) if test(agent_id)]
    fields = join_fields(narrowings)
    return [part for entry in entries if (part := _pick(entry, fields))]


def _project_rows(entries: list[Entry], narrowings: Sequence[Narrowing], key: tuple[str, ...]) -> list[Entry]:
    identity = frozenset(key)
    tested = [(item.rows.tests_for(key), item) for item in narrowings]
    if len(tested) == 1 or not any(tests for tests, _ in tested):
        # Filters, and most permits, are one narrowing: look up its fields once instead of for each row.
        tests, fields = tested[0][0], join_fields(narrowings)
        rows = [entry for entry in entries if _passes(entry, tests, identity)] if tests else entries
        return [part for entry in rows if (part := _pick(entry, fields, identity))]
    shown = []
    for entry in entries:
        fields = join_fields([item for tests, item in tested if _passes(entry, tests, identity)])
        if part := _pick(entry, fields, identity):
            shown.append(part)
    return shown


def _passes(entry: Entry, tests: Iterable[tuple[str, Match]], key: frozenset[str]) -> bool:
    """Return whether the parts of a row's key pass; a part that the row or its key lacks is an empty text."""
    for part, test in tests:
        value = text_of(_decode_id(entry[part])) if part in entry and part in key else ""
        if not test(value):
            return False
    return True


def _project_keyed(agents: dict[str, Entry], narrowings: Sequence[Narrowing]) -> dict[str, Entry]:
    if len(narrowings) != 1:
        return {
            agent_id: part
            for agent_id, entry in agents.items()
            if (part := _pick(entry, _fields_of_agent(narrowings, agent_id)))
        }
    test, fields = narrowings[0].rows.agent, join_fields(narrowings)
    return {
        agent_id: part
        for agent_id, entry in agents.items()
        if (test is None or test(agent_id)) and (part := _pick(entry, fields))
    }


def _pick(entry: Entry, fields: frozenset[str], identity: frozenset[str] = IDENTITY_FIELDS) -> Entry:
    """Return the fields of a row and its identity; empty when it has none of the fields."""
    if fields is ALL_FIELDS:
        return entry
    shown = _pick_fields(entry, fields)
    if not shown:
        return {}
    return {key: shown.get(key, value) for key, value in entry.items() if key in shown or key in identity}


def _pick_fields(entry: Entry, fields: frozenset[str]) -> Entry:
    """Return the part of an object that the names of `fields` cover; empty when that is nothing."""
    shown = {key: value for key, value in entry.items() if key in fields or ("." in key and is_covered(key, fields))}
    for key, names in names_below(fields).items():
        if key in entry and key not in shown and key != AGENTS and bytes(entry[key])[:1] == b"{":
            part = _pick_fields(_decode_entry(entry[key]), names)
            if part:
                shown[key] = msgspec.Raw(_encode(part))
    return shown


def _fields_of_agent(narrowings: Sequence[Narrowing], agent_id: str) -> frozenset[str]:
    """Return the fields that the narrowings show of an agent."""
    tested = ((item, item.rows.agent) for item in narrowings)
    return join_fields([item for item, test in tested if test is None or test(agent_id)])


def join_fields(narrowings: Sequence[Narrowing]) -> frozenset[str]:
    """Return the fields that at least one narrowing names, for whichever agents."""
    if len(narrowings) == 1:
        return narrowings[0].fields or ALL_FIELDS
    if any(not item.fields for item in narrowings):
        return ALL_FIELDS
    return _NO_FIELDS.union(*(item.fields for item in narrowings))


def _names_agents(narrowings: Iterable[Narrowing]) -> bool:
    for item in narrowings:  # noqa: SIM110  for one narrowing any() takes five times as long
        if item.rows.agent is not None:
            return True
    return False


def _shows_all_agents_whole(narrowings: Iterable[Narrowing]) -> bool:
    return any(item.rows.agent is None and (not item.fields or AGENTS in item.fields) for item in narrowings)
