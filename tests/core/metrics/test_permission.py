"""What a permit leaves of metrics: tables of data and parts, and that nothing else is ever shown."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_stream.core.delivery.aggregation import Interval
from metrics_stream.core.delivery.selection import DecodedMetric, Selection, compile_projection, permitted_metrics
from metrics_stream.core.metrics.catalogue import AGENT, SYSTEM
from metrics_stream.core.metrics.keys import agent_row
from metrics_stream.core.metrics.permission import EVERYTHING, NO_AGENT, NOTHING, Grant, Permit
from metrics_stream.core.protocol.messages import Filters
from tests.support.agents import AGENTS, HELD, KEYED, metric


def grant(*metric_types, sources=(), agent_ids=(), fields=()):
    return Grant(frozenset(metric_types), frozenset(sources), frozenset(agent_ids), frozenset(fields))


def permit(*grants):
    return Permit(frozenset(grants))


def seen(one, *grants, filters=Filters()):  # noqa: B008  frozen
    body = compile_projection(filters, permit(*grants))(DecodedMetric(one))
    return None if body is None else json.loads(body)["data"]


LOADS = [{"agent_id": "a1", "agent_name": "One", "current_load": 0.5}]

CASES = [
    ("nothing at all", SYSTEM, {"a": 1}, [], None),
    ("another type", SYSTEM, {"a": 1}, [grant("agent")], None),
    ("the type", SYSTEM, {"a": 1}, [grant("system")], {"a": 1}),
    ("another source", SYSTEM, {"a": 1}, [grant("system", sources=["host2"])], None),
    ("the source", SYSTEM, {"a": 1}, [grant("system", sources=["host1", "host2"])], {"a": 1}),
    ("some fields", SYSTEM, {"a": 1, "b": 2}, [grant("system", fields=["a"])], {"a": 1}),
    ("fields that are not there", SYSTEM, {"a": 1}, [grant("system", fields=["b"])], None),
    ("agents do not narrow what has none", SYSTEM, {"a": 1}, [grant("system", agent_ids=["a1"])], {"a": 1}),
    ("one agent", AGENT, AGENTS, [grant("agent", agent_ids=["a1"])], AGENTS[:1]),
    ("no agent", AGENT, AGENTS, [grant("agent", agent_ids=["a3"])], None),
    ("every agent", AGENT, AGENTS, [grant("agent", agent_ids=["a1", "a2"])], AGENTS),
    ("a field of one agent", AGENT, AGENTS, [grant("agent", agent_ids=["a1"], fields=["current_load"])], LOADS),
    ("identity alone is nothing", AGENT, AGENTS, [grant("agent", fields=["error_count"])], None),
    ("agents under a key", SYSTEM, HELD, [grant("system", agent_ids=["a1"])], {"total": 2, "agents": AGENTS[:1]}),
    ("fields beside agents", SYSTEM, HELD, [grant("system", fields=["total"])], {"total": 2}),
    ("all of the agents by name", SYSTEM, HELD, [grant("system", fields=["agents"])], {"agents": AGENTS}),
    ("agents that are a number", SYSTEM, {"agents": 2}, [grant("system", agent_ids=["a1"])], {"agents": 2}),
    (
        "an object of agents and others",
        SYSTEM,
        {"total": 2, "agents": {"a1": {"load": 1}, "count": 1}},
        [grant("system", agent_ids=["a1"])],
        {"total": 2},
    ),
    ("a list of agents and others", SYSTEM, {"agents": [*AGENTS, 1]}, [grant("system", agent_ids=["a1"])], None),
    (
        "agents without valid ids, for all agents",
        SYSTEM,
        {"agents": [1]},
        [grant("system", agent_ids=["a1"]), grant("system", fields=["agents"])],
        {"agents": [1]},
    ),
    (
        "named agents",
        SYSTEM,
        KEYED,
        [grant("system", agent_ids=["a2"], fields=["load"])],
        {"agents": {"a2": {"load": 0.7}}},
    ),
    (
        "two grants show what either shows",
        SYSTEM,
        {"a": 1, "b": 2, "c": 3},
        [grant("system", fields=["a"]), grant("system", sources=["host1"], fields=["c"])],
        {"a": 1, "c": 3},
    ),
    (
        "the fields of one grant are not those of another's source",
        SYSTEM,
        {"a": 1, "b": 2},
        [grant("system", sources=["host2"]), grant("system", sources=["host1"], fields=["b"])],
        {"b": 2},
    ),
    (
        "the fields of one grant are not those of another's agents",
        AGENT,
        AGENTS,
        [grant("agent", agent_ids=["a2"]), grant("agent", fields=["current_load"])],
        [LOADS[0], AGENTS[1]],
    ),
    (
        "one grant shows all",
        SYSTEM,
        {"a": 1, "b": 2},
        [grant("system", fields=["a"]), grant("system")],
        {"a": 1, "b": 2},
    ),
]


@pytest.mark.parametrize(
    ("metric_type", "data", "grants", "expected"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_grants_leave(metric_type, data, grants, expected):
    assert seen(metric(metric_type, data), *grants) == expected


def test_a_metric_that_is_shown_whole_is_forwarded_unchanged():
    one = metric(AGENT, AGENTS)
    for whole in (
        EVERYTHING,
        permit(grant("agent")),
        permit(grant("agent", agent_ids=["a2", "a1"], sources=["host1"])),
    ):
        assert compile_projection(Filters(), whole)(DecodedMetric(one)) is one.body


def test_a_clients_filters_narrow_what_it_may_see_and_never_widen_it():
    may = grant("agent", agent_ids=["a1"], fields=["current_load"])
    one = metric(AGENT, AGENTS)
    assert seen(one, may, filters=Filters(agent_ids=("a1", "a2"), fields=("current_load", "status"))) == LOADS
    assert seen(one, may, filters=Filters(agent_ids=("a2",))) is None
    assert seen(one, may, filters=Filters(fields=("status",))) is None
    assert seen(one, may, filters=Filters(sources=("host2",))) is None


def test_filters_leave_the_fields_beside_agents_that_grants_hide():
    may = grant("system", fields=["total"])
    one = metric(SYSTEM, HELD)
    for filters in (Filters(fields=("total", "load")), Filters(agent_ids=("a1",)), Filters(sources=("host1",))):
        assert seen(one, may, filters=filters) == {"total": 2}
    assert seen(one, may, filters=Filters(agent_ids=("a3",))) is None


def test_a_metric_is_restricted_once_for_all_views_of_a_permit():
    decoded = DecodedMetric(metric(SYSTEM, {"a": 1, "b": 2}))
    may = permit(grant("system", fields=["a"]))
    assert decoded.under(may) is decoded.under(may)


def test_summaries_are_restricted_with_what_they_sum_up():
    interval = Interval(0, keeps_sketches=False)
    one = metric(SYSTEM, {"a": 1, "p99_response_time_ms": 5.0})
    for sequence in range(2):
        interval.add(sequence, one, one.body)
    [(_, summed)] = interval.since(0)
    [left] = permitted_metrics([summed], permit(grant("system", fields=["a"])))
    document = json.loads(left.body)
    assert (document["data"], set(document["summary"]), document["worst"]) == ({"a": 1.0}, {"a"}, [])


def test_series_follow_the_same_rules():
    may = permit(grant("agent", agent_ids=["a1"], fields=["load"]), grant("system", sources=["host1"], fields=["cost"]))
    assert may.shows("agent", "any", agent_row("a1"), "load")
    assert may.shows("system", "host1", None, "cost.total")
    assert not may.shows("agent", "any", agent_row("a2"), "load")
    assert not may.shows("agent", "any", agent_row("a1"), "status")
    assert not may.shows("system", "host2", None, "cost.total")
    assert not may.shows("hero", "host1", None, "cost")
    assert EVERYTHING.shows("hero", "x", None, "y")
    assert not NOTHING.shows("hero", "x", None, "y")


def test_a_selection_knows_whether_it_can_leave_metrics_out():
    assert not Selection(("system",)).is_narrowed
    assert Selection(("system",), permit=NOTHING).is_narrowed
    assert Selection(("system",), Filters(fields=("a",))).is_narrowed


names = st.sampled_from(["a", "b", "c"])
some = st.frozensets(names, max_size=2)
grants = st.builds(
    Grant, st.just(frozenset({"agent"})), st.sampled_from([frozenset(), frozenset({"host1"})]), some, some
)
entries = st.lists(
    st.fixed_dictionaries({"agent_id": names}, optional={"a": st.integers(), "b": st.text(), "c": st.none()}),
    min_size=1,
    max_size=3,
    unique_by=lambda entry: entry["agent_id"],
)


@given(entries, st.frozensets(grants, max_size=3))
def test_every_value_that_is_left_is_shown_by_a_grant(data, granted):
    may = Permit(granted)
    left = list(permitted_metrics([metric(AGENT, data)], may))
    got = {
        (entry["agent_id"], key)
        for one in left
        for entry in json.loads(one.body)["data"]
        for key in entry
        if key not in ("agent_id", "agent_name")
    }
    allowed = {
        (entry["agent_id"], key)
        for entry in data
        for key in entry
        if key != "agent_id" and may.shows("agent", "host1", agent_row(entry["agent_id"]), key)
    }
    assert got == allowed


@given(entries, st.frozensets(grants, max_size=2), st.frozensets(grants, max_size=2))
def test_an_overlap_shows_what_one_permit_leaves_of_the_other(data, first, second):
    one, other = Permit(first), Permit(second)
    by_turns = list(permitted_metrics(permitted_metrics([metric(AGENT, data)], one), other))
    at_once = list(permitted_metrics([metric(AGENT, data)], one.overlap(other)))
    assert [json.loads(item.body) for item in at_once] == [json.loads(item.body) for item in by_turns]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (grant("system", "agent"), grant("system"), grant("system")),
        (grant("system"), grant("agent"), None),
        (grant("system", sources=["a", "b"]), grant("system", sources=["b", "c"]), grant("system", sources=["b"])),
        (grant("system", sources=["a"]), grant("system", sources=["b"]), None),
        (grant("system", fields=["a"]), grant("system"), grant("system", fields=["a"])),
        (grant("system", fields=["a"]), grant("system", fields=["b"]), None),
        (grant("agent", agent_ids=["a"]), grant("agent", agent_ids=["b"]), grant("agent", agent_ids=[NO_AGENT])),
    ],
)
def test_two_grants_overlap(one, other, expected):
    assert one.overlap(other) == other.overlap(one) == expected


def test_permits_overlap_and_name_runs():
    team, everyone = Permit(frozenset({grant("system")}), frozenset({frozenset({"a", "b"})})), EVERYTHING
    assert team.overlap(everyone) == everyone.overlap(team) == team
    assert everyone.overlap(everyone) == everyone
    part = team.overlap(Permit(frozenset({grant("hero", "system")}), frozenset({frozenset({"b"}), frozenset({"c"})})))
    assert part == Permit(frozenset({grant("system")}), frozenset({frozenset({"b"})}))
    assert [part.names_run(sources) for sources in (["b"], ["a"], ["a", "b"], [], None)] == [True, *[False] * 4]
    assert [everyone.names_run(sources) for sources in (["a"], [], None)] == [True] * 3


def test_a_permit_says_which_names_it_shows():
    may = permit(grant("system", sources=["a"], fields=["n"]), grant("agent", agent_ids=["x"], fields=["load"]))
    assert may.visible_sources(["a", "b"]) == ["a", "b"]  # agents of every source
    assert may.visible_agents(["x", "y"]) == ["x", "y"]  # they do not narrow `system`
    assert may.visible_fields(["n", "load", "other"]) == ["n", "load"]
    assert may.visible_fields(["n", "load"], "agent") == ["load"]
    assert NOTHING.visible_sources(["a"]) == []
