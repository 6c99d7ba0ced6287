"""The texts of rows: made, parsed and labelled, and metrics of earlier versions."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_stream.core.metrics.keys import (
    AGENT_KEY,
    MAX_ROW_BYTES,
    agent_of,
    agent_row,
    agents_of,
    label_row,
    make_row,
    make_storable,
    parse_row,
    restore_rows,
    row_in,
)
from metrics_stream.core.metrics.metric import Metric

REQUEST_KEY = ("name", "method", "scenario", "group")


def test_a_row_is_one_text_without_the_parts_that_are_absent():
    assert make_row([("name", "/users"), ("method", "GET"), ("scenario", "")]) == "name=/users\x1fmethod=GET"
    assert row_in({"name": "/users", "method": "GET", "scenario": None, "tps": 1}, REQUEST_KEY) == (
        "name=/users\x1fmethod=GET"
    )
    assert agent_row("agent-1") == "agent_id=agent-1"


@given(st.dictionaries(st.sampled_from(REQUEST_KEY), st.text(min_size=1).filter(lambda text: "\x1f" not in text)))
def test_a_row_has_the_parts_it_was_made_of(parts):
    assert parse_row(make_row(parts.items())) == parts


@pytest.mark.parametrize(
    ("row", "label"),
    [
        ("name=/users\x1fmethod=GET", "GET /users"),
        ("name=/users\x1fmethod=GET\x1fscenario=checkout", "GET /users · checkout"),
        ("name=/users\x1fmethod=POST\x1fmessage=timeout", "POST /users · timeout"),
        ("name=(other)", "(other)"),
        ("agent_id=agent-1", "agent-1"),
        ("queue=a=b\x1fshard=2", "a=b · 2"),
        ("", ""),
    ],
)
def test_people_read_the_values_of_a_row(row, label):
    assert label_row(row) == label


def test_only_rows_of_agents_have_an_agent():
    assert agent_of(agent_row("a=b")) == "a=b"
    for other in (None, "", "name=agent_id=a", "agent_id=a\x1fqueue=b"):
        assert agent_of(other) is None
    assert agents_of(["agent_id=a", "name=/", "agent_id=b"]) == ("a", "b")


def test_a_separator_in_a_value_makes_no_other_parts():
    assert parse_row(agent_row("a\x1fname=b")) == {"agent_id": "a\ufffdname=b"}


def test_a_row_that_no_database_could_store_is_cut():
    assert make_storable("name=a\0b") == "name=a\ufffdb"
    assert len(make_storable("name=" + "é" * 5_000).encode()) <= MAX_ROW_BYTES


def test_metrics_of_earlier_versions_have_rows():
    old = msgspec.msgpack.encode([["agent", "s", 1.0, ["a1", "a=2"], b"{}"], ["system", "s", 1.0, [], b"{}"]])
    agents, system = restore_rows(msgspec.msgpack.decode(old, type=list[Metric]))
    assert (agents.rows, agents.key) == (("agent_id=a1", "agent_id=a=2"), AGENT_KEY)
    assert (system.rows, system.key) == ((), ())
    assert restore_rows([agents, system])[0] is agents
