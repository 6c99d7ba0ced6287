"""The same contract over the history in memory and the one in a real Valkey."""

import asyncio
import time

import msgspec
import pytest

from metrics_stream.core.errors import BusError
from metrics_stream.core.protocol.positions import HistoryBatch, Position, tag_runs
from metrics_stream.history import ActiveRun, Bounds
from tests.support.history import Producer, metric, read, start, timestamps
from tests.support.stack import eventually

# --- numbering ---


async def test_a_new_history_is_empty(history):
    heads = await history.heads(["system", "hero"])
    assert heads.offsets == {"system": 0, "hero": 0}
    assert (await history.heads(["system"])).epoch == heads.epoch
    assert await history.since(heads) == ([], heads, True, {})
    assert await history.newest(["system"]) == []
    assert await history.oldest_at(["system"]) is None
    assert await history.since_time(["system", "hero"], 0.0) == heads


async def test_metrics_are_numbered_by_type_and_ordered_over_all(history):
    system, hero = Producer(history), Producer(history, "hero")
    before = time.time()
    placed = [await system.publish(3), await hero.publish(2), await system.publish(1), await hero.publish(1)]
    assert [item.first for item in placed] == [0, 0, 3, 2]
    assert len({item.epoch for item in placed}) == 1
    assert [item.order for item in placed] == sorted({item.order for item in placed})
    assert before - 1 < placed[0].published_at <= placed[-1].published_at < time.time() + 1
    assert await history.heads(["hero", "system", "agent"]) == Position(
        placed[0].epoch, {"hero": 3, "system": 4, "agent": 0}
    )


async def test_what_comes_back_is_what_was_published(history):
    producer = Producer(history)
    batch = [metric(1, source='é"x'), metric(2, agent_ids=("a", "b"))]
    placed = await producer.send(batch)
    page = await history.since(await start(history))
    assert page.batches == [HistoryBatch("system", placed.epoch, 0, placed.order, placed.published_at, batch, None)]


async def test_the_same_once_more_is_kept_once(history):
    producer, other = Producer(history), Producer(history)
    batch = producer.metrics(2)
    placed = await producer.send(batch, number=7)
    await other.publish()
    assert await producer.send(batch, number=7) == placed
    assert (await history.heads(["system"])).offsets == {"system": 3}
    # Each producer has its own numbers for each type.
    assert (await other.send(batch, number=7)).first == 3
    assert (await producer.send([metric(1, "hero")], number=7)).first == 0


async def test_what_comes_after_a_later_one_of_its_producer_is_refused(history):
    producer = Producer(history)
    await producer.send([metric(1)], number=5)
    with pytest.raises(BusError, match="the history got number 4 of a producer after its number 5"):
        await producer.send([metric(0)], number=4)
    assert (await history.heads(["system"])).offsets == {"system": 1}


async def test_producers_at_the_same_time_lose_nothing_and_keep_their_order(history):
    producers = [Producer(history, metric_type, source) for metric_type in ("system", "hero") for source in "abcd"]

    async def publish(producer: Producer) -> None:
        for count in range(1, 15):
            await producer.publish(count)

    await asyncio.gather(*(publish(producer) for producer in producers))
    [page] = await read(history, await start(history, "system", "hero"))
    assert page.position.offsets == {"system": 420, "hero": 420}
    for metric_type in ("system", "hero"):
        of_type = [batch for batch in page.batches if batch.metric_type == metric_type]
        assert [batch.first for batch in of_type] == [0, *(batch.end for batch in of_type[:-1])]
        for source in "abcd":
            numbers = timestamps([batch for batch in of_type if batch.metrics[0].source == source])
            assert numbers == list(range(105))
    assert [item.order for item in page.batches] == sorted(item.order for item in page.batches)


# --- reading ---


async def test_a_position_inside_a_batch_cuts_it(history):
    producer = Producer(history)
    for _ in range(3):
        await producer.publish(4)
    epoch = (await start(history)).epoch
    for first in range(13):
        for until in range(first, 15):
            page = await history.since(Position(epoch, {"system": first}), until=Position(epoch, {"system": until}))
            assert timestamps(page.batches) == list(range(first, min(until, 12)))
            assert all(batch.metrics for batch in page.batches)
            assert [batch.first for batch in page.batches][:1] in ([], [first])
            assert page.position == Position(epoch, {"system": min(until, 12)})
            assert (page.is_last, page.lost) == (True, {})


