"""Times, names and shapes mean the same at every door: the functions, the Broadcaster, HTTP and the socket."""

import dataclasses
import enum
import json
from collections import OrderedDict, UserDict, UserList, deque, namedtuple
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import NamedTuple

import attrs
import msgspec
import pytest

from metrics_stream.broadcast import Broadcaster, MetricInput, functions, layer
from metrics_stream.bus import bus
from metrics_stream.core.errors import ItemError, MetricError, ProtocolError
from metrics_stream.core.formats.native import Terms, items_in, read_item
from metrics_stream.core.metrics.catalogue import Catalogue
from metrics_stream.core.protocol.parsing import parse, parse_instant

TOKEN = "mst_" + "a" * 43
AT = 1_769_860_800.25  # 2026-01-31T12:00:00.25Z
NOW = 1_900_000_000.0


# --- the doors: each takes one metric and returns what it publishes ---


@pytest.fixture
def kept(monkeypatch):
    """What the functions and the Broadcasters publish, instead of publishing it."""
    bus.declare_server()
    metrics = []

    async def publish(published):
        metrics.extend(published)

    monkeypatch.setattr(layer, "publish", publish)
    monkeypatch.setattr(Broadcaster, "_enqueue", lambda self, published: metrics.extend(published))
    return metrics


async def through_function(item):
    await functions.broadcast(**item)


async def through_functions_of_many(item):
    await functions.broadcast_many([item])


async def through_broadcaster(item):
    Broadcaster().broadcast(**item)


async def through_broadcaster_of_many(item):
    Broadcaster().broadcast_many([item])


async def through_broadcaster_over_http(item):
    Broadcaster(url="http://127.0.0.1:1", token=TOKEN).broadcast(**item)


HELPERS = [
    through_function,
    through_functions_of_many,
    through_broadcaster,
    through_broadcaster_of_many,
    through_broadcaster_over_http,
]


def through_http(item):
    terms = Terms(Catalogue().types, frozenset(), "any", 100_000)
    [read] = items_in(json.dumps(item).encode(), "json", max_items=1)
    return read_item(read, terms, NOW)


def through_socket(instant):
    return parse_instant("to", parse(json.dumps({"type": "seek", "to": instant})).to)


# --- times ---


class NumpyScalar:
    """What np.int64, np.float32 and np.datetime64 have in common."""

    def __init__(self, value):
        self.value = value

    def item(self):
        return self.value

    def tolist(self):
        return self.value


WIRE_TIMES = [
    "2026-01-31T12:00:00.25Z",
    "2026-01-31T12:00:00.250000Z",
    "2026-01-31T12:00:00.250000000Z",
    "2026-01-31T12:00:00,25Z",
    "2026-01-31T12:00:00.25",
    "2026-01-31 12:00:00.25",
    "2026-01-31 12:00:00.25 UTC",
    "2026-01-31t12:00:00.25z",
    " 2026-01-31T12:00:00.25Z\n",
    "2026-01-31T12:00:00.25+00:00",
    "2026-01-31T14:00:00.25+02:00",
    "2026-01-31T14:00:00.25+0200",
    "2026-01-31 14:00:00.25 +02",
    "2026-01-31T06:30:00.25-05:30",
    "20260131T120000.25Z",
    AT,
    AT * 1_000,
    int(AT * 1_000),
    int(AT * 1_000_000),
    int(AT * 1_000) * 1_000_000,
    str(AT),
    "1769860800250",
    "1769860800250000",
    "1769860800250000000",
    "1.76986080025e9",
]
TIMES = [
    *WIRE_TIMES,
    datetime(2026, 1, 31, 12, 0, 0, 250_000),  # noqa: DTZ001  naive on purpose
    datetime(2026, 1, 31, 12, 0, 0, 250_000, UTC),
    datetime(2026, 1, 31, 14, 0, 0, 250_000, timezone(timedelta(hours=2))),
    Decimal("1769860800.25"),
    NumpyScalar(AT),
    NumpyScalar(datetime(2026, 1, 31, 12, 0, 0, 250_000)),  # noqa: DTZ001  as datetime64 gives it
    NumpyScalar(int(AT * 1_000) * 1_000_000),
]


