"""The shape of agent data, and the projection of filters and grants against a reference that walks decoded JSON."""

import json
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from metrics_stream.core.delivery.selection import DecodedMetric, compile_projection
from metrics_stream.core.metrics.keys import AGENT_KEY, agent_row
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.metrics.permission import Grant, Permit
from metrics_stream.core.metrics.projection import (
    MALFORMED,
    Entry,
    Narrowing,
    agent_ids_in,
    agents_by_id,
    are_agents,
    entries_in,
    project,
    split_rows,
)
from metrics_stream.core.protocol.messages import Filters

ONE = {"agent_id": "a1", "load": 1}
SEVEN = {"agent_id": 7, "load": 7}

# --- the shape ---


@pytest.mark.parametrize(
    ("data", "agent_ids"),
    [
        ({"load": 1}, ()),
        ([ONE, SEVEN], ("a1", "7")),
        ([], ()),
        ([ONE, {"load": 1}], ()),
        ([ONE, 1], ()),
        ({"agents": [ONE, SEVEN]}, ("a1", "7")),
        ({"agents": {"a1": {"load": 1}, "a2": {}}}, ("a1", "a2")),
        ({"agents": {"a1": {"load": 1}, "count": 1}}, ()),
        ({"agents": 3}, ()),
        ({"nested": {"agents": [ONE]}}, ()),
        ([{"agent_id": None}], ()),
        ("agents", ()),
    ],
    ids=str,
)
def test_agent_ids_are_found_in_a_list_and_under_the_key_agents(data, agent_ids):
    assert agent_ids_in(json.dumps(data).encode()) == agent_ids


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        ({"load": 1}, [(None, {"load": 1})]),
        ([ONE, SEVEN], [("agent_id=a1", {"load": 1}), ("agent_id=7", {"load": 7})]),
        ({"total": 2, "agents": [ONE]}, [(None, {"total": 2}), ("agent_id=a1", {"load": 1})]),
        ({"agents": {"a1": {"load": 1}}, "total": 2}, [(None, {"total": 2}), ("agent_id=a1", {"load": 1})]),
        ({"agents": {"a1": ONE, "count": 1}}, [(None, {}), ("agent_id=a1", {"load": 1})]),
        ({"total": 2, "agents": 3}, [(None, {"total": 2})]),
        ([ONE, {"load": 1}, 1], [("agent_id=a1", {"load": 1})]),
        (3, []),
    ],
    ids=str,
)
def test_data_is_split_into_what_belongs_to_no_agent_and_each_agents_entry(data, parts):
    assert split_rows(json.loads(json.dumps(data))) == parts


def test_entries_without_an_id_are_told_apart():
    assert list(entries_in([ONE, {"load": 1}, 1])) == [("a1", ONE), (None, {"load": 1})]
    assert list(entries_in({"a1": {"load": 1}, "count": 1})) == [("a1", {"load": 1})]


def test_only_a_list_of_objects_with_ids_is_a_list_of_agents():
    assert are_agents([ONE, SEVEN])
    for other in ([], [ONE, {}], [ONE, 1], {"a1": ONE}, None):
        assert not are_agents(other)
    assert agents_by_id([ONE, SEVEN]) == {"a1": ONE, "7": SEVEN}


# --- the reference ---


class Asked(NamedTuple):
    agent_ids: frozenset[str]
    fields: frozenset[str]


def covers(narrowing, agent_id):
    return agent_id is None or not narrowing.agent_ids or agent_id in narrowing.agent_ids


def shows(narrowings, agent_id, field):
    """Return whether one narrowing covers the agent (None belongs to no agent) and names the field."""
    return any(covers(item, agent_id) and (not item.fields or field in item.fields) for item in narrowings)


def part_of_entry(entry, agent_id, narrowings):
    if not isinstance(entry, dict):
        raise TypeError(entry)
    if not any(shows(narrowings, agent_id, field) for field in entry):
        return None
    identity = ("agent_id", "agent_name")
    return {field: entry[field] for field in entry if field in identity or shows(narrowings, agent_id, field)}


