import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_stream.core.delivery.aggregation import Interval
from metrics_stream.core.delivery.selection import (
    MAX_PARTS,
    MAX_WILD_TERMS,
    DecodedMetric,
    check_filters,
    compile_projection,
    expand,
)
from metrics_stream.core.errors import ProtocolError
from metrics_stream.core.metrics.catalogue import AGENT, BUSINESS, SYSTEM
from metrics_stream.core.metrics.paths import is_covered
from metrics_stream.core.protocol.codes import ErrorCode
from metrics_stream.core.protocol.messages import Filters
from tests.support.agents import AGENTS, HELD, KEYED, metric

EVERYTHING = ("system", "agent", "business", "hero", "presentation", "request", "error")
ALLOWED = (*EVERYTHING, "stream")


def project(filters, one):
    body = compile_projection(filters)(DecodedMetric(one))
    return None if body is None else json.loads(body)["data"]


CASES = [
    ("no filter", Filters(), SYSTEM, {"throughput_tps": 1}, {"throughput_tps": 1}),
    ("a source that is asked for", Filters(sources=("host1",)), SYSTEM, {"a": 1}, {"a": 1}),
    ("another source", Filters(sources=("host2",)), SYSTEM, {"a": 1}, None),
    ("some fields", Filters(fields=("a",)), SYSTEM, {"a": 1, "b": 2}, {"a": 1}),
    ("fields that are not there", Filters(fields=("c",)), SYSTEM, {"a": 1, "b": 2}, None),
    ("a null is a value", Filters(fields=("a",)), SYSTEM, {"a": None, "b": 2}, {"a": None}),
    ("agent ids leave metrics without agents alone", Filters(agent_ids=("a1",)), SYSTEM, {"a": 1}, {"a": 1}),
    ("one agent of a list", Filters(agent_ids=("a1",)), AGENT, AGENTS, AGENTS[:1]),
    ("all agents of a list", Filters(agent_ids=("a1", "a2", "a3")), AGENT, AGENTS, AGENTS),
    ("no agent of a list", Filters(agent_ids=("a3",)), AGENT, AGENTS, None),
    (
        "fields of agents keep their identity",
        Filters(fields=("current_load",)),
        AGENT,
        AGENTS,
        [
            {"agent_id": "a1", "agent_name": "One", "current_load": 0.5},
            {"agent_id": "a2", "agent_name": "Two", "current_load": 0.7},
        ],
    ),
    ("identity alone is nothing", Filters(fields=("error_count",)), AGENT, AGENTS, None),
    (
        "identity asked for",
        Filters(fields=("agent_name",)),
        AGENT,
        [{"agent_id": "a1", "agent_name": "One", "x": 1}],
        [{"agent_id": "a1", "agent_name": "One"}],
    ),
    ("agents under a key", Filters(agent_ids=("a2",)), BUSINESS, HELD, {"total": 2, "agents": AGENTS[1:]}),
    ("no agent under a key", Filters(agent_ids=("a3",)), BUSINESS, HELD, {"total": 2, "agents": []}),
    (
        "agents keyed by id",
        Filters(agent_ids=("a1",)),
        BUSINESS,
        KEYED,
        {"total": 2, "agents": {"a1": {"load": 0.5, "status": "healthy"}}},
    ),
    (
        "fields of agents keyed by id",
        Filters(agent_ids=("a1",), fields=("load",)),
        BUSINESS,
        KEYED,
        {"agents": {"a1": {"load": 0.5}}},
    ),
    ("agents named as a field stay whole", Filters(fields=("agents",)), BUSINESS, HELD, {"agents": AGENTS}),
    ("a field beside agents", Filters(fields=("total",)), BUSINESS, HELD, {"total": 2}),
    ("an agents key that holds none", Filters(agent_ids=("a1",)), BUSINESS, {"agents": 3}, {"agents": 3}),
    (
        "numbers as ids",
        Filters(agent_ids=("7",)),
        AGENT,
        [{"agent_id": 7, "x": 1}, {"agent_id": 8}],
        [{"agent_id": 7, "x": 1}],
    ),
]


