"""The rows of keyed metric types as producers hand them over."""

import json

import pytest

from metrics_stream.core.errors import MetricError, MetricTooBigError
from metrics_stream.core.metrics.catalogue import AGENT, ERROR, REQUEST, SYSTEM
from metrics_stream.core.metrics.encoding import encode_metric, encode_metrics

ROW = {"name": "/users", "method": "GET", "requests_total": 5}


def encode(metric_type, data):
    return encode_metric(metric_type, data, timestamp=1.0, source="host", max_bytes=100_000)


def test_a_metric_names_its_rows_and_the_parts_of_their_key():
    made = encode(REQUEST, [ROW, {**ROW, "name": "/", "scenario": "checkout", "group": None}])
    assert made.rows == ("name=/users\x1fmethod=GET", "name=/\x1fmethod=GET\x1fscenario=checkout")
    assert made.key == ("name", "method", "scenario", "group")
    assert json.loads(made.body)["key"] == list(made.key)
    assert json.loads(made.body)["data"][0] == ROW


def test_a_single_row_needs_no_list():
    assert json.loads(encode(ERROR, {"name": "/", "method": "GET", "message": "timeout"}).body)["data"] == [
        {"name": "/", "method": "GET", "message": "timeout"}
    ]


def test_numbers_in_a_key_become_texts_but_for_those_of_agents():
    made = encode(ERROR, [{"name": "/", "method": "GET", "message": 503}])
    assert (json.loads(made.body)["data"][0]["message"], made.rows) == (
        "503",
        ("name=/\x1fmethod=GET\x1fmessage=503",),
    )
    agents = encode(AGENT, [{"agent_id": 7}])
    assert (json.loads(agents.body)["data"], agents.rows) == ([{"agent_id": 7}], ("agent_id=7",))
    assert "key" not in json.loads(agents.body)


def test_the_row_of_all_others_needs_its_first_part_only():
    made = encode(REQUEST, [{"name": "(other)", "requests_total": 1}, {"name": "(other)", "method": ""}])
    assert made.rows == ("name=(other)", "name=(other)")


@pytest.mark.parametrize(
    ("metric_type", "row", "path", "words"),
    [
        (REQUEST, {"name": "/"}, "data[0].method", "`data[0].method` is missing; it must be a text or a number"),
        (REQUEST, {**ROW, "name": ""}, "data[0].name", "`data[0].name` is ''; it must be a text"),
        (REQUEST, {**ROW, "name": "x" * 201}, "data[0].name", "of 1 to 200 characters, none of them a control"),
        (REQUEST, {**ROW, "scenario": "a\nb"}, "data[0].scenario", "`data[0].scenario` is 'a\\nb'"),
        (REQUEST, {**ROW, "group": {"a": 1}}, "data[0].group", "it must be a text or a number"),
        (REQUEST, {**ROW, "method": True}, "data[0].method", "`data[0].method` is true"),
        (ERROR, {"name": "/", "method": "GET"}, "data[0].message", "`data[0].message` is missing"),
        (AGENT, {"agent_id": "a\x1fb"}, "data[0].agent_id", "none of them a control character"),
        (REQUEST, dict.fromkeys(REQUEST.key, "😀" * 200), "data[0]", "has 3,230 bytes; allowed: at most 1,600"),
    ],
)
def test_what_cannot_be_a_key_is_refused(metric_type, row, path, words):
    with pytest.raises(MetricError) as caught:
        encode(metric_type, [row])
    assert words in str(caught.value)
    assert caught.value.path == path


@pytest.mark.parametrize("data", [5, [5], "x", [[ROW]]], ids=str)
def test_data_that_is_no_list_of_rows_is_refused(data):
    with pytest.raises(MetricError, match="data must be a list of objects with `name` and `method`"):
        encode(REQUEST, data)


def test_a_large_set_is_split_over_several_metrics():
    rows = [{**ROW, "name": f"/{number}", "text": "x" * 400} for number in range(50)]
    made = encode_metrics(REQUEST, rows, timestamp=1.0, source="host", max_bytes=5_000)
    assert len(made) > 1
    assert all(len(metric.body) <= 5_000 for metric in made)
    assert [row for metric in made for row in json.loads(metric.body)["data"]] == rows
    assert [row for metric in made for row in metric.rows] == [f"name=/{number}\x1fmethod=GET" for number in range(50)]
    with pytest.raises(MetricTooBigError):
        encode_metrics(REQUEST, [{**ROW, "text": "x" * 6_000}], timestamp=1.0, source="host", max_bytes=5_000)
    with pytest.raises(MetricTooBigError):
        encode_metrics(SYSTEM, {"text": "x" * 6_000}, timestamp=1.0, source="host", max_bytes=5_000)
