"""What pages keep of the past: joined from live frames, replayed ones and summaries, in a real browser."""

from typing import Any

import pytest
from playwright.sync_api import Page

from tests.browser import test_modules
from tests.browser.test_modules import FAKES, run

pytestmark = pytest.mark.browser


page = test_modules.page


SERIES = """
  const newSeries = (windowMs = 900_000) => new module.Series({source: "s", agentId: null, path: "p"}, windowMs);
  const pointsOf = ({times, values, lows, highs}) => [...times].map((timeMs, index) => {
    const numbers = [values[index], lows[index], highs[index]].map((each) => Number.isNaN(each) ? null : each);
    return [timeMs / 1000, ...numbers];
  });
"""


def test_buckets_become_points_with_their_extremes(page: Page):
    code = f"""{SERIES}
      const series = newSeries();
      const summary = {{fromMs: 100_000, bucketMs: 2000, untilMs: 105_200, buckets: [0, 1, 2]}};
      series.fill({{...summary, last: [5, 6, 7], min: [1, 6, 7], max: [9, 6, 8]}});
      return [pointsOf(series), series.lastValue];
    """
    assert run(page, "client/series", code) == [[[101, 5, 1, 9], [103, 6, 6, 6], [105, 7, 7, 8]], 7]


def test_points_that_are_there_already_stay_and_take_over_what_else_their_bucket_held(page: Page):
    code = f"""{SERIES}
      const series = newSeries();
      for (const [second, value] of [[102, 5], [102.9, 6], [103.5, 7]]) series.add(second * 1000, value);
      const summary = {{fromMs: 100_000, bucketMs: 1000, untilMs: 104_000, buckets: [1, 2, 3]}};
      const fill = () => series.fill({{...summary, last: [4, 6, 7], min: [4, 5, 2], max: [4, 6, 7]}});
      fill();
      const once = pointsOf(series);
      fill();
      return [once, pointsOf(series)];
    """
    once, twice = run(page, "client/series", code)
    assert once == [[101.5, 4, 4, 4], [102, 5, 5, 5], [102.9, 6, 6, 6], [103.5, 7, 2, 7]]
    assert twice == once


@pytest.mark.parametrize(
    ("bucket_seconds", "buckets", "breaks"),
    [
        (1, [0, 1, 2, 3], []),
        (1, [0, 1, 2, 9, 10], [9]),
        (10, [0, 1, 2, 3], []),
        (10, [0, 1, 2, 6, 7], [6]),
        (1, [0, 10, 20, 30], []),
        (1, [0, 10, 20, 60, 70], [60]),
    ],
)
def test_stretch_without_buckets_is_a_gap(page: Page, bucket_seconds: int, buckets: list[int], breaks: list[int]):
    code = f"""{SERIES}
      const [bucketSeconds, buckets] = argument;
      const series = newSeries();
      const bucketMs = bucketSeconds * 1000;
      series.fill({{fromMs: 0, bucketMs, untilMs: 900_000, buckets, last: buckets.map(() => 1)}});
      for (let second = 1; second < 9; second += 1) series.add((buckets.at(-1) + 1) * bucketMs + second * 500, 1);
      const {{joinColumns}} = await import("/static/metrics_stream/client/columns.js");
      const [times, values] = joinColumns([series], 0);
      return times.filter((_, row) => values[row - 1] === null).map((time) => Math.floor(time / bucketSeconds));
    """
    assert run(page, "client/series", code, [bucket_seconds, buckets]) == breaks


def test_gap_between_points_stays_one_when_buckets_join_them(page: Page):
    code = f"""{SERIES}
      const series = newSeries();
      for (const second of [100, 101, 102, 110, 111, 112]) series.add(second * 1000, second);
      const summary = {{fromMs: 100_000, bucketMs: 1000, untilMs: 121_000, last: [112, 120]}};
      series.fill({{...summary, buckets: [12, 20]}});
      return pointsOf(series).map(([second, value]) => [second, value]);
    """
    assert run(page, "client/series", code) == [
        [100, 100],
        [101, 101],
        [102, 102],
        [102.001, None],
        [110, 110],
        [111, 111],
        [112, 112],
        [112.001, None],
        [120.5, 120],
    ]


