"""Replays: what is played to one client over the real routing, from a list of the test."""

import asyncio

import pytest
from django.db import OperationalError

from metrics_stream.broadcast import broadcast_many, make_metric
from metrics_stream.consumers import replay, session
from metrics_stream.consumers.replay import Moment, Pages
from metrics_stream.core.errors import BusError
from metrics_stream.core.protocol.codes import CloseCode, ErrorCode
from metrics_stream.runtime.runtime import get_runtime, stop_runtime
from tests.support.replays import BEGIN, ListReplaySource, connected, instant, metric

pytestmark = pytest.mark.usefixtures("server")


@pytest.fixture
def replay_sources(monkeypatch):
    """The replay source that clients get, by the name of the run."""
    found = {"a-run": ListReplaySource()}

    async def open_replay_source(runtime, access, run):
        return found[run]

    monkeypatch.setattr(session, "open_replay_source", open_replay_source)
    return found


async def test_a_run_is_played_from_its_start_to_its_end_and_says_so(replay_sources):
    async with connected() as client:
        state = await client.ask(type="replay", run="a-run", speed=60)
        assert state == {
            "type": "replay_state",
            "state": "playing",
            "run": "a-run",
            "at": state["at"],
            "from": instant(0),
            "until": instant(19),
            "speed": 60.0,
            "ref": "r",
        }
        ended = await client.hear_state("ended")
        assert ended["at"] == instant(19)
        await client.hear_number(19)
        assert client.numbers == list(range(20))
        assert client.flags == {True}


async def test_what_is_live_does_not_come_into_a_replay_and_comes_after_it(replay_sources):
    async with connected() as client:
        await client.ask(type="replay", run="a-run", paused=True)
        await broadcast_many([{"metric_type": "system", "data": {"n": 999}}])
        await client.ask(type="ping")
        assert client.numbers == []
        assert (await client.ask(type="live"))["state"] == "live"
        await client.hear_number(999)
        await broadcast_many([{"metric_type": "system", "data": {"n": 1000}}])
        await client.hear_number(1000)
        assert client.numbers == [999, 1000]


async def test_a_client_that_comes_back_from_a_replay_can_have_what_it_missed(replay_sources):
    async with connected() as client:
        position = client.others[-1]["position"]
        await client.ask(type="replay", run="a-run", paused=True)
        await broadcast_many([{"metric_type": "system", "data": {"n": number}} for number in (1001, 1002)])
        await client.ask(type="live", resume_from=position)
        await client.hear_number(1002)
        assert client.numbers == [1001, 1002]


async def test_a_replay_of_one_does_not_disturb_another_or_what_is_live(replay_sources):
    replay_sources["other"] = ListReplaySource(5)
    async with connected() as watcher, connected() as first, connected() as second:
        await first.ask(type="replay", run="a-run", speed=60)
        await second.ask(type="replay", run="other", speed=60)
        await broadcast_many([{"metric_type": "system", "data": {"n": 999}}])
        await watcher.hear_number(999)
        await first.hear_number(19)
        await second.hear_number(4)
        assert watcher.numbers == [999]
        assert first.numbers == list(range(20))
        assert second.numbers == list(range(5))


async def test_a_paused_replay_stands_still_and_goes_on_at_another_speed(replay_sources):
    async with connected() as client:
        state = await client.ask(type="replay", run="a-run", paused=True, **{"from": instant(3)})
        assert (state["state"], state["at"]) == ("paused", instant(3))
        await client.hear_number(2)  # the newest before
        again = await client.ask(type="pause")
        assert again["at"] == instant(3)
        resumed = await client.ask(type="resume", speed=1_000)
        assert (resumed["state"], resumed["speed"]) == ("playing", 60.0)
        await client.hear_number(19)
        assert client.numbers == list(range(2, 20))


async def test_a_jump_goes_on_from_there_with_the_newest_of_that_instant(replay_sources):
    async with connected() as client:
        await client.ask(type="replay", run="a-run", paused=True)
        assert (await client.ask(type="seek", to=instant(15)))["at"] == instant(15)
        await client.ask(type="resume", speed=60)
        await client.hear_number(19)
        assert client.numbers == [14, 15, 16, 17, 18, 19]
        # Back from the end.
        await client.hear_state("ended")
        state = await client.ask(type="seek", to=instant(18))
        assert state["state"] == "paused"
        client.numbers.clear()
        await client.ask(type="resume")
        await client.hear_number(19)
        assert client.numbers == [17, 18, 19]


