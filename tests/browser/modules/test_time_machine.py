"""pages/time_machine.js, pages/keys.js, pages/runs.js: the time that a dashboard shows."""

import json

import pytest
from playwright.sync_api import Page

from tests.support.browser_modules import FAKES, run

pytestmark = pytest.mark.browser


MACHINE = f"""{FAKES}
  const {{Feed}} = await import("/static/metrics_stream/client/feed.js");
  const {{TimeMachine}} = await import("/static/metrics_stream/pages/time_machine.js");
  const feed = new Feed([{{metricType: "system", path: "value", windowSeconds: 300}}]);
  const runs = {{active: null, find: () => null}};
  const problems = [];
  const notices = {{show: (key, level, words) => problems.push(words)}};
  const config = {{metric_types: ["system"], history_seconds: 900, is_live: true}};
  const time = new TimeMachine({{connection, feed, runs, notices, config, windowSeconds: 300, changed() {{}}}});
  // As the dashboard does.
  connection.on("message", (message) => {{
    if (!time.player.take(message) && message.type === "backfill") feed.fill(message);
  }});
  connection.subscribe(["system"]);
  time.start();
  connection.start();
  const at = (milliseconds) => new Date(milliseconds).toISOString();
  const confirm = (rest) => say({{type: "subscription_confirmed", metric_types: ["system"], ...rest}});
  const fill = () => say({{type: "backfill", metric_types: ["system"], from: at(nowMs - 900_000), until: at(nowMs),
                           bucket_seconds: 1, series: [], done: true}});
  const breakFor = (milliseconds) => {{
    sockets.at(-1).onclose({{code: 1006, reason: ""}});
    nowMs += milliseconds;
    timers.at(-1).callback();
  }};
  const asked = () => sockets.at(-1).sent.filter(({{type}}) => type !== "ping");
  const askedOfThePast = () => asked().flatMap(({{backfill_seconds: seconds}}) => seconds ?? []);
  welcome();
"""


@pytest.mark.parametrize(
    ("before", "asked"),
    [
        ("confirm({position: 'e:1'})", [301]),
        ("confirm({position: 'e:1'}); feed.settle()", [301]),
        ("confirm({position: 'e:1'}); fill()", []),
        ("confirm({position: 'e:1'}); fill(); time.setWindow(900)", [900]),
        ("confirm({position: 'e:1'}); fill(); time.setWindow(900); fill()", []),
    ],
)
def test_past_that_a_broken_connection_lost_is_requested_again(page: Page, before: str, asked: list[int]):
    code = f"""{MACHINE}
      {before};
      breakFor(5_000);
      welcome();
      time.stop();
      return [asked()[0].resume_from, askedOfThePast()];
    """
    assert run(page, "client/connection", code) == ["e:1", asked]


def test_going_live_on_a_broken_connection_gets_the_past(page: Page):
    code = f"""{MACHINE}
      confirm({{position: "e:1"}});
      fill();
      time.replayRecent();
      say({{type: "replay_state", state: "playing", run: null, at: at(nowMs - 900_000), from: at(nowMs - 900_000),
           until: at(nowMs), speed: 1, ref: sockets.at(-1).sent.at(-1).ref}});
      fill();
      time.toLive();
      breakFor(5_000);
      welcome();
      time.stop();
      return [asked()[0].resume_from, askedOfThePast()];
    """
    assert run(page, "client/connection", code) == ["e:1", [301]]


KEYS = """
  const heard = [];
  const time = {isReplaying: true, isLive: false, nowMs: 0,
                togglePause: () => heard.push("pause"), seek: (atMs) => heard.push(atMs)};
  const stop = module.watchKeys(document, time);
  const place = document.createElement(argument);
  place.tabIndex = 0;
  document.body.append(place);
  const press = (key, repeat = false) =>
    place.dispatchEvent(new KeyboardEvent("keydown", {key, repeat, bubbles: true, cancelable: true}));
  const end = () => {
    stop();
    place.remove();
    return heard;
  };
"""


def test_key_that_is_held_down_pauses_once(page: Page):
    code = f"""{KEYS}
      // Where nothing prevents it, a held Enter presses a button thirty times a second.
      const isPressed = [press("Enter"), press("Enter", true), press("Enter", true)];
      document.body.append(document.createElement("p"));
      const {{lastChild}} = document.body;
      for (const repeat of [false, true, true]) {{
        lastChild.dispatchEvent(new KeyboardEvent("keydown", {{key: " ", repeat, bubbles: true}}));
        lastChild.dispatchEvent(new KeyboardEvent("keydown", {{key: "ArrowLeft", repeat, bubbles: true}}));
      }}
      lastChild.remove();
      return [isPressed, end()];
    """
    assert run(page, "pages/keys", code, "button") == [[True, False, False], ["pause", -10_000, -10_000, -10_000]]


def test_arrows_in_a_region_that_scrolls_are_its_own(page: Page):
    code = f"{KEYS} return [press('ArrowRight'), press(' '), end()];"
    assert run(page, "pages/keys", code, "div") == [True, False, ["pause"]]


RUNS = """
  let answer = argument, asked = 0;
  const original = globalThis.fetch;
  globalThis.fetch = async () => {
    asked += 1;
    return new Response(`<script id="page-runs" type="application/json">${JSON.stringify(answer)}</script>`);
  };
  const page = new DOMParser().parseFromString(await (await fetch()).text(), "text/html");
  asked = 0;
  let listed = null;
  const runs = new module.Runs(page, () => listed());
  let nowMs = 0;
  const wait = async (milliseconds) => {
    for (const end = nowMs + milliseconds; nowMs < end; nowMs += 250) {
      const before = asked;
      const told = new Promise((resolve) => { listed = resolve; });
      runs.refresh(nowMs);
      if (asked > before) await told;
    }
  };
"""
RUNNING = {"id": "soak", "name": "Soak", "status": "running", "started_at": "2026-01-31T12:00:00Z", "ended_at": None}
FAILED = {**RUNNING, "status": "failed", "ended_at": "2026-01-31T12:05:00Z"}


