"""Recorded metrics as files: nothing that a producer sends becomes a formula, and no number becomes a text."""

import csv
import gzip
import io

import pytest

from metrics_stream.core.metrics.catalogue import AGENT, SYSTEM
from metrics_stream.core.metrics.encoding import encode_metric
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.views.exports import COLUMNS, csv_pieces, ndjson_pieces

AT = "1970-01-01T00:01:40.500000Z"


def metric(data, *, metric_type=SYSTEM, source="host1"):
    return encode_metric(metric_type, data, timestamp=100.5, source=source, max_bytes=100_000)


def rows(*metrics):
    """Return the rows of the file as a program reads them, without the first."""
    text = b"".join(csv_pieces(metrics, rows=3)).decode()
    first, *rest = csv.reader(io.StringIO(text, newline=""))
    assert tuple(first) == COLUMNS
    return rest


def values(*metrics):
    return [row[3:] for row in rows(*metrics)]


def test_a_value_is_a_row():
    assert rows(metric({"throughput_tps": 950.5, "queue_depth": 3})) == [
        [AT, "system", "host1", "", "throughput_tps", "950.5"],
        [AT, "system", "host1", "", "queue_depth", "3"],
    ]


def test_no_metrics_are_a_file_with_a_head():
    assert b"".join(csv_pieces([], rows=10)) == b"timestamp,metric_type,source,agent_id,field,value\r\n"


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (-3.25, "-3.25"),
        (-5, "-5"),
        (1e-9, "1e-09"),
        (12345678901234567, "12345678901234567"),
        (True, "true"),
        (False, "false"),
        (None, ""),
        ("healthy", "healthy"),
        ('says "no", twice\nor so', 'says "no", twice\nor so'),
        ("=1+1", "'=1+1"),
        ("+49 30", "'+49 30"),
        ("-5", "'-5"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("1=1", "1=1"),
    ],
)
def test_texts_are_no_formulas_and_numbers_stay_numbers(value, cell):
    assert values(metric({"field": value})) == [["", "field", cell]]


def test_names_are_no_formulas_either():
    agents = [{"agent_id": "=cmd", "@load": 1}]
    assert rows(metric(agents, metric_type=AGENT, source="+host")) == [[AT, "agent", "'+host", "'=cmd", "'@load", "1"]]


def test_fields_inside_objects_and_lists_are_named_by_their_path():
    data = {"cost": {"ec2": {"spot": 1.5}, "rds": 2}, "nodes": [{"id": "a", "up": True}, "b"], "none": {}, "empty": []}
    assert values(metric(data)) == [
        ["", "cost.ec2.spot", "1.5"],
        ["", "cost.rds", "2"],
        ["", "nodes.0.id", "a"],
        ["", "nodes.0.up", "true"],
        ["", "nodes.1", "b"],
    ]


@pytest.mark.parametrize(
    ("metric_type", "data"),
    [
        (AGENT, [{"agent_id": "a1", "load": 0.5}, {"agent_id": 2, "load": 0.25}]),
        (SYSTEM, {"agents": [{"agent_id": "a1", "load": 0.5}, {"agent_id": 2, "load": 0.25}]}),
        (SYSTEM, {"agents": {"a1": {"load": 0.5}, "2": {"agent_id": "2", "load": 0.25}}}),
    ],
)
def test_values_of_an_agent_name_it(metric_type, data):
    assert values(metric(data, metric_type=metric_type)) == [["a1", "load", "0.5"], ["2", "load", "0.25"]]


def test_agents_that_are_none_are_ordinary_fields():
    assert values(metric({"agents": 5})) == [["", "agents", "5"]]
    assert values(metric({"agents": {"a1": 0.5}})) == [["", "agents.a1", "0.5"]]


def test_sketches_are_no_values():
    sketch = {"response_time_ms": {"accuracy": 0.01, "bins": {"231": 5}, "zeros": 0}}
    assert values(metric({"tps": 1, "sketches": sketch})) == [["", "tps", "1"]]
    assert values(metric([{"agent_id": "a", "tps": 1, "sketches": sketch}], metric_type=AGENT)) == [["a", "tps", "1"]]


def test_what_is_nested_without_end_is_written_as_json():
    body = b'{"timestamp":"%s","data":{"deep":%s1%s}}' % (AT.encode(), b"[" * 500, b"]" * 500)
    [[_, field, value]] = values(Metric("system", "host1", 100.5, (), body))
    assert field == "deep" + ".0" * 50
    assert value == "[" * 450 + "1" + "]" * 450


def test_the_csv_file_comes_in_pieces_of_rows():
    many = [metric({"a": number, "b": number}) for number in range(10)]
    pieces = list(csv_pieces(many, rows=5))
    assert [piece.count(b"\r\n") for piece in pieces] == [5, 5, 5, 5, 1]


def test_pieces_are_made_when_they_are_asked_for():
    taken = []
    source = (taken.append(number) or metric({"a": number}) for number in range(100))
    next(csv_pieces(source, rows=10))
    assert len(taken) == 9


def test_ndjson_holds_the_metrics_as_they_were():
    bodies = [metric({"a": number, "text": "é"}).body for number in range(2_000)]
    metrics = [Metric("system", "host1", 100.5, (), body) for body in bodies]
    pieces = list(ndjson_pieces(metrics, lines=7))
    assert len(pieces) > 1
    assert gzip.decompress(b"".join(pieces)) == b"".join(body + b"\n" for body in bodies)
    assert list(ndjson_pieces(metrics, lines=7)) == pieces


def test_ndjson_of_nothing_is_an_empty_file():
    assert gzip.decompress(b"".join(ndjson_pieces([], lines=10))) == b""