async def test_only_the_types_that_are_asked_for_come(history):
    await Producer(history).publish()
    await Producer(history, "hero").publish()
    page = await history.since(await start(history, "hero", "agent"))
    assert [batch.metric_type for batch in page.batches] == ["hero"]
    assert page.position.offsets == {"hero": 1, "agent": 0}


@pytest.mark.parametrize("options", [{"max_metrics": 10}, {"max_bytes": 700}, {"max_metrics": 1}])
async def test_pages_follow_each_other_in_the_order_of_publishing_over_all_types(history, options):
    producers = [Producer(history, metric_type) for metric_type in ("system", "hero", "agent")]
    published = []
    for turn in range(40):
        producer = producers[(turn * turn) % 3]
        batch = producer.metrics(1 + turn % 4)
        published.append((await producer.send(batch), batch))
    pages = await read(history, await start(history, "system", "hero", "agent"), **options)
    batches = [batch for page in pages for batch in page.batches]
    assert [batch.metrics for batch in batches] == [batch for _, batch in published]
    assert [batch.order for batch in batches] == [placed.order for placed, _ in published]
    assert len(pages) > 8
    for page in pages:
        taken = sum(len(batch.metrics) for batch in page.batches)
        assert len(page.batches) == 1 or taken <= options.get("max_metrics", taken)
        assert page.lost == {}
    assert pages[-1].position == await history.heads(["system", "hero", "agent"])


async def test_until_is_the_end_of_each_type_that_it_names(history):
    system, hero, agent = (Producer(history, metric_type) for metric_type in ("system", "hero", "agent"))
    for _ in range(5):
        for producer in (system, hero, agent):
            await producer.publish(2)
    begin = await start(history, "system", "hero", "agent")
    until = Position(begin.epoch, {"system": 3, "hero": 0})
    pages = await read(history, begin, until=until, max_metrics=4)
    found = [batch for page in pages for batch in page.batches]
    assert [(batch.metric_type, len(batch.metrics)) for batch in found] == [
        *(("system", 2), ("agent", 2), ("system", 1), ("agent", 2), ("agent", 2), ("agent", 2), ("agent", 2))
    ]
    assert pages[-1].position.offsets == {"system": 3, "hero": 0, "agent": 10}


async def test_what_is_published_between_two_pages_comes_on_the_next(history):
    producer = Producer(history)
    await producer.publish(3)
    await producer.publish(3)
    first = await history.since(await start(history), max_metrics=3)
    await producer.publish(2)
    assert (timestamps(first.batches), first.is_last) == ([0, 1, 2], False)
    second = await history.since(first.position)
    assert (timestamps(second.batches), second.is_last) == ([3, 4, 5, 6, 7], True)


# --- epochs ---


async def test_a_producer_that_has_seen_more_begins_a_new_epoch(history):
    producer, hero = Producer(history), Producer(history, "hero")
    old = await producer.publish(3)
    await hero.publish()
    producer.known = Position(old.epoch, {"system": 3, "hero": 1})
    assert (await producer.publish()).epoch == old.epoch
    producer.known = Position(old.epoch, {"system": 4, "hero": 2})
    placed = await producer.publish()
    assert (placed.epoch == old.epoch, placed.first) == (False, 0)
    assert await history.heads(["system", "hero"]) == Position(placed.epoch, {"system": 1, "hero": 0})
    assert timestamps((await history.since(await start(history, "system", "hero"))).batches) == [4]
    assert len(await history.newest(["system", "hero"])) == 1
    # Other producers, which know only the old epoch, continue in the new one.
    hero.known = Position(old.epoch, {"hero": 1})
    assert (await hero.publish())[:2] == (placed.epoch, 0)
    # What was kept in the old epoch is gone, so a repetition is kept.
    assert await producer.send([metric(9)], number=producer.number) == placed


async def test_what_was_kept_in_an_old_epoch_is_kept_again(history):
    producer, other = Producer(history), Producer(history)
    old = await producer.publish()
    other.known = Position(old.epoch, {"system": 2})
    await other.publish()
    placed = await producer.send([metric(0)], number=producer.number)
    assert (placed.epoch != old.epoch, placed.first) == (True, 1)


# --- by time ---