@pytest.mark.parametrize("is_seen", [True, False])
def test_run_whose_program_is_gone_ends_on_pages_that_are_open(page: Page, is_seen: bool):
    code = f"""{RUNS}
      if ({str(is_seen).lower()}) runs.noteLiveRun("soak", 0);
      await wait(30_000);
      // It fails when its program has been silent for a minute; nothing is published any more.
      const before = runs.active?.status;
      answer = {json.dumps([FAILED])};
      await wait(90_000);
      const found = [before, runs.active, runs.list[0].status];
      const count = asked;
      await wait(600_000);
      globalThis.fetch = original;
      return [...found, count <= 4, asked - count];
    """
    assert run(page, "pages/runs", code, [RUNNING]) == ["running", None, "failed", True, 0]


def test_replay_that_is_refused_after_a_reconnect_leaves_no_metrics_on_the_live_page(page: Page):
    code = f"""{MACHINE}
      const metric = (value, rest) => say({{type: "metric_update", ...rest, data: {{
        metric_type: "system", source: value > 5 ? "of the run" : "live", timestamp: at(nowMs), data: {{value}}}}}});
      connection.on("message", (message) => {{
        if (message.type !== "metric_update") return;
        const part = time.player.partOf(message);
        if (part !== null) (part === "live" && time.isReplaying ? feed.store : feed.target).add(message.data, nowMs);
      }});
      confirm();
      fill();
      time.showRun("soak");
      say({{type: "replay_state", state: "paused", run: "soak", at: at(nowMs), from: at(0), until: at(nowMs), speed: 1,
           ref: sockets.at(-1).sent.at(-1).ref}});
      metric(9, {{replayed: true}});
      fill();
      const before = feed.store.sources();
      // The run was withdrawn: the server closes, and does not know it any more.
      sockets.at(-1).onclose({{code: 4005, reason: ""}});
      timers.at(-1).callback();
      welcome();
      metric(1, {{replayed: true}});
      const {{ref}} = asked().find(({{type}}) => type === "replay");
      say({{type: "error", code: "unknown_run", message: "gone", ref}});
      time.stop();
      return [before, time.isLive, problems, feed.store.sources(), feed.store.latest("system").length];
    """
    assert run(page, "client/connection", code) == [
        ["of the run"],
        True,
        ["This test run no longer exists. The page is live."],
        ["live"],
        1,
    ]


@pytest.mark.parametrize(
    ("look", "back"),
    [
        ("time.setZoom({fromMs: nowMs - 200_000, toMs: nowMs})", 200_000),
        ("time.togglePause()", 300_000),
        ("time.togglePause(); time.setZoom({fromMs: nowMs - 200_000, toMs: nowMs})", 300_000),
    ],
)
def test_paused_or_zoomed_time_stays_in_memory(page: Page, look: str, back: int):
    code = f"""{MACHINE}
      confirm();
      fill();
      const add = () => feed.target.add(
        {{metric_type: "system", source: "a", timestamp: at(nowMs), data: {{value: (nowMs / 1000) % 5}}}},
        connection.clock.now());
      const pass = (seconds) => {{
        for (const end = nowMs + 1000 * seconds; nowMs < end; nowMs += 1_000) {{
          add();
          time.tick();
        }}
      }};
      pass(600);
      const heldMs = nowMs;
      {look};
      pass(4 * 3600);
      time.stop();
      const [{{times, lows, highs}}] = feed.store.series("system", "value");
      return [times[0] <= heldMs - argument, times.length <= 4096, Math.min(...lows), Math.max(...highs)];
    """
    assert run(page, "client/connection", code, back) == [True, True, 0, 4]


def test_a_zoom_into_a_long_replay_gets_its_detail_and_its_end_the_whole_again(page: Page):
    code = f"""{MACHINE}
      confirm({{position: "e:1"}});
      fill();
      const [fromMs, untilMs] = [nowMs - 259_200_000, nowMs];
      const answer = (atMs) => say({{type: "replay_state", state: "paused", run: "soak", at: at(atMs), from: at(fromMs),
           until: at(untilMs), speed: 1, ref: sockets.at(-1).sent.at(-1).ref}});
      runs.find = () => ({{id: "soak", startedMs: fromMs, endedMs: untilMs}});
      time.showRun("soak");
      answer(untilMs);
      fill();
      time.setZoom({{fromMs: untilMs - 7_200_000, toMs: untilMs - 3_600_000}});
      answer(untilMs - 3_600_000);
      fill();
      nowMs += 1_000;
      time.setZoom(null);
      timers.filter(({{milliseconds}}) => milliseconds <= 250).forEach(({{callback}}) => callback());
      time.stop();
      return asked().filter((message) => message.type === "seek" || message.type === "replay")
        .map(({{type, backfill_seconds: seconds, max_points: points}}) => [type, seconds, points]);
    """
    first, zoomed, whole = run(page, "client/connection", code)
    assert (first[0], first[1], first[2]) == ("replay", 259_201, 1_000)
    assert (zoomed[0], zoomed[2]) == ("seek", 2_000)
    assert 3_600 <= zoomed[1] <= 3_602
    assert (whole[0], whole[2]) == ("seek", 1_000)
    assert 259_200 <= whole[1] <= 259_203