def test_line_that_was_ended_breaks_however_soon_it_goes_on(page: Page):
    code = f"""{SERIES}
      const series = newSeries();
      for (const second of [1, 2, 3]) series.add(second * 1000, second);
      series.break();
      series.break();
      series.add(4000, 4);
      const {{lineGeometry}} = await import("/static/metrics_stream/client/line_geometry.js");
      const {{times, traces}} = lineGeometry([series], 0, 5000, 100);
      return [times, traces[0].values];
    """
    assert run(page, "client/series", code) == [[1, 2, 3, 3.001, 4], [1, 2, 3, None, 4]]


def test_picture_of_a_stretch_leaves_out_what_is_behind_it(page: Page):
    code = f"""{SERIES}
      const series = newSeries();
      for (let tenth = 0; tenth < 600; tenth += 1) series.add(tenth * 100, tenth === 599 ? 1000 : tenth);
      const {{lineGeometry, boundsOf}} = await import("/static/metrics_stream/client/line_geometry.js");
      const dense = lineGeometry([series], 10_000, 20_000, 20);
      const sparse = lineGeometry([series], 10_000, 12_000, 400);
      return [dense.traces[0].dense, boundsOf(dense.traces), sparse.traces[0].dense, boundsOf(sparse.traces)];
    """
    dense, bounds, sparse, fine_bounds = run(page, "client/series", code)
    assert (dense, sparse) == (True, False)
    assert 90 <= bounds[0] <= 100 < 200 <= bounds[1] <= 210
    assert 90 <= fine_bounds[0] <= 100 < 120 <= fine_bounds[1] <= 130


def test_dense_points_keep_both_extremes(page: Page):
    code = f"""{SERIES}
      const series = newSeries(3_600_000);
      for (const [tenth, value] of [[0, 5], [1, -40], [2, 90], [3, 6], [10, 7]]) series.add(tenth * 100, value);
      return pointsOf(series);
    """
    assert run(page, "client/series", code) == [[0, 6, -40, 90], [1, 7, 7, 7]]


def test_feed_shows_a_new_time_only_when_it_is_filled(page: Page):
    code = """
      const feed = new module.Feed([{metricType: "system", path: "value", windowSeconds: 300}]);
      const metric = (seconds, value) => ({
        metric_type: "system", source: "a", timestamp: new Date(seconds * 1000).toISOString(), data: {value},
      });
      const word = (value) => (Number.isNaN(value) ? null : value);
      const seen = () => {
        const [{values}] = feed.store.series("system", "value");
        return [feed.isFilling, ...[...values].map(word)];
      };
      feed.target.add(metric(1000, 1), 1_000_000);
      feed.expect(["system"], {windowMs: 300_000, isAfresh: true});
      feed.target.add(metric(500, 5), Infinity, -Infinity);
      const before = seen();
      const series = [{metric_type: "system", source: "a", field: "value", buckets: [0, 1], last: [3, 4]}];
      const part = {type: "backfill", metric_types: ["system"], bucket_seconds: 1,
                    from: new Date(490_000).toISOString(), until: new Date(500_000).toISOString()};
      feed.fill({...part, series, done: false});
      const between = seen();
      feed.fill({...part, series: [], done: true});
      return [before, between, seen(), feed.store.firstMs];
    """
    assert run(page, "client/feed", code) == [[True, 1], [True, 1], [False, 3, 4, None, 5], 490_500]


