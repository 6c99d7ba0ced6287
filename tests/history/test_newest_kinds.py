"""The newest metric of each kind has a share for each source and each token: nobody displaces the kinds of others."""

import msgspec
import pytest

from metrics_stream.core.metrics.keys import agents_of
from metrics_stream.history import redis
from metrics_stream.history.newest_kinds import OWNER_KINDS, SHARE_BYTES, SOURCE_KINDS
from tests.support.history import Producer, metric


async def names(history, source=None):
    """Return source and agents of the newest metrics, in their order."""
    found = [batch.metrics[0] for batch in await history.newest(["system"])]
    return [(item.source, agents_of(item.rows)) for item in found if source in (None, item.source)]


async def flood(producer, count, source="flood"):
    """Publish a metric of each of so many pairs of agents."""
    for first in range(0, count, 500):
        numbers = range(first, min(first + 500, count))
        await producer.send([metric(n, source=source, agent_ids=(f"a{n}", "b")) for n in numbers])


async def test_a_source_displaces_its_own_kinds_only(history):
    healthy = Producer(history)
    await healthy.send([metric(n, agent_ids=(f"h{n}",)) for n in range(3)])
    await flood(Producer(history), SOURCE_KINDS + 700)
    assert await names(history, "host") == [("host", (f"h{n}",)) for n in range(3)]
    kept = range(700, SOURCE_KINDS + 700)
    assert await names(history, "flood") == [("flood", (f"a{n}", "b")) for n in kept]


async def test_a_token_has_one_share_over_all_its_sources(history):
    await Producer(history, owner="token 1").send([metric(0)])
    other = Producer(history, owner="token 2")
    for number in range(3):
        await flood(other, SOURCE_KINDS, f"flood-{number}")
    counts = [len(await names(history, f"flood-{number}")) for number in range(3)]
    assert counts == [0, OWNER_KINDS - SOURCE_KINDS, SOURCE_KINDS]
    assert await names(history, "host") == [("host", ())]


async def test_a_kind_counts_for_the_token_that_published_it_last(history):
    first, second = Producer(history, owner="token 1"), Producer(history, owner="token 2")
    await first.send([metric(0)])
    await second.send([metric(1)])
    await flood(first, OWNER_KINDS + 10, "flood")
    [found] = [batch for batch in await history.newest(["system"]) if batch.metrics[0].source == "host"]
    assert (found.metrics, found.owner) == ([metric(1)], "token 2")


async def test_a_share_is_bounded_in_bytes_and_its_newest_kind_stays(history):
    large = "x" * (SHARE_BYTES // 4)

    def big(number, size=1):
        item = metric(number, agent_ids=(f"a{number}",))
        return msgspec.structs.replace(item, body=b'{"data":"%b"}' % (large.encode() * size))

    producer = Producer(history)
    for number in range(6):
        await producer.send([big(number)])
    assert await names(history) == [("host", (f"a{number}",)) for number in (3, 4, 5)]
    await producer.send([big(6, size=5)])
    assert await names(history) == [("host", ("a6",))]
    # What was too large leaves nothing behind that counts.
    for number in range(7, 10):
        await producer.send([big(number)])
    assert await names(history) == [("host", (f"a{number}",)) for number in (7, 8, 9)]


@pytest.mark.parametrize("limit", ["NEWEST_PAGE_METRICS", "NEWEST_PAGE_BYTES"])
async def test_many_kinds_are_read_in_pages(history, monkeypatch, limit):
    await flood(Producer(history), 25)
    await flood(Producer(history, "hero"), 1)
    await Producer(history, "hero").send([metric(n, "hero", agent_ids=(f"a{n}",)) for n in range(3)])
    whole = await history.newest(["system", "agent", "hero"])
    assert len(whole) == 28
    monkeypatch.setattr(redis, limit, 7)
    assert await history.newest(["system", "agent", "hero"]) == whole


async def test_a_source_whose_rows_change_leaves_no_stale_kinds(history):
    producer = Producer(history)
    for number in range(5):
        await producer.send([metric(number, agent_ids=tuple(f"a{n}" for n in range(number + 1)))])
    assert await names(history) == [("host", ("a0", "a1", "a2", "a3", "a4"))]
    await producer.send([metric(9, agent_ids=("a3",)), metric(10, agent_ids=("a4", "a9"))])
    assert await names(history) == [("host", ("a0", "a1", "a2", "a3", "a4")), ("host", ("a3",)), ("host", ("a4", "a9"))]
    # Another source may have rows of the same names.
    await Producer(history, source="other").send([metric(11, source="other", agent_ids=("a0", "a1", "a2"))])
    await producer.send([metric(12, agent_ids=("a0", "a1", "a2"))])
    assert await names(history, "host") == [("host", ("a3",)), ("host", ("a4", "a9")), ("host", ("a0", "a1", "a2"))]
    await producer.send([metric(13, agent_ids=("a3",)), metric(14, agent_ids=("a9", "a4", "a0"))])
    assert await names(history, "host") == [
        ("host", ("a0", "a1", "a2")),
        ("host", ("a3",)),
        ("host", ("a9", "a4", "a0")),
    ]
