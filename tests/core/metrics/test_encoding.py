import dataclasses
import enum
import json
import math
import uuid
from datetime import UTC, datetime, time, timedelta, timezone
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_stream.core.errors import MetricError
from metrics_stream.core.metrics.catalogue import AGENT, SYSTEM
from metrics_stream.core.metrics.encoding import encode_metric, encode_value, epoch_seconds


class Status(enum.Enum):
    HEALTHY = "healthy"


@dataclasses.dataclass
class Load:
    value: float


class Struct(msgspec.Struct):
    a: int


class Plain:
    def __init__(self) -> None:
        self.a = 1
        self._hidden = 2


class Pydantic:
    """Looks like a pydantic model, which is not a dependency."""

    def model_dump(self):
        return {"a": 1}


class NumpyFloat(float):
    """np.float64 is a subclass of float."""


class NumpyInt:
    """np.int64 is not a subclass of int."""

    def tolist(self):
        return 7


class Loop:
    def __init__(self) -> None:
        self.me = self


CONVERTED = [
    ({"a": 1.5}, {"a": 1.5}),
    (Load(0.5), {"value": 0.5}),
    (Struct(1), {"a": 1}),
    (Plain(), {"a": 1}),
    (Pydantic(), {"a": 1}),
    ({"a": datetime(2026, 1, 1, tzinfo=UTC)}, {"a": "2026-01-01T00:00:00Z"}),
    ({"a": Status.HEALTHY}, {"a": "healthy"}),
    ({"a": Decimal("1.10")}, {"a": 1.1}),
    ({"a": Decimal("NaN"), "b": Decimal("-Infinity"), "c": "NaN"}, {"a": None, "b": None, "c": "NaN"}),
    ({"a": uuid.UUID(int=1)}, {"a": "00000000-0000-0000-0000-000000000001"}),
    ({"a": NumpyFloat(0.25), "b": NumpyInt()}, {"a": 0.25, "b": 7}),
    ({"a": math.nan, "b": math.inf, "c": NumpyFloat("nan")}, {"a": None, "b": None, "c": None}),
    ({"a": (1, 2), "b": {3}}, {"a": [1, 2], "b": [3]}),
    ({1: "x"}, {"1": "x"}),
]


@pytest.mark.parametrize(("value", "expected"), CONVERTED, ids=lambda value: repr(value)[:40])
def test_values_of_producers_are_converted(value, expected):
    assert json.loads(encode_value(value)) == expected


cycle: dict = {}
cycle["a"] = cycle

REFUSED = [
    ({"a": [1, {"b": object()}]}, "`data.a[1].b` is <object object"),
    ({"a": print}, "`data.a` is <built-in function print>"),
    ({"text": "\ud800"}, "`data.text` is"),
    (Load(object()), "`data.value` is"),
    ({"a": {(1, 2): 3}}, "`data.a` is a dict"),
    (cycle, "nested too deeply"),
    (Loop(), "`data"),
]


@pytest.mark.parametrize(("value", "words"), REFUSED, ids=range(len(REFUSED)))
def test_a_value_that_cannot_be_converted_is_named_by_its_path(value, words):
    with pytest.raises(MetricError) as caught:
        encode_value(value)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 300


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.decimals() | st.datetimes(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    )
)
def test_whatever_is_encoded_is_strict_json(value):
    try:
        body = encode_value(value)
    except MetricError:
        return
    msgspec.json.decode(body)


def encode(metric_type, data, **kwargs):
    defaults = {"timestamp": 1.5, "source": "host1", "max_bytes": 10_000}
    return encode_metric(metric_type, data, **{**defaults, **kwargs})


def test_a_metric_on_the_wire():
    one = encode(SYSTEM, {"throughput_tps": 950.0})
    assert one.body == (
        b'{"metric_type":"system","timestamp":"1970-01-01T00:00:01.500000Z","source":"host1",'
        b'"data":{"throughput_tps":950.0}}'
    )
    assert one.rows == ()