@pytest.mark.parametrize("door", HELPERS)
async def test_every_form_of_a_time_is_taken_by_the_helper(door, kept):
    for given in TIMES:
        await door({"metric_type": "system", "data": {"n": 1}, "timestamp": given})
        assert (given, kept[-1].timestamp) == (given, AT)
    assert len(kept) == len(TIMES)


@pytest.mark.parametrize("given", WIRE_TIMES, ids=str)
def test_every_form_of_a_time_is_taken_over_http_and_the_socket(given):
    assert through_http({"metric_type": "system", "data": {"n": 1}, "timestamp": given}).timestamp == AT
    assert through_socket(given) == AT


@pytest.mark.parametrize("given", ["2026-01-31", "20260131", "2026-W05-6"])
async def test_a_day_is_its_midnight(given, kept):
    assert through_http({"metric_type": "system", "data": {"n": 1}, "timestamp": given}).timestamp == 1_769_817_600.0
    for day in (given, datetime(2026, 1, 31).date()):  # noqa: DTZ001
        await functions.broadcast("system", {"n": 1}, day)
        assert kept[-1].timestamp == 1_769_817_600.0


async def test_without_a_time_it_is_now(kept):
    assert through_http({"metric_type": "system", "data": {"n": 1}, "timestamp": None}).timestamp == NOW
    for door in HELPERS:
        before = datetime.now(UTC).timestamp()
        await door({"metric_type": "system", "data": {"n": 1}, "timestamp": None})
        assert before <= kept[-1].timestamp <= datetime.now(UTC).timestamp()


@pytest.mark.parametrize("given", ["yesterday", "", "2026-13-01", "nan", True, "1e999", [], {}], ids=str)
async def test_what_is_no_time_is_refused_in_the_same_words(given, kept):
    with pytest.raises(ItemError) as refused:
        through_http({"metric_type": "system", "data": {"n": 1}, "timestamp": given})
    words = str(refused.value)
    assert refused.value.code == "invalid_timestamp"
    assert "allowed: a datetime, ISO 8601 such as 2026-01-31T12:00:00Z, or seconds or milliseconds since 1970" in words
    for door in HELPERS:
        with pytest.raises(MetricError) as caught:
            await door({"metric_type": "system", "data": {"n": 1}, "timestamp": given})
        assert str(caught.value) == words
    with pytest.raises(ProtocolError, match="ISO 8601, such as 2026-01-31T12:00:00Z, or seconds or milliseconds"):
        through_socket(given)
    assert not kept


@pytest.mark.parametrize("given", ["-1", -1, -1e22, 0, "1999-12-31", 1e22, "9999-12-31T23:59:59-14:00"], ids=str)
async def test_an_absurd_time_is_refused_with_the_nearest_that_is_allowed(given, kept):
    with pytest.raises(ItemError, match=r"allowed: (2000-01-01T00:00:00Z or later|at most 24 h ahead of now)"):
        through_http({"metric_type": "system", "data": {"n": 1}, "timestamp": given})
    for door in HELPERS:
        with pytest.raises(MetricError, match=r"allowed: (2000-01-01T00:00:00Z or later|at most 24 h ahead of now)"):
            await door({"metric_type": "system", "data": {"n": 1}, "timestamp": given})


# --- shapes ---


class Row(NamedTuple):
    x: int
    y: float


@dataclasses.dataclass
class Record:
    x: int
    y: object


@dataclasses.dataclass(slots=True)
class SlottedRecord:
    x: int
    y: object


@attrs.define
class Attributes:
    x: int
    y: object


class Struct(msgspec.Struct):
    x: int
    y: object


class TaggedStruct(msgspec.Struct, rename={"x_value": "x"}):
    x_value: int
    y: object
    z: int | msgspec.UnsetType = msgspec.UNSET


class Plain:
    def __init__(self, x, y):
        self.x, self.y, self._hidden = x, y, 1


class Pydantic:
    """Looks like a pydantic model, which is not a dependency."""

    def __init__(self, x, y):
        self.values = {"x": x, "y": y}

    def model_dump(self):
        return self.values

    def __iter__(self):
        return iter(self.values.items())