def test_replay_clock_goes_on_at_its_speed_and_not_back_by_a_moment(page: Page):
    code = """
      let nowMs = 0;
      const clock = new module.ReplayClock(() => nowMs);
      const seen = [];
      const set = (atMs, speed, isJump = false) => {
        clock.set({atMs, untilMs: 100_000, speed}, {isJump});
        seen.push(clock.now());
      };
      set(50_000, 10, true);
      nowMs = 1_000;
      seen.push(clock.now());
      set(59_000, 10);
      set(20_000, 10);
      set(19_000, 10, true);
      set(30_000, 0);
      nowMs = 99_000;
      seen.push(clock.now());
      set(99_500, 1);
      nowMs = 100_000;
      seen.push(clock.now());
      return seen;
    """
    assert run(page, "client/clock", code) == [
        *(50_000, 60_000, 60_000, 20_000, 19_000, 30_000, 30_000, 99_500),
        100_000,
    ]


LINKS = [
    ("", {"run": None, "atMs": None, "speed": 1, "isPaused": False, "window": None, "zoom": None}),
    (
        "?run=soak&at=2026-01-31T12:00:05.000Z&speed=4&paused=1&window=run",
        {"run": "soak", "atMs": 1769860805000, "speed": 4, "isPaused": True, "window": "run", "zoom": None},
    ),
    (
        "?window=900&from=2026-01-31T12:00:00.000Z&to=2026-01-31T12:01:00.000Z",
        {
            **{"run": None, "atMs": None, "speed": 1, "isPaused": False, "window": 900},
            "zoom": {"fromMs": 1769860800000, "toMs": 1769860860000},
        },
    ),
]


@pytest.mark.parametrize(("query", "link"), LINKS)
def test_link_says_the_same_both_ways(page: Page, query: str, link: dict[str, Any]):
    code = """
      const [query, link] = argument;
      const address = "http://localhost/d/";
      const other = "?source=east&at=2020-01-01T00:00:00Z&from=x&speed=3&paused=1&run=y&to=z&window=5";
      return [module.readTimeLink(new URLSearchParams(query)), module.writeTimeLink(address, link),
              module.writeTimeLink(address + other, link)];
    """
    read, written, rewritten = run(page, "client/time_link", code, [query, link])
    assert read == link
    assert sorted(written.partition("?")[2].split("&")) == sorted(query.removeprefix("?").split("&"))
    assert set(rewritten.partition("?")[2].split("&")) - {""} == {
        "source=east",
        *query.removeprefix("?").split("&"),
    } - {""}


@pytest.mark.parametrize("query", ["?at=soon&speed=1000&window=-5&from=2026-01-31T12:00:00Z&to=2026-01-31T11:00:00Z"])
def test_link_that_makes_no_sense_is_that_of_the_live_page(page: Page, query: str):
    assert (
        run(page, "client/time_link", "return module.readTimeLink(new URLSearchParams(argument))", query) == LINKS[0][1]
    )


RESUME = f"""{FAKES}
  const urls = [];
  connection.openSocket = (url) => {{ urls.push(url); return openSocket(); }};
  connection.url = "ws://x/?preset=ops";
  connection.backfill = {{backfill_seconds: 900, max_points: 902}};
  const ready = [], recovered = [];
  connection.on("ready", (isResuming) => ready.push(isResuming));
  connection.on("recovered", (isWhole) => recovered.push(isWhole));
  const greet = () => say({{type: "welcome", timestamp: new Date(nowMs).toISOString(),
                           subscription: {{metric_types: ["system"], interval_seconds: 1, mode: "all"}}}});
  const asked = () => sockets.at(-1).sent.filter(({{type}}) => type !== "ping");
  const breakFor = (milliseconds) => {{
    sockets.at(-1).onclose({{code: 1006, reason: ""}});
    nowMs += milliseconds;
    timers.at(-1).callback();
  }};
  const confirm = (metricTypes, rest) => say({{type: "subscription_confirmed", metric_types: metricTypes, ...rest}});
  connection.subscribe(["system", "agent"]);
  connection.start();
  greet();
"""