def test_a_metric_has_the_ids_of_its_agents():
    assert encode(AGENT, [{"agent_id": "a"}, {"agent_id": 7}]).rows == ("agent_id=a", "agent_id=7")
    assert encode(SYSTEM, {"agents": {"x": {"load": 1}, "y": {}}}).rows == ("agent_id=x", "agent_id=y")
    assert encode(SYSTEM, {"agents": [{"agent_id": "a"}]}).rows == ("agent_id=a",)
    assert encode(SYSTEM, {"agents": 5}).rows == ()


@pytest.mark.parametrize("data", [{"agent_id": "a"}, [{"agent_id": "a"}], ({"agent_id": "a"},)])
def test_one_agent_may_come_without_a_list(data):
    assert json.loads(encode(AGENT, data).body)["data"] == [{"agent_id": "a"}]


@pytest.mark.parametrize(
    ("metric_type", "data", "words"),
    [
        (SYSTEM, [1], "data must be an object, got [1]"),
        (SYSTEM, 5, "data must be an object, got 5"),
        (SYSTEM, None, "data must be an object, got null"),
        (AGENT, [{"name": "x"}], "`data[0].agent_id` is missing; it must be a text or a number"),
        (AGENT, 5, "objects with an `agent_id`"),
    ],
)
def test_data_of_the_wrong_shape_is_refused(metric_type, data, words):
    with pytest.raises(MetricError, match="(?s).*" + words.replace("[", r"\[").replace("`", "`")):
        encode(metric_type, data)


def test_a_metric_that_is_too_big_is_refused():
    with pytest.raises(MetricError, match="allowed: 10000"):
        encode(SYSTEM, {"a": "x" * 10_000})


@pytest.mark.parametrize("source", ["", "x" * 201, "\ud800"])
def test_a_bad_source_is_refused(source):
    with pytest.raises(MetricError, match="source is"):
        encode(SYSTEM, {"a": 1}, source=source)


NOW = datetime(2026, 1, 31, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("instant", "seconds"),
    [
        (None, NOW),
        (NOW - 1.5, NOW - 1.5),
        (946_684_800, 946_684_800.0),
        (NOW + 86_400, NOW + 86_400),
        (datetime(2000, 1, 1, 0, 1), 946_684_860.0),  # noqa: DTZ001  naive on purpose
        (datetime(2000, 1, 1, 1, 0, tzinfo=timezone(timedelta(hours=1))), 946_684_800.0),
    ],
)
def test_instants_become_epoch_seconds(instant, seconds):
    assert epoch_seconds(instant, NOW) == seconds


@pytest.mark.parametrize(
    "instant", ["now", True, math.nan, math.inf, -1, 1e21, "1e999", [], "", b"2026-01-31", time(12)]
)
def test_a_bad_instant_is_refused(instant):
    with pytest.raises(MetricError, match="timestamp is"):
        epoch_seconds(instant, NOW)


@pytest.mark.parametrize(
    ("instant", "message"),
    [
        (0, "timestamp is 0, which is 1970-01-01T00:00:00Z; allowed: 2000-01-01T00:00:00Z or later"),
        (946_684_799.9, "timestamp is 946684799.9, which is 1999-12-31T23:59:59Z; allowed: 2000-01-01T00:00:00Z"),
        (datetime(1999, 12, 31, tzinfo=UTC), "timestamp is '1999-12-31T00:00:00+00:00'; allowed: 2000-01-01"),
        (datetime(1, 1, 1, tzinfo=UTC), "timestamp is '0001-01-01T00:00:00+00:00'; allowed: 2000-01-01"),
        (
            4_102_444_800,
            "timestamp is 4102444800, which is 2100-01-01T00:00:00Z; "
            "allowed: at most 24 h ahead of now, which is 2026-01-31T00:00:00Z here",
        ),
        (NOW + 86_401, "timestamp is 1769904001.0, which is 2026-02-01T00:00:01Z; allowed: at most 24 h ahead"),
        (datetime(9999, 12, 31, tzinfo=UTC), "timestamp is '9999-12-31T00:00:00+00:00'; allowed: at most 24 h ahead"),
    ],
)
def test_an_absurd_instant_is_refused_with_words(instant, message):
    with pytest.raises(MetricError) as error:
        epoch_seconds(instant, NOW)
    assert str(error.value).startswith(message)