@pytest.mark.parametrize(("to", "at"), [(-100, 0), (100, 19)])
async def test_an_instant_outside_the_recording_is_moved_into_it(replay_sources, to, at):
    async with connected() as client:
        await client.ask(type="replay", run="a-run", paused=True)
        assert (await client.ask(type="seek", to=instant(to)))["at"] == instant(at)


async def test_filters_and_delivery_hold_in_a_replay(replay_sources):
    replay_sources["a-run"] = ListReplaySource(20, "hero")
    async with connected() as client:
        await client.ask(type="replay", run="a-run", paused=True)
        await client.ask(type="resume", speed=60)
        await client.hear_state("ended")
        assert client.numbers == []
        await client.ask(type="subscribe", metric_types=["hero"])
        await client.ask(type="set_batching", mode="latest")
        await client.ask(type="seek", to=instant(0))
        await client.ask(type="resume", speed=60)
        await client.hear_number(19)
        assert client.numbers[-1] == 19
        assert client.numbers == sorted(client.numbers)


async def test_a_past_that_is_away_halts_the_replay_and_can_be_tried_again(replay_sources):
    async with connected() as client:
        await client.ask(type="replay", run="a-run", paused=True)
        replay_sources["a-run"].fails = 1
        await client.ask(type="resume", speed=60)
        await client.hear_state("paused")
        await client.ask(type="resume")
        await client.hear_number(19)
        assert client.numbers == list(range(20))


async def away(*_):
    raise BusError("the past is away")


async def test_a_replay_that_cannot_begin_leaves_the_client_live(replay_sources, monkeypatch):
    monkeypatch.setattr(replay_sources["a-run"], "newest_at", away)
    async with connected() as client:
        assert (await client.ask(type="replay", run="a-run"))["code"] == "internal"
        assert (await client.ask(type="pause"))["code"] == "not_replaying"
        await client.ask(type="subscribe", metric_types=["hero"])
        await broadcast_many([{"metric_type": "hero", "data": {"n": 999}}])
        await client.hear_number(999)
        assert client.flags == {False}


async def test_a_replay_that_cannot_begin_leaves_the_one_before_playing(replay_sources, monkeypatch):
    replay_sources["other"] = ListReplaySource()
    monkeypatch.setattr(replay_sources["other"], "mark_at", away)
    async with connected() as client:
        await client.ask(type="replay", run="a-run", speed=60)
        assert (await client.ask(type="replay", run="other"))["code"] == "internal"
        await client.hear_number(19)
        assert client.numbers == list(range(20))
        assert (await client.hear_state("ended"))["run"] == "a-run"