async def test_since_time_never_begins_too_late_and_at_most_a_second_too_early(open_history):
    history = open_history(Bounds(16.0, 1_000, 1_000_000))  # marks of a quarter of a second
    system, hero = Producer(history), Producer(history, "hero")
    await hero.publish()
    began_at = time.time()
    published = []

    async def publish_for_a_while() -> bool:
        published.append(await system.publish())
        return time.time() > began_at + 0.8

    await eventually(publish_for_a_while, 5)
    for placed in published[::7]:
        at = await history.since_time(["system", "hero"], placed.published_at)
        assert at.epoch == placed.epoch
        assert at.offsets["system"] <= placed.first
        early = [item for item in published if at.offsets["system"] <= item.first < placed.first]
        assert all(placed.published_at - item.published_at <= 0.3 for item in early)
    heads = await history.heads(["system", "hero"])
    assert (await history.since_time(["system", "hero"], 0.0)).offsets == {"system": 0, "hero": 0}
    assert await history.since_time(["system", "hero"], published[-1].published_at + 2) == heads


async def test_the_oldest_that_is_kept(history):
    hero = await Producer(history, "hero").publish()
    system = await Producer(history).publish()
    assert await history.oldest_at(["system"]) == pytest.approx(system.published_at, abs=1e-5)
    assert await history.oldest_at(["system", "hero", "agent"]) == pytest.approx(hero.published_at, abs=1e-5)


# --- newest ---


async def test_the_newest_of_each_key_in_the_order_of_publishing(history):
    producer, hero = Producer(history), Producer(history, "hero")
    agents = ("a1", "a2")
    await producer.send([metric(0), metric(1, source="b"), metric(2), metric(3, agent_ids=agents)])
    await hero.send([metric(4, "hero")])
    placed = await producer.send([metric(5, source="b"), metric(6, source="c"), metric(7, source="b")])
    found = await history.newest(["hero", "system", "agent"])
    assert [(batch.metric_type, batch.first, batch.metrics) for batch in found] == [
        ("system", 2, [metric(2)]),
        ("system", 3, [metric(3, agent_ids=agents)]),
        ("hero", 0, [metric(4, "hero")]),
        ("system", 5, [metric(6, source="c")]),
        ("system", 6, [metric(7, source="b")]),
    ]
    assert found[-1] == HistoryBatch(
        "system", placed.epoch, 6, placed.order, placed.published_at, [metric(7, source="b")], None
    )
    assert await history.newest(["agent"]) == []


async def test_keys_go_with_the_last_metric_of_theirs(open_history):
    history = open_history(Bounds(900.0, 100, 1_000_000))
    producer = Producer(history)
    for number in range(3_000):
        await producer.send([metric(number, source=f"pod-{number}"), metric(number, source="host")])
        if number % 500 == 0:
            page = await history.since(await start(history))
            kept = {item.source for batch in page.batches for item in batch.metrics}
            assert {batch.metrics[0].source for batch in await history.newest(["system"])} == kept


# --- runs ---


async def test_what_is_published_while_a_run_is_active_has_it(history):
    producer = Producer(history)
    batch = [metric(0, source="a"), metric(1, source="b"), metric(2, source="c")]
    await producer.send(batch)
    assert await history.active_runs() is None, "it is empty, and nobody has told it"
    runs = (ActiveRun("soak-1", ("a", "b")), ActiveRun("soak-2", ("b",)))
    await history.set_active_runs(runs)
    assert await history.active_runs() == runs
    placed = await producer.send(batch)
    await history.set_active_runs([*runs, ActiveRun("all")])
    await producer.send(batch)
    await history.set_active_runs([])
    assert await history.active_runs() == ()
    await producer.send(batch)
    page = await history.since(await start(history))
    assert [batch.runs for batch in page.batches] == [
        None,
        {"a": ("soak-1",), "b": ("soak-1", "soak-2")},
        {"a": ("soak-1", "all"), "b": ("soak-1", "soak-2", "all"), "c": ("all",)},
        {},
    ]
    assert placed.runs == page.batches[1].runs
    assert [batch.metrics for batch in page.batches] == [batch] * 4
    assert [msgspec.json.decode(item.body).get("run") for item in tag_runs(page.batches[1])] == [
        *("soak-1", "soak-2", None)
    ]
    # The runs are those at the time of publishing, also for a repetition.
    assert (await producer.send(batch, number=producer.number)).runs == {}


async def test_the_newest_metrics_have_the_runs_of_their_source(history):
    await history.set_active_runs([ActiveRun("r", ("a",))])
    await Producer(history).send([metric(0, source="a"), metric(1, source="b")])
    found = [(batch.metrics[0].source, batch.runs.get("a")) for batch in await history.newest(["system"])]
    assert found[0] == ("a", ("r",))
    assert [msgspec.json.decode(tag_runs(item)[0].body).get("run") for item in await history.newest(["system"])] == [
        *("r", None)
    ]
