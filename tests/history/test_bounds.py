"""What is dropped counts as lost, in the history in memory and the one in a real Valkey."""

import time

import msgspec

from metrics_stream.core.protocol.positions import Position
from metrics_stream.history import Bounds
from tests.support.history import Producer, read, start, timestamps
from tests.support.stack import eventually


async def test_what_exceeds_the_count_is_dropped_and_counted_as_lost(open_history):
    history = open_history(Bounds(900.0, 1_000, 100_000_000))
    producer = Producer(history)
    hero = Producer(history, "hero")
    await hero.publish(2)
    for _ in range(560):
        await producer.publish(5)
        oldest = (await history.since(await start(history), max_metrics=1)).batches[0]
        assert oldest.first >= producer.number * 5 - 1_000
    page = await history.since(await start(history, "system", "hero"), max_metrics=1)
    kept = 2_800 - page.lost["system"]
    assert 950 <= kept <= 1_000
    # Reported once, although the first page has no metric of the type: the position of the page is beyond them.
    assert (page.batches[0].metric_type, page.position.offsets) == ("hero", {"system": 2_800 - kept, "hero": 2})
    rest = await read(history, page.position)
    assert timestamps([batch for page in rest for batch in page.batches]) == list(range(2_800 - kept, 2_800))
    assert [page.lost for page in rest] == [{}]


async def test_what_exceeds_the_bytes_is_dropped(open_history):
    history = open_history(Bounds(900.0, 1_000_000, 20_000))
    producer = Producer(history)
    size = len(msgspec.msgpack.encode(producer.metrics(10)))
    for number in range(200):
        await producer.publish(10)
        [page] = await read(history, await start(history))
        assert (0.9 if number > 30 else 0) < len(page.batches) * size / 20_000 <= 1
        assert page.lost.get("system", 0) == page.batches[0].first


async def test_a_batch_that_is_larger_than_the_bounds_stays_until_the_next_one(open_history):
    history = open_history(Bounds(900.0, 10, 10))
    producer = Producer(history)
    for expected in (20, 40):
        await producer.publish(20)
        [page] = await read(history, await start(history))
        assert timestamps(page.batches) == list(range(expected - 20, expected))


async def test_what_is_too_old_is_never_handed_out_though_nothing_new_comes(open_history):
    history = open_history(Bounds(0.5, 1_000, 1_000_000))
    producer = Producer(history)
    placed = [await producer.publish() for _ in range(3)]
    begin = await start(history)
    first = await history.since(begin)
    assert timestamps(first.batches) == [0, 1, 2]

    async def is_gone() -> bool:
        before = time.time()
        page = await history.since(begin)
        newest, oldest_at = await history.newest(["system"]), await history.oldest_at(["system"])
        for batch in [*page.batches, *newest]:
            assert batch.published_at > before - 0.5
        return not (page.batches or newest or oldest_at)

    await eventually(is_gone, 5)
    assert time.time() > placed[0].published_at + 0.4
    assert await history.since(begin) == ([], Position(begin.epoch, {"system": 3}), True, {"system": 3})
    assert await history.since(Position(begin.epoch, {"system": 1})) == (
        *([], Position(begin.epoch, {"system": 3}), True, {"system": 2}),
    )
    # The offsets continue.
    assert (await producer.publish()).first == 3


async def test_what_is_lost_before_until_counts_up_to_there(open_history):
    history = open_history(Bounds(900.0, 10, 1_000_000))
    producer = Producer(history)
    for _ in range(10):
        await producer.publish(5)
    begin = await start(history)
    for until in (0, 3, 20):
        page = await history.since(begin, until=Position(begin.epoch, {"system": until}))
        lost = {"system": until} if until else {}
        assert page == ([], Position(begin.epoch, {"system": until}), True, lost)


async def test_a_position_of_another_epoch_is_followed_by_all_that_is_kept(history):
    await Producer(history).publish(3)
    epoch = (await history.heads(())).epoch
    other = Position("1", {"system": 2, "hero": 4})
    page = await history.since(other, max_metrics=1)
    assert timestamps(page.batches) == [0, 1, 2]
    assert page[1:] == (Position(epoch, {"system": 3, "hero": 0}), True, {"system": None, "hero": None})
    # No metric of this epoch is before a position of another one.
    page = await history.since(other, until=other)
    assert page == ([], Position(epoch, {"system": 0, "hero": 0}), True, {"system": None, "hero": None})
    here = Position(epoch, {"system": 1})
    assert await history.since(here, until=other) == ([], here, True, {})


async def test_a_place_that_the_history_has_not_reached_is_followed_by_its_end(history):
    await Producer(history).publish(3)
    epoch = (await history.heads(())).epoch
    page = await history.since(Position(epoch, {"system": 4}))
    assert page == ([], Position(epoch, {"system": 3}), True, {"system": None})