class OldPydantic:
    """Looks like a model of pydantic 1."""

    __fields__ = ("x", "y")

    def __init__(self, x, y):
        self.values = {"x": x, "y": y}

    def dict(self):
        return self.values

    def __iter__(self):
        return iter(self.values.items())


class Array:
    """Looks like a numpy array, which is not a dependency."""

    def __init__(self, items):
        self.items = items

    def tolist(self):
        return list(self.items)

    def __len__(self):
        return len(self.items)

    def __iter__(self):
        return iter(self.items)

    def __contains__(self, item):
        return item in self.items


POINT = namedtuple("Point", "x y")

OBJECTS = [
    dict,
    OrderedDict,
    UserDict,
    POINT,
    Row,
    Record,
    SlottedRecord,
    Attributes,
    Struct,
    TaggedStruct,
    Plain,
    Pydantic,
    OldPydantic,
]
LISTS = [
    list,
    tuple,
    deque,
    UserList,
    iter,
    Array,
    lambda items: (item for item in items),
    lambda items: map(int, items),
    lambda items: dict.fromkeys(items).keys(),
    lambda items: dict(enumerate(items)).values(),
    set,
    frozenset,
    lambda items: range(1, 3),
]


def build(make, y):
    return make(x=1, y=y) if make in OBJECTS[:3] else make(1, y)


@pytest.mark.parametrize("door", HELPERS)
@pytest.mark.parametrize("make", OBJECTS)
async def test_every_kind_of_object_is_an_object(door, make, kept):
    inner = build(make, 0.5)
    await door({"metric_type": "system", "data": build(make, 2.5)})
    await door({"metric_type": "system", "data": {"x": 1, "y": [inner, {"deep": inner}]}})
    await door({"metric_type": "system", "data": build(make, deque([inner]))})
    found = [json.loads(metric.body)["data"] for metric in kept]
    expected = {"x": 1, "y": 0.5}
    assert found == [
        {"x": 1, "y": 2.5},
        {"x": 1, "y": [expected, {"deep": expected}]},
        {"x": 1, "y": [expected]},
    ]


@pytest.mark.parametrize("door", HELPERS)
@pytest.mark.parametrize("make", LISTS)
async def test_every_kind_of_collection_is_a_list(door, make, kept):
    await door({"metric_type": "system", "data": {"n": make([1, 2]), "not finite": Decimal("nan")}})
    await door({"metric_type": "system", "data": Plain(1, make([1, 2]))})
    assert [json.loads(metric.body)["data"] for metric in kept] == [
        {"n": [1, 2], "not finite": None},
        {"x": 1, "y": [1, 2]},
    ]


class Agent(NamedTuple):
    agent_id: str
    load: float


@pytest.mark.parametrize("door", HELPERS)
async def test_agents_come_in_every_kind_of_collection(door, kept):
    agents = [Agent("a1", 0.5), Agent("a2", 0.7)]
    for data in (agents, tuple(agents), deque(agents), iter(agents), {1: agents[0], 2: agents[1]}.values()):
        await door({"metric_type": "agent", "data": data})
        assert kept[-1].agent_ids == ("a1", "a2")
        assert json.loads(kept[-1].body)["data"][1] == {"agent_id": "a2", "load": 0.7}
    await door({"metric_type": "agent", "data": agents[0]})
    assert kept[-1].agent_ids == ("a1",)


async def test_a_generator_without_an_end_is_refused(kept, monkeypatch):
    monkeypatch.setattr("metrics_stream.core.metrics.conversion.MAX_GENERATED_ITEMS", 1_000)
    with pytest.raises(MetricError, match=r"`data.*cannot be sent as JSON"):
        await functions.broadcast("system", {"n": iter(int, 1)})


# --- names ---


class MetricKind(enum.Enum):
    """The enum of the original."""

    SYSTEM = "system"


class NumberedKind(enum.IntEnum):
    SYSTEM = 1