def test_connection_goes_on_from_the_position_it_reached(page: Page):
    code = f"""{RESUME}
      confirm(["system", "agent"], {{position: "e:1"}});
      say({{type: "metric_update", data: {{}}, position: "e:2"}});
      breakFor(5_000);
      greet();
      confirm(["system"], {{position: "e:2", recovered: true}});
      // Says nothing of agents yet, which would be missing if the line broke now.
      say({{type: "metric_update", data: {{}}, replayed: true, position: "e:3"}});
      const first = asked();
      breakFor(5_000);
      greet();
      confirm(["system"], {{position: "e:2", recovered: true}});
      confirm(["system", "agent"], {{position: "e:2", recovered: false}});
      say({{type: "pong", timestamp: "", position: "e:4"}});
      breakFor(5_000);
      return {{urls, ready, recovered, first}};
    """
    assert run(page, "client/connection", code) == {
        "urls": ["ws://x/?preset=ops", *(f"ws://x/?preset=ops&resume_from=e%3A{number}" for number in (2, 2, 4))],
        "ready": [False, True, True],
        "recovered": [True, True, False],
        "first": [{"type": "subscribe", "metric_types": ["agent"], "resume_from": "e:2"}],
    }


def test_connection_that_was_away_for_long_asks_for_a_summary(page: Page):
    code = f"""{RESUME}
      const first = asked();
      confirm(["system", "agent"], {{position: "e:1"}});
      breakFor(61_000);
      greet();
      return {{url: urls.at(-1), ready, first, then: asked()}};
    """
    found = run(page, "client/connection", code)
    wish = {"type": "subscribe", "metric_types": ["system", "agent"], "backfill_seconds": 900, "max_points": 902}
    assert found == {"url": "ws://x/?preset=ops", "ready": [False, False], "first": [wish], "then": [wish]}


def test_fast_replay_asks_for_frequent_frames(page: Page):
    code = f"""{RESUME}
      const before = asked().length;
      for (const seconds of [0.25, 0.25, 0.01, 5, null]) connection.hasten(seconds);
      return asked().slice(before).map((message) => message.interval_seconds);
    """
    assert run(page, "client/connection", code) == [0.25, 0.1, 1]


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


def test_of_many_seeks_the_server_hears_few(page: Page):
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


def test_who_goes_through_the_list_of_runs_with_a_held_key_is_not_sent_away(page: Page):
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


def test_who_goes_back_while_a_replay_still_waits_to_be_asked_for_is_live(page: Page):
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


def test_what_the_server_said_before_it_heard_of_a_pause_does_not_undo_it(page: Page):
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


def test_who_goes_back_to_live_before_the_replay_has_begun_stays_live(page: Page):
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


def test_console_says_what_is_of_the_past(page: Page):
    code = """
      const frame = (message) => ({direction: "in", message, text: JSON.stringify(message), atMs: 10_000});
      const metric = {metric_type: "system", timestamp: new Date(8_000).toISOString(), source: "a", data: {load: 1}};
      const backfill = {type: "backfill", metric_types: ["system", "agent"], bucket_seconds: 3, series: [{}, {}]};
      const state = {type: "replay_state", state: "paused", run: "soak", speed: 2};
      return [{type: "metric_update", data: metric, replayed: true}, {...backfill, done: false},
              {...backfill, done: true}, state].map((each) => module.summarize(frame(each), 0));
    """
    assert run(page, "pages/console/messages", code) == [
        "replayed · age 2,000\u00a0ms · system from a · load 1",
        "2 series of system, agent in buckets of 3 s",
        "2 series of system, agent in buckets of 3 s · the last of them",
        "state paused · run soak · speed 2",
    ]


def test_line_that_was_ended_goes_on_where_the_server_has_what_was_missing(page: Page):
    code = f"""{SERIES}
      const joined = (buckets, bucketMs = 1000) => {{
        const series = newSeries();
        for (const second of [10.2, 11.2]) series.add(second * 1000, second);
        series.break();
        for (const second of [13.2, 14.2]) series.add(second * 1000, second);
        series.break();
        series.fill({{fromMs: 0, bucketMs, untilMs: 15_000, buckets, last: buckets.map(() => 5)}});
        return pointsOf(series).map(([, value]) => value);
      }};
      return [joined([10, 11, 12, 13, 14]), joined([10, 11, 13, 14]), joined([1], 10_000)];
    """
    filled, lacking, within = run(page, "client/series", code)
    assert filled == [10.2, 11.2, 5, 13.2, 14.2, None]
    assert lacking == [10.2, 11.2, None, 13.2, 14.2, None]
    assert within == [10.2, 11.2, 13.2, 14.2, None]