@pytest.mark.parametrize(
    ("filters", "metric_type", "data", "left"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_filters_leave(filters, metric_type, data, left):
    assert project(filters, metric(metric_type, data)) == left


FILTERS = [
    Filters(fields=("b",)),
    Filters(agent_ids=("a1",), fields=("b",)),
    Filters(sources=("host1",), fields=("b",)),
]


@pytest.mark.parametrize("filters", FILTERS)
def test_a_filtered_metric_keeps_its_run(filters):
    one = metric(SYSTEM, {"a": 1, "b": 2})
    one = msgspec.structs.replace(one, body=one.body[:-1] + b',"run":"so\\"ak"}')
    whole = json.loads(one.body)
    assert json.loads(compile_projection(filters)(DecodedMetric(one))) == {**whole, "data": {"b": 2}, "run": 'so"ak'}


def summed(metric_type, *rows):
    interval = Interval(0, keeps_sketches=False)
    for sequence, row in enumerate(rows):
        one = metric(metric_type, row)
        interval.add(sequence, one, one.body)
    return interval.since(0)


def narrowed(filters, one):
    document = json.loads(compile_projection(filters)(DecodedMetric(one)))
    return document["data"], list(document["summary"]), document.get("worst")


@pytest.mark.parametrize("filters", FILTERS)
def test_a_summary_keeps_what_the_data_keeps(filters):
    ((_, one),) = summed(SYSTEM, *[{"p99_a": 1, "a": 1, "b": {"p99_x": 2, "c": 3}}] * 2)
    assert narrowed(filters, one) == ({"b": {"p99_x": 2, "c": 3}}, ["b.p99_x", "b.c"], ["b.p99_x"])
    ((_, one),) = summed(SYSTEM, {"a": 1, "b": 2})
    assert narrowed(filters, one) == ({"b": 2}, ["b"], None)


def test_summaries_of_agents_keep_what_the_filters_leave_of_them():
    (_, first), _ = summed(AGENT, [{**agent, "p99_x": 1} for agent in AGENTS])
    load = {"agent_id": "a1", "agent_name": "One", "current_load": 0.5}
    assert narrowed(Filters(fields=("current_load",)), first) == ([load], ["current_load"], None)
    ((_, held),) = summed(SYSTEM, HELD)
    assert narrowed(Filters(agent_ids=("a1",)), held) == ({"total": 2, "agents": AGENTS[:1]}, ["total"], None)
    assert narrowed(Filters(fields=("agents",)), held)[1] == ["agents.a1.current_load", "agents.a2.current_load"]


def test_a_metric_selected_whole_is_the_bytes_of_its_producer():
    one = metric(AGENT, AGENTS)
    for filters in (Filters(), Filters(sources=("host1",)), Filters(agent_ids=("a1", "a2"))):
        assert compile_projection(filters)(DecodedMetric(one)) is one.body


def test_values_go_through_a_projection_untouched():
    one = metric(SYSTEM, {"big": 2**70, "float": 1.10, "text": "naïve </script>", "other": 1})
    body = compile_projection(Filters(fields=("big", "float", "text")))(DecodedMetric(one))
    assert body is not None
    assert body.endswith('"data":{"big":1180591620717411303424,"float":1.1,"text":"naïve </script>"}}'.encode())


@given(
    st.dictionaries(st.text(max_size=5), st.integers(), min_size=1, max_size=6),
    st.lists(st.text(max_size=5), max_size=4).map(tuple),
)
def test_fields_leave_exactly_what_they_name(data, fields):
    expected = {key: value for key, value in data.items() if not fields or is_covered(key, fields)} or None
    if "agents" not in data:
        assert project(Filters(fields=fields), metric(SYSTEM, data)) == expected


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        (("all",), set(EVERYTHING)),
        (("system", "system"), {"system"}),
        ((), set()),
        (("hero", "all"), set(EVERYTHING)),
        (("all", "stream"), set(ALLOWED)),
        (("SYSTEM", "Agent"), {"system", "agent"}),
        (("ALL",), set(EVERYTHING)),
    ],
)
def test_all_means_every_type_except_those_about_the_service(asked, meant):
    assert expand(asked, ALLOWED, EVERYTHING) == (meant, "")