QUEUED = {"metric_type": "system", "timestamp": "2026-01-31T12:00:00.250000", "data": {"n": 1}}
ITEMS = [
    QUEUED,
    {**QUEUED, "metric_type": "SYSTEM"},
    {"metric_type": "system", "timestamp": AT, "metrics": {"n": 1}},
]


@dataclasses.dataclass
class MetricRecord:
    metric_type: object
    timestamp: object
    data: object


@pytest.mark.parametrize("door", HELPERS)
async def test_a_metric_of_the_original_is_published(door, kept):
    expected = through_http(QUEUED)
    for item in [*ITEMS, {**QUEUED, "metric_type": MetricKind.SYSTEM}, {**QUEUED, "metric_type": NumberedKind.SYSTEM}]:
        await door({**item, "source": "any"})
        assert (kept[-1].body, kept[-1].timestamp) == (expected.body, expected.timestamp)


@pytest.mark.parametrize("item", ITEMS)
async def test_one_metric_may_come_as_a_single_argument(item, kept):
    await functions.broadcast(item, source="any")
    Broadcaster(source="any").broadcast(item)
    Broadcaster(source="any").broadcast(MetricRecord("system", AT, {"n": 1}))
    Broadcaster(source="any").broadcast_many([item, MetricRecord("system", AT, {"n": 1})])
    assert {metric.body for metric in kept} == {through_http(QUEUED).body}
    assert through_http(item).body == through_http(QUEUED).body


NAMED = [
    ("system_metrics", {"n": 1}, ["data", "metrics", "system_metrics"]),
    ("agent_metrics", [{"agent_id": "a"}], ["data", "metrics", "agent_metrics", "agent_metrics_list"]),
    ("business_metrics", {"n": 1}, ["data", "metrics", "business_metrics"]),
    ("hero_metrics", {"n": 1}, ["data", "metrics", "hero_metrics"]),
    ("presentation_data", {"n": 1}, ["data", "metrics", "presentation_data"]),
]


@pytest.mark.parametrize(("function", "data", "names"), NAMED)
async def test_the_data_has_the_names_of_the_original(function, data, names, kept):
    for name in names:
        await getattr(functions, f"broadcast_{function}")(**{name: data}, timestamp=AT)
        getattr(Broadcaster(), f"broadcast_{function}")(**{name: data}, timestamp=AT)
    assert len(kept) == 2 * len(names)
    assert len({metric.body for metric in kept}) == 1


async def test_data_that_comes_twice_is_refused(kept):
    twice = {"metric_type": "system", "data": {"n": 1}, "metrics": {"n": 2}}
    with pytest.raises(ItemError, match="`data` and `metrics` are both given"):
        through_http(twice)
    with pytest.raises(MetricError, match="`data` and `metrics` are both given"):
        await functions.broadcast_many([twice])
    with pytest.raises(TypeError, match="allowed: one of data, metrics, system_metrics"):
        await functions.broadcast_system_metrics(data={}, metrics={})
    with pytest.raises(TypeError, match="multiple values"):
        Broadcaster().broadcast_system_metrics({"n": 1}, metrics={})
    assert not kept


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ({"metric_type": "system", "data": {}, "colour": 1}, "unknown key 'colour'; allowed: metric_type, data"),
        ({"data": {}}, "`metric_type` is missing"),
        ({"metric_type": "system"}, "`data` is missing"),
        ({"metric_type": "sytem", "data": {}}, "unknown metric type 'sytem'; allowed: system, agent"),
        ({"metric_type": 5, "data": {}}, "unknown metric type 5; allowed: system, agent"),
    ],
)
async def test_keys_that_are_wrong_are_named_everywhere(item, words, kept):
    with pytest.raises(ItemError) as refused:
        through_http(item)
    assert words in str(refused.value)
    for publish in (Broadcaster().broadcast_many, Broadcaster().broadcast):
        with pytest.raises(MetricError) as caught:
            publish([item] if publish.__name__ == "broadcast_many" else item)
        assert words in str(caught.value)
    assert not kept


def test_http_and_the_helper_know_the_same_keys():
    from metrics_stream.core.formats.native import KEYS

    assert set(KEYS) == set(MetricInput.__annotations__)