async def test_a_jump_that_fails_leaves_the_replay_where_it_is(replay_sources):
    async with connected() as client:
        await client.ask(type="replay", run="a-run", paused=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(replay_sources["a-run"], "newest_at", away)
            assert (await client.ask(type="seek", to=instant(10)))["code"] == "internal"
        await client.ask(type="resume", speed=60)
        await client.hear_number(19)
        assert client.numbers == list(range(20))


async def test_more_than_a_client_gets_at_once_comes_later_and_not_never(replay_sources, monkeypatch):
    replay_sources["a-run"].metrics = [metric(index // 400) for index in range(8_000)]
    replay_sources["a-run"].read = _read_all(replay_sources["a-run"])
    async with connected() as client:
        await client.ask(type="set_batching", batch_size=1000)
        await client.ask(type="replay", run="a-run", speed=60)
        while len(client.numbers) < 8_000:
            await client.hear()
        assert client.numbers == [index // 400 for index in range(8_000)]
        assert [message for message in client.others if message["type"] == "gap"] == []


@pytest.mark.parametrize("mode", ["all", "aggregate"])
@pytest.mark.parametrize("bounds", [{"MAX_PENDING_BYTES": 20_000}, {"MAX_PENDING_METRICS": 20}])
async def test_what_is_more_than_may_wait_for_a_client_comes_later_and_not_never(
    replay_sources, settings, bounds, mode
):
    settings.METRICS_STREAM = bounds
    replay_source = replay_sources["a-run"]
    replay_source.metrics = [
        make_metric("system", {"n": number, "text": "x" * 1_000}, timestamp=BEGIN, source=f"s{number}")
        for number in range(60)
    ]
    replay_source.read = _read_all(replay_source)
    async with connected() as client:
        await client.ask(type="set_batching", batch_size=1000, mode=mode)
        await client.ask(type="replay", run="a-run", speed=60)
        while len(client.numbers) < 60:
            await client.hear()
        assert client.numbers == list(range(60))
        assert [message for message in client.others if message["type"] == "gap"] == []


async def test_the_newest_of_an_instant_all_come_while_the_replay_is_paused(replay_sources, settings):
    settings.METRICS_STREAM = {"MAX_PENDING_METRICS": 20}
    newest = [make_metric("system", {"n": number}, timestamp=BEGIN, source=f"s{number}") for number in range(60)]

    async def newest_at(at):
        return newest

    replay_sources["a-run"].newest_at = newest_at
    async with connected() as client:
        await client.ask(type="replay", run="a-run", paused=True)
        while len(client.numbers) < 60:
            await client.hear()
        assert client.numbers == list(range(60))
        assert [message for message in client.others if message["type"] == "gap"] == []


def _read_all(replay_source):
    async def read(mark):
        page = replay_source.metrics[mark : mark + 500]
        end = mark + len(page)
        return Pages([Moment(item.timestamp, [item]) for item in page], end, end >= len(replay_source.metrics))

    return read


@pytest.mark.parametrize(
    ("message", "code", "words"),
    [
        ({"type": "seek", "to": "2026-01-31T12:00:00Z"}, "not_replaying", "send `replay` first"),
        ({"type": "pause"}, "not_replaying", "send `replay` first"),
        ({"type": "resume"}, "not_replaying", "send `replay` first"),
        ({"type": "replay", "from": "noon"}, "invalid_message", "`from` is 'noon'; it must be an instant"),
        ({"type": "seek"}, "invalid_message", "the key `to` is missing"),
    ],
)
async def test_bad_messages_get_an_error_that_names_the_value(message, code, words):
    async with connected() as client:
        answer = await client.ask(**message)
        assert answer["code"] == code
        assert words in answer["message"]


async def test_a_client_that_is_closed_while_it_watches_hears_nothing_after_the_close(replay_sources, monkeypatch):
    monkeypatch.setattr(replay, "STATE_SECONDS", 0.0)
    async with connected() as client:
        await client.ask(type="replay", run="a-run", speed=0.25)
        [client_id] = get_runtime().hub.clients
        get_runtime().hub.close(client_id, CloseCode.FORBIDDEN, ErrorCode.FORBIDDEN, "closed by an admin")
        while (await client.receive_output(timeout=5))["type"] != "websocket.close":
            pass
        assert await client.receive_nothing(timeout=3 * replay.TICK_SECONDS)


async def test_a_client_that_leaves_in_the_middle_leaves_nothing_behind(replay_sources):
    before = asyncio.all_tasks()
    async with connected() as client:
        await client.ask(type="replay", run="a-run")
    await stop_runtime()
    assert {task for task in asyncio.all_tasks() - before if not task.done()} <= {asyncio.current_task()}


@pytest.mark.parametrize("error", [BusError("the channel layer took more than 5 s"), OperationalError("locked")])
async def test_a_past_that_cannot_be_read_is_answered_without_a_traceback(replay_sources, monkeypatch, caplog, error):
    async def fail(at):
        raise error

    monkeypatch.setattr(replay_sources["a-run"], "newest_at", fail)
    async with connected() as client:
        answer = await client.ask(type="replay", run="a-run")
        assert (answer["type"], answer["code"], answer["ref"]) == ("error", "internal", "r")
        assert "ask again" in answer["message"]
        assert (await client.ask(type="ping"))["type"] == "pong"
    assert not [record for record in caplog.records if record.exc_info]
