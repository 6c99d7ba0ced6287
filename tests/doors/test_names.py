"""Names of keys and types mean the same at every door: the functions, the Broadcaster and HTTP."""

import dataclasses
import enum

import pytest

from metrics_stream.broadcast import Broadcaster, MetricInput, functions
from metrics_stream.core.errors import ItemError, MetricError
from tests.support.doors import AT, HELPERS, through_http


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

    # Bodies of the helper name the parts of the keys of rows.
    assert set(KEYS) - {"key"} == set(MetricInput.__annotations__)
