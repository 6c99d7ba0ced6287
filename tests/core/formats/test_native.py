import gzip
import json

import pytest

from metrics_stream.core.errors import BodyError, ItemError
from metrics_stream.core.formats.native import MAX_DEPTH, Terms, inflate, items_in, read_item
from metrics_stream.core.metrics.catalogue import BUILTIN_TYPES
from metrics_stream.core.metrics.metric import MAX_METRIC_BYTES
from metrics_stream.core.protocol.codes import ItemErrorCode, RequestErrorCode

FITTING = "allowed: whole numbers from -9223372036854775808 to 18446744073709551615, others up to ±1.8e308"
TERMS = Terms({item.slug: item for item in BUILTIN_TYPES}, frozenset(), "me", MAX_METRIC_BYTES)


def items(body, form="json", max_items=3):
    return list(items_in(body, form, max_items=max_items))


@pytest.mark.parametrize(
    ("body", "form", "found"),
    [
        (b'{"data": 1}', "json", [{"data": 1}]),
        (b"[1, []]", "json", [1, []]),
        (b"[]", "json", []),
        (b'{"metrics": [{}]}', "json", [{}]),
        (b'{"metrics": [], "metric_type": "system"}', "json", [{"metrics": [], "metric_type": "system"}]),
        (b'{"a":1,"a":2}', "json", [{"a": 2}]),
        (b"\n1\r\n\n  \n[2]", "ndjson", [1, [2]]),
        (b"", "ndjson", []),
        (b'\xef\xbb\xbf{"data": 1}', "json", [{"data": 1}]),
        (b"\xef\xbb\xbf1\n\xef\xbb\xbf[2]\n\xef\xbb\xbf\n", "ndjson", [1, [2]]),
    ],
)
def test_every_form_of_a_body(body, form, found):
    assert items(body, form) == found


@pytest.mark.parametrize(
    ("body", "form"), [(b"[1,2,3,4]", "json"), (b"1\n2\n3\n4", "ndjson"), (b"\n" * 1000, "ndjson")]
)
def test_too_many_items(body, form):
    with pytest.raises(BodyError, match="more than 3 metrics") as error:
        items(body, form)
    assert error.value.error == RequestErrorCode.TOO_LARGE


@pytest.mark.parametrize("size", [0, 1, 10, 1000])
def test_a_gzip_of_just_the_limit_is_unpacked(size):
    body = b"x" * size
    assert inflate(gzip.compress(body), max_bytes=size) == body
    with pytest.raises(BodyError) as error:
        inflate(gzip.compress(body + b"x"), max_bytes=size)
    assert error.value.error == RequestErrorCode.TOO_LARGE


def nested(depth):
    return json.loads('{"a":' * depth + "1" + "}" * depth)


def test_as_deep_as_allowed():
    metric = read_item({"metric_type": "system", "data": nested(MAX_DEPTH)}, TERMS, 1.5)
    assert json.loads(metric.body)["data"] == nested(MAX_DEPTH)
    assert (metric.source, metric.timestamp) == ("me", 1.5)
    with pytest.raises(ItemError) as error:
        read_item({"metric_type": "system", "data": nested(MAX_DEPTH + 1)}, TERMS, 1.5)
    assert (error.value.code, error.value.path) == (ItemErrorCode.NESTED_TOO_DEEPLY, "data" + ".a" * MAX_DEPTH)


@pytest.mark.parametrize("number", [2**64 - 1, -(2**63), 1e308, 0.1234567890123456789, "9" * 40])
def test_numbers_that_fit_stay_as_they_are(number):
    metric = read_item({"metric_type": "system", "data": {"n": number}}, TERMS, 0.0)
    assert json.loads(metric.body)["data"]["n"] == number


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 10**400])
def test_whole_numbers_that_do_not_fit_are_named_and_leave_the_other_metrics_alone(number):
    first, second = (f'{{"metric_type":"system","data":{{"a":[1,{each}]}}}}' for each in ("1.5", number))
    right, wrong = items(f"[{first},{second}]".encode())
    assert json.loads(read_item(right, TERMS, 0.0).body)["data"] == {"a": [1, 1.5]}
    with pytest.raises(ItemError) as error:
        read_item(wrong, TERMS, 0.0)
    shown = str(number) if len(str(number)) <= 60 else str(number)[:60] + "…"
    assert str(error.value) == f"`data.a[1]` is {shown}, a number that does not fit 64 bits; {FITTING}"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("NaN", """invalid character (byte 5) at 'NaN,"b":1}'; JSON has finite numbers only, and null"""),
        ("-Infinity", """invalid character (byte 6) at 'Infinity,"b":1}'; JSON has finite numbers only, and null"""),
        ("[1.5,1e999,2]", f"1e999 does not fit 64 bits; {FITTING}"),
        ("-1E+0999", f"-1E+0999 does not fit 64 bits; {FITTING}"),
        ("1" * 5000, f"{'1' * 60}… does not fit 64 bits; {FITTING}"),
        ("-" + "1" * 5000 + ".5", f"-{'1' * 59}… does not fit 64 bits; {FITTING}"),
        ("[" * 100_000, "it is nested too deeply; allowed: objects and lists at most 20 deep"),
    ],
    ids=lambda value: value[:9],
)
def test_errors_name_the_place_and_what_is_allowed(value, words):
    body = b'{"a":%s,"b":1}' % value.encode()
    with pytest.raises(BodyError) as error:
        items(body)
    assert error.value.error == RequestErrorCode.NOT_A_DOCUMENT
    assert str(error.value).removeprefix("the body is not JSON: ").removeprefix("JSON is malformed: ").startswith(words)
    (line,) = items(body, "ndjson")
    assert line.code == ItemErrorCode.NOT_JSON
    assert words in str(line)


def test_an_item_may_state_units_and_windows():
    item = {"metric_type": "system", "data": {"a": 1}, "units": {"a": "MB"}, "windows": {"a": 10}}
    body = json.loads(read_item(item, TERMS, 0.0).body)
    assert (body["units"], body["windows"]) == ({"a": "MB"}, {"a": 10})


@pytest.mark.parametrize("key", ["units", "windows"])
def test_a_fault_in_what_is_stated_is_named_by_its_path(key):
    item = {"metric_type": "system", "data": {"a": 1}, key: {"a": []}}
    with pytest.raises(ItemError) as error:
        read_item(item, TERMS, 0.0)
    assert (error.value.code, error.value.path) == (ItemErrorCode.INVALID_DATA, f"{key}.a")
    assert f"`{key}.a` is []; allowed: a " in str(error.value)


def test_an_item_may_be_a_metric_as_clients_get_it():
    sent = {"metric_type": "request", "data": [{"name": "/", "method": "GET", "requests_total": 5}]}
    sent["key"] = ["name", "method", "scenario", "group"]
    metric = read_item(sent, TERMS, now=1_800_000_000.0)
    assert json.loads(metric.body)["key"] == ["name", "method", "scenario", "group"]
