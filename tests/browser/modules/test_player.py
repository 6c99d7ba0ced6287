"""client/player.js: the requests of a replay, and which frames belong to it."""

import pytest
from playwright.sync_api import Page

from tests.support.browser_modules import run

pytestmark = pytest.mark.browser


PLAYER = """
  const sent = [], timers = [], news = [];
  let nowMs = 1_000_000;
  const connection = {
    localNow: () => nowMs,
    send: (message) => sent.push(message) > 0,
    timers: {setTimeout: (callback) => timers.push(callback), clearTimeout() {}},
  };
  const player = new module.Player(connection, (each) => news.push(each), () => ({backfill_seconds: 60}));
  const at = (seconds) => new Date(seconds * 1000).toISOString();
  const answer = (rest) => player.take({type: "replay_state", state: "playing", run: null, at: at(500), from: at(400),
                                        until: at(900), speed: 1, ref: sent.at(-1).ref, ...rest});
  const live = {type: "metric_update"}, replayed = {type: "metric_update", replayed: true};
  const accepted = () => [player.partOf(live), player.partOf(replayed)];
"""


def test_frames_of_another_time_are_kept_out(page: Page):
    code = f"""{PLAYER}
      const seen = [accepted()];
      player.open({{run: "soak", atMs: null, speed: 4, isPaused: false}});
      seen.push(accepted());
      answer({{run: "soak", ref: undefined}});
      seen.push(accepted());
      answer({{run: "soak"}});
      seen.push(accepted());
      player.seek(600_000);
      seen.push(accepted());
      answer({{run: "soak", at: at(600)}});
      player.live();
      seen.push(accepted());
      answer({{state: "live"}});
      seen.push(accepted());
      return [seen, sent.map(({{ref, ...message}}) => message)];
    """
    seen, sent = run(page, "client/player", code)
    assert seen == [
        *(["live", "live"], ["live", "live"], [None, None], [None, "replay"]),
        *([None, None], [None, None], ["live", "live"]),
    ]
    assert sent == [
        {"type": "replay", "run": "soak", "speed": 4, "paused": False, "backfill_seconds": 60},
        {"type": "seek", "to": "1970-01-01T00:10:00.000Z", "backfill_seconds": 60},
        {"type": "live", "backfill_seconds": 60},
    ]


def test_many_seeks_send_few_messages(page: Page):
    code = f"""{PLAYER}
      player.open({{run: null, atMs: 500_000, speed: 1, isPaused: true}});
      answer({{state: "paused"}});
      for (const second of [510, 520, 530]) player.seek(second * 1000);
      const shown = player.clock.now();
      answer({{state: "paused", at: at(510)}});
      const waiting = timers.length;
      nowMs += 300;
      timers.at(-1)();
      answer({{state: "paused", at: at(530)}});
      nowMs += 300;
      player.seek(9_999_000);
      return [shown, waiting, sent.filter(({{type}}) => type === "seek").map(({{to}}) => Date.parse(to) / 1000)];
    """
    assert run(page, "client/player", code) == [530_000, 1, [510, 530, 900]]


def test_held_key_in_the_list_of_runs_stays_within_the_message_limit(page: Page):
    code = f"""{PLAYER}
      let due = [];
      connection.timers.setTimeout = (callback, milliseconds) => due.push([callback, nowMs + milliseconds]);
      const pass = (milliseconds) => {{
        for (const end = nowMs + milliseconds; nowMs < end; nowMs += 1) {{
          const now = due.filter(([, atMs]) => atMs <= nowMs);
          due = due.filter(([, atMs]) => atMs > nowMs);
          for (const [callback] of now) callback();
        }}
      }};
      for (let number = 0; number < 60; number += 1) {{
        player.open({{run: `run-${{number}}`, atMs: null, speed: 1, isPaused: true}});
        pass(33);
        if (number === 2) answer({{run: "run-2", state: "paused"}});
      }}
      const isQuick = sent.slice(0, 3).map(({{run}}) => run).join();
      pass(1_000);
      const [count, {{run}}, isSeeking] = [sent.length, sent.at(-1), player.isSeeking];
      answer({{run, state: "paused"}});
      return [isQuick, count <= 20, run, isSeeking, player.isSeeking, player.run];
    """
    assert run(page, "client/player", code) == ["run-0,run-1,run-2", True, "run-59", True, False, "run-59"]