def part_of(data, has_agents, narrowings):
    """Return what the narrowings show of decoded data; raise TypeError or KeyError where agents have no ids."""
    if isinstance(data, list):
        parts = [part_of_entry(entry, id_of(entry) if has_agents else None, narrowings) for entry in data]
        return [part for part in parts if part]
    part = {key: value for key, value in data.items() if key != "agents" and shows(narrowings, None, key)}
    if not has_agents:
        if "agents" in data and shows(narrowings, None, "agents"):
            is_of_unknown_agents = isinstance(data["agents"], list | dict)
            if not is_of_unknown_agents or any(
                not item.agent_ids and shows([item], None, "agents") for item in narrowings
            ):
                part = {key: value for key, value in data.items() if shows(narrowings, None, key)}
        return part
    inner = [Asked(item.agent_ids, frozenset() if "agents" in item.fields else item.fields) for item in narrowings]
    agents = data["agents"]
    if isinstance(agents, list):
        shown = part_of(agents, True, inner)
    else:
        parts = {agent_id: part_of_entry(entry, agent_id, inner) for agent_id, entry in agents.items()}
        shown = {agent_id: part for agent_id, part in parts.items() if part}
    if shown or (part and shows(narrowings, None, "agents")):
        return {**part, "agents": shown}
    return part


def id_of(entry):
    if isinstance(entry["agent_id"], list | dict):
        raise TypeError(entry)
    return {None: "None", True: "True", False: "False"}.get(entry["agent_id"]) or str(entry["agent_id"])


# --- generated metrics ---

IDS = ["a1", "a2", "7", "é"]
FIELDS = ["a", "b", "agents", "agent_id", "agent_name", "sketches", "every field"]

values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.just(0.5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=2),
    max_leaves=4,
)
sketches = st.just({"x": {"accuracy": 0.01, "bins": {"3": 2}}})
objects = st.fixed_dictionaries(
    {}, optional={"a": values, "b": values, "agent_name": values, "every field": values, "sketches": sketches}
)
agents = st.tuples(objects, st.sampled_from(["a1", "a2", "é", 7])).map(lambda pair: {**pair[0], "agent_id": pair[1]})
lists = st.lists(agents, max_size=4)
keyed = st.dictionaries(st.sampled_from(IDS), objects | agents, max_size=4)
malformed_lists = st.lists(agents | objects | st.tuples(objects, values).map(lambda p: {**p[0], "agent_id": p[1]}))
held = st.tuples(objects, lists | keyed | malformed_lists | values).map(lambda pair: {"agents": pair[1], **pair[0]})
metric_data = objects | lists | held

terms = st.frozensets(st.sampled_from(IDS), max_size=3)
fields = st.frozensets(st.sampled_from(FIELDS), max_size=3)
sources = st.sampled_from([frozenset(), frozenset({"host1"}), frozenset({"host2"})])
filters = st.builds(Filters, agent_ids=terms.map(tuple), fields=fields.map(tuple), sources=sources.map(tuple))
types = st.sampled_from([frozenset({"system"}), frozenset({"agent"})])
permits = st.builds(Permit, st.frozensets(st.builds(Grant, types, sources, terms, fields), max_size=3))


def encoded(data):
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()


def comparable(data):
    """Return a text that differs where values differ: True == 1 == 1.0 in Python. The order of keys has no meaning."""
    return json.dumps(data, sort_keys=True)


def seen(data, agent_ids, filters, permit):
    body = b'{"metric_type":"system","timestamp":"then","source":"host1","data":%b}' % encoded(data)
    rows = tuple(map(agent_row, agent_ids))
    part = compile_projection(filters, permit)(
        DecodedMetric(Metric("system", "host1", 0.0, rows, body, AGENT_KEY if rows else ()))
    )
    return None if part is None else comparable(json.loads(part)["data"])


@given(metric_data, filters)
def test_filters_show_what_the_reference_shows(data, asked):
    agent_ids = agent_ids_in(encoded(data))
    expected = None
    if not asked.sources or "host1" in asked.sources:
        # Filters do not narrow a metric without agents by agents.
        wanted = frozenset(asked.agent_ids) if agent_ids else frozenset()
        part = part_of(data, bool(agent_ids), [Asked(wanted, frozenset(asked.fields))])
        if not asked.fields and (not wanted or wanted.issuperset(agent_ids)):
            expected = comparable(data)  # the bytes of the producer, even if they show nothing
        elif part:
            expected = comparable(part)
    assert seen(data, agent_ids, asked, Permit()) == expected


OF_TWO = [{"agent_id": "a1", "load": 1}, {"agent_id": "a2", "load": 2}]
KEYED = {"a1": {"load": 1}, "a2": {"load": 2}}