def test_an_unknown_metric_type_is_named_with_what_is_allowed():
    with pytest.raises(ProtocolError) as caught:
        expand(("sytem",), ALLOWED, EVERYTHING)
    assert caught.value.code == ErrorCode.UNKNOWN_METRIC_TYPE
    assert caught.value.message == (
        "unknown metric type 'sytem'; allowed: system, agent, business, hero, presentation, request, error, stream, all"
    )


@pytest.mark.parametrize(
    ("asked", "meant", "names"),
    [
        (("system", "sytem"), {"system"}, "'sytem'"),
        (("cloudwatch", "all"), set(EVERYTHING), "'cloudwatch'"),
        (("hero", *(f"n{number}" for number in range(1500))), {"hero"}, "'n0', 'n1', 'n2', 'n3', 'n4' and 1,495 more"),
    ],
)
def test_unknown_metric_types_beside_known_ones_are_left_out_and_named(asked, meant, names):
    allowed = "system, agent, business, hero, presentation, request, error, stream, all"
    assert expand(asked, ALLOWED, EVERYTHING) == (meant, f"unknown metric type {names}; allowed: {allowed}")


def test_whoever_sees_nothing_may_ask_for_all_beside_an_unknown_type():
    assert expand(("all", "sytem"), (), ()) == (frozenset(), "unknown metric type 'sytem'; allowed: all")


def test_equal_filters_are_equal_however_they_were_written():
    assert check_filters(Filters(fields=("b", "a", "b")), max_terms=10) == Filters(fields=("a", "b"))
    keys = {"method": ("GET",), "name": ("/b", "/a", "/b"), "scenario": (), "agent_id": ("a2",)}
    asked = check_filters(Filters(agent_ids=("a1",), keys=keys), max_terms=10)
    same = Filters(agent_ids=("a1", "a2"), keys={"name": ("/a", "/b"), "method": ("GET",)})
    assert asked == same
    assert hash(asked) == hash(same)


def test_a_part_of_a_key_has_a_printable_name():
    with pytest.raises(ProtocolError, match="names the part ''; allowed: 1 to 200 characters"):
        check_filters(Filters(keys={"": ("x",)}), max_terms=10)


@pytest.mark.parametrize(
    ("filters", "code"),
    [
        (Filters(agent_ids=tuple(map(str, range(10_000)))), ErrorCode.TOO_MANY_TERMS),
        (Filters(sources=("x" * 201,)), ErrorCode.INVALID_MESSAGE),
        (Filters(keys={"name": tuple(map(str, range(10_000)))}), ErrorCode.TOO_MANY_TERMS),
        (Filters(keys={"name": tuple(f"{n}*" for n in range(MAX_WILD_TERMS + 1))}), ErrorCode.TOO_MANY_TERMS),
        (Filters(keys={f"part{n}": ("x",) for n in range(MAX_PARTS + 1)}), ErrorCode.TOO_MANY_TERMS),
        (Filters(keys={"name": ("x" * 201,)}), ErrorCode.INVALID_MESSAGE),
    ],
)
def test_a_filter_with_too_many_or_too_long_terms_is_refused(filters, code):
    with pytest.raises(ProtocolError) as caught:
        check_filters(filters, max_terms=1000)
    assert caught.value.code == code
    assert "allowed: at most" in caught.value.message