GAP_REFILL = """
  const asked = [], timers = [], broken = [];
  let nowMs = 100_000, isLive = true, isOpen = true;
  const connection = {
    clock: {now: () => nowMs},
    refill: (past, metricTypes) => isOpen && asked.push([past.backfill_seconds, past.max_points, ...metricTypes]) > 0,
    timers: {setTimeout: (callback, ms) => timers.push([callback, ms]), clearTimeout() {}},
  };
  const feed = {isBackfillPending: false, target: {break: (metricTypes) => broken.push(...metricTypes)}};
  const gapRefill = new module.GapRefill(connection, feed, {historySeconds: argument ?? 900, isLive: () => isLive});
  const gap = (reason, ...metricTypes) =>
    gapRefill.take({type: "gap", reason, dropped: null, metric_types: metricTypes});
  const pass = () => {
    const [callback, ms] = timers.shift();
    nowMs += ms;
    callback();
  };
"""


def test_gap_ends_the_lines_and_is_asked_for_once(page: Page):
    code = f"""{GAP_REFILL}
      gap("slow_consumer", "system");
      gap("bus", "system", "agent");
      const before = asked.length;
      pass();
      // What comes soon after waits for longer, and while nothing can be sent, or all of the past is on its way.
      gap("pending_overflow", "hero");
      const wait = timers[0][1];
      feed.isBackfillPending = true;
      pass();
      [feed.isBackfillPending, isOpen] = [false, false];
      pass();
      isOpen = true;
      pass();
      return {{before, broken, asked, wait, left: timers.length}};
    """
    assert run(page, "client/gap_refill", code) == {
        "before": 0,
        "broken": ["system", "system", "agent", "hero"],
        "asked": [[62, 64, "system", "agent"], [79, 81, "hero"]],
        "wait": 15_000,
        "left": 0,
    }


@pytest.mark.parametrize(
    ("history_seconds", "event"),
    [
        (900, 'gap("history", "system")'),
        (0, 'gap("bus", "system")'),
        (900, 'isLive = false; gap("pending_overflow", "system")'),
    ],
)
def test_what_cannot_be_filled_stays_a_break(page: Page, history_seconds: int, event: str):
    code = f"{GAP_REFILL} {event}; return [broken, timers.length];"
    assert run(page, "client/gap_refill", code, history_seconds) == [["system"], 0]


def test_percentiles_of_a_run_are_drawn_as_they_were_and_the_worst_is_named(page: Page):
    code = """
      const store = new module.Store([{metricType: "system", path: "p99_ms", windowSeconds: 900}]);
      const series = ["east", "west"].map((source, index) => ({
        metric_type: "system", source, field: "p99_ms", buckets: [0, 1], last: [3, 3], min: [2, 2], max: [9, 8],
        percentile: index ? [9, 8] : [5, 6], ...(index ? {is_worst: true} : {}),
      }));
      store.fill({from: "2026-01-01T00:00:00Z", until: "2026-01-01T00:01:00Z", bucket_seconds: 10, series});
      const {linesOf} = await import("/static/metrics_stream/client/readings.js");
      const lines = linesOf(store, {metric_type: "system", fields: [{path: "p99_ms", label: "p99"}]}, null);
      return lines.map(({label, series}) => [label, [...series.values], [...series.lows], [...series.highs]]);
    """
    assert run(page, "client/store", code) == [
        ["east", [5, 6], [2, 2], [9, 8]],
        ["west (worst)", [9, 8], [2, 2], [9, 8]],
    ]