@pytest.mark.parametrize(
    ("data", "asked", "shown"),
    [
        ({"agents": KEYED, "x": 1}, {"agent_ids": ["a9"]}, {"agents": {}, "x": 1}),
        ({"agents": OF_TWO, "x": 1}, {"agent_ids": ["a9"]}, {"agents": [], "x": 1}),
        ({"agents": KEYED, "x": 1}, {"agent_ids": ["a2"]}, {"agents": {"a2": {"load": 2}}, "x": 1}),
        ({"agents": KEYED, "x": 1}, {"agent_ids": ["a9"], "fields": ["x"]}, {"x": 1}),
        ({"agents": KEYED, "x": 1}, {"agent_ids": ["a9"], "fields": ["x", "agents"]}, {"agents": {}, "x": 1}),
        ({"agents": KEYED, "x": 1}, {"agent_ids": ["a9"], "fields": ["load"]}, None),
        ({"agents": KEYED}, {"agent_ids": ["a9"]}, None),
        ({"agents": OF_TWO}, {"agent_ids": ["a9"]}, None),
        (OF_TWO, {"agent_ids": ["a9"]}, None),
        ([{**agent, "agents": 1} for agent in OF_TWO], {"agent_ids": ["a9"]}, None),
        ({"x": 1}, {"agent_ids": ["a9"]}, {"x": 1}),
        ({"agents": {}, "x": 1}, {"agent_ids": ["a9"]}, {"agents": {}, "x": 1}),
    ],
    ids=str,
)
def test_the_fields_beside_agents_stay_when_no_agent_is_left(data, asked, shown):
    expected = None if shown is None else comparable(shown)
    agent_ids = agent_ids_in(encoded(data))
    terms = {name: tuple(values) for name, values in asked.items()}
    assert seen(data, agent_ids, Filters(**terms), Permit()) == expected
    # A grant for the same agents and fields shows the same.
    grant = Grant(frozenset({"system"}), **{name: frozenset(values) for name, values in asked.items()})
    if agent_ids:
        assert seen(data, agent_ids, Filters(), Permit(frozenset({grant}))) == expected


@given(metric_data, permits)
def test_grants_show_what_the_reference_shows(data, permit):
    agent_ids = agent_ids_in(encoded(data))
    grants = permit.grants_for("system", "host1")
    part = part_of(data, bool(agent_ids), [Asked(grant.agent_ids, grant.fields) for grant in grants])
    expected = comparable(part) if part else None
    may_have_others = not agent_ids and b'"agents"' in encoded(data)
    if any(grant.shows_whole(tuple(map(agent_row, agent_ids)), may_have_others=may_have_others) for grant in grants):
        expected = comparable(data)
    assert seen(data, agent_ids, Filters(), permit) == expected


@given(metric_data, filters, permits)
def test_filters_never_show_more_than_grants_allow(data, asked, permit):
    agent_ids = agent_ids_in(encoded(data))
    both = seen(data, agent_ids, asked, permit)
    allowed = seen(data, agent_ids, Filters(), permit)
    if both is not None:
        assert allowed is not None
        assert places(json.loads(both)) <= places(json.loads(allowed))


def places(data):
    """Return each field that data shows as the agent, or None, its name and its value."""
    if isinstance(data, dict) and isinstance(data.get("agents"), list | dict):
        own = {key: value for key, value in data.items() if key != "agents"}
        return places(own) | places(data["agents"]) | {(None, "agents", "")}
    pairs = data.items() if isinstance(data, dict) else ((None, entry) for entry in data)
    entries = [(entry.get("agent_id", key) if isinstance(entry, dict) else key, entry) for key, entry in pairs]
    return {
        (str(agent_id), field, comparable(value))
        for agent_id, entry in entries
        for field, value in (entry.items() if isinstance(entry, dict) else [("", entry)])
    }


@example([{}], True, [Asked(frozenset(), frozenset())])
@given(metric_data | malformed_lists, st.booleans(), st.lists(st.builds(Asked, terms, fields), max_size=3))
def test_malformed_data_shows_no_more_than_the_reference(data, has_agents, narrowings):
    decoded = msgspec.json.decode(encoded(data), type=Entry | list[Entry])
    asked, key = [Narrowing(*item) for item in narrowings], AGENT_KEY if has_agents else ()
    try:
        expected = comparable(part_of(data, has_agents, narrowings))
    except (AttributeError, KeyError, TypeError):
        with pytest.raises(MALFORMED):
            project(decoded, asked, key=key, reads_every_id=True)
        return
    part = project(decoded, asked, key=key, reads_every_id=True)
    assert comparable(json.loads(msgspec.json.encode(part))) == expected


def test_data_nested_too_deeply_is_malformed():
    body = b'{"metric_type":"system","timestamp":"then","source":"host1","data":{"a":%b1%b}}' % (
        b"[" * 9999,
        b"]" * 9999,
    )
    with pytest.raises(MALFORMED):
        compile_projection(Filters(fields=("a",)))(DecodedMetric(Metric("system", "host1", 0.0, (), body)))
