"""Objects and collections mean the same at every door of the helper."""

import dataclasses
import json
from collections import OrderedDict, UserDict, UserList, deque, namedtuple
from decimal import Decimal
from typing import NamedTuple

import attrs
import msgspec
import pytest

from metrics_stream.broadcast import functions
from metrics_stream.core.errors import MetricError
from tests.support.doors import HELPERS


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
        assert kept[-1].rows == ("agent_id=a1", "agent_id=a2")
        assert json.loads(kept[-1].body)["data"][1] == {"agent_id": "a2", "load": 0.7}
    await door({"metric_type": "agent", "data": agents[0]})
    assert kept[-1].rows == ("agent_id=a1",)


async def test_a_generator_without_an_end_is_refused(kept, monkeypatch):
    monkeypatch.setattr("metrics_stream.core.metrics.conversion.MAX_GENERATED_ITEMS", 1_000)
    with pytest.raises(MetricError, match=r"`data.*cannot be sent as JSON"):
        await functions.broadcast("system", {"n": iter(int, 1)})