def test_going_live_cancels_a_replay_that_waits_to_be_requested(page: Page):
    code = f"""{PLAYER}
      for (let number = 0; number < 12; number += 1) {{
        player.open({{run: `run-${{number}}`, atMs: null, speed: 1, isPaused: true}});
      }}
      const asked = sent.length;
      player.live();
      timers.splice(0).forEach((callback) => callback());
      const last = sent.at(-1).type;
      answer({{state: "live"}});
      const before = sent.length;
      // What waits on a connection that is gone is not said to the next one.
      for (let number = 0; number < 12; number += 1) player.open({{run: "x", atMs: 0, speed: 1, isPaused: true}});
      player.reconnect();
      timers.splice(0).forEach((callback) => callback());
      return [asked < 12, last, player.state, sent.length - before];
    """
    assert run(page, "client/player", code) == [True, "live", "paused", 1]


def test_reports_from_before_a_pause_do_not_undo_it(page: Page):
    code = f"""{PLAYER}
      const seen = [];
      const see = () => seen.push([player.state, player.speed]);
      player.open({{run: null, atMs: 500_000, speed: 1, isPaused: false}});
      answer();
      const unasked = {{ref: undefined}};
      player.pause();
      answer({{...unasked, at: at(501)}});
      see();
      answer({{state: "paused", at: at(502)}});
      see();
      player.play();
      answer();
      player.setSpeed(4);
      answer({{...unasked, speed: 1}});
      see();
      // What it says afterwards counts, and what it says of a jump, though it has not heard of the pause behind it.
      answer({{speed: 2}});
      answer({{...unasked, speed: 2}});
      see();
      player.seek(600_000);
      const sought = sent.at(-1).ref;
      player.pause();
      answer({{ref: sought, at: at(600), until: at(950)}});
      see();
      answer({{state: "ended"}});
      see();
      return [seen, player.untilMs, player.isSeeking];
    """
    assert run(page, "client/player", code) == [
        [["paused", 1], ["paused", 1], ["playing", 4], ["playing", 2], ["paused", 2], ["ended", 2]],
        900_000,
        False,
    ]


def test_speed_that_is_chosen_while_a_replay_stands_still_stays_chosen(page: Page):
    code = f"""{PLAYER}
      player.open({{run: null, atMs: 500_000, speed: 1, isPaused: true}});
      answer({{state: "paused"}});
      player.setSpeed(10);
      // The server plays at no speed at the moment, and says the one that it had been told.
      player.seek(600_000);
      answer({{state: "paused", at: at(600), speed: 1}});
      player.play();
      const [{{type, speed}}] = sent.slice(-1);
      answer({{speed: 4}});
      return [type, speed, player.speed];
    """
    assert run(page, "client/player", code) == ["resume", 10, 4]


def test_replay_that_is_refused_ends_one_that_played(page: Page):
    code = f"""{PLAYER}
      const refuse = () => player.take({{type: "error", code: "unknown_run", message: "none", ref: sent.at(-1).ref}});
      player.open({{run: "gone", atMs: null, speed: 1, isPaused: false}});
      refuse();
      const first = [player.state, sent.length, news.at(-1).problem.code];
      player.open({{run: null, atMs: 500_000, speed: 1, isPaused: false}});
      answer();
      player.open({{run: "gone", atMs: null, speed: 1, isPaused: false}});
      refuse();
      return [first, [player.state, sent.at(-1).type]];
    """
    assert run(page, "client/player", code) == [["live", 1, "unknown_run"], ["live", "live"]]


def test_going_live_before_the_replay_has_begun_stays_live(page: Page):
    code = f"""{PLAYER}
      const begin = () => player.open({{run: null, atMs: 500_000, speed: 1, isPaused: false}});
      begin();
      const asked = sent.at(-1).ref;
      player.live();
      const [before, count] = [[player.state, ...accepted()], news.length];
      answer({{ref: asked}});
      const between = [player.state, ...accepted(), news.length - count];
      answer({{state: "live"}});
      const after = [player.state, ...accepted(), news.at(-1).isJump];
      // One that is refused meanwhile was not there to be ended, so what came before has to be asked for.
      begin();
      const refused = sent.at(-1).ref;
      player.live();
      player.take({{type: "error", code: "unknown_run", message: "gone", ref: refused}});
      answer({{state: "live"}});
      return [before, between, after, [player.state, news.at(-1).isJump], sent.map(({{type}}) => type)];
    """
    assert run(page, "client/player", code) == [
        ["live", "live", "live"],
        ["live", None, None, 0],
        ["live", "live", "live", False],
        ["live", True],
        ["replay", "live", "replay", "live"],
    ]
