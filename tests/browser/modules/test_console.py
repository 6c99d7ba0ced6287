"""pages/console/: the modules of the console."""

import pytest
from playwright.sync_api import Page

from tests.support.browser_modules import run

pytestmark = pytest.mark.browser


def test_console_marks_replayed_frames(page: Page):
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


SESSION = """
  const sockets = [], states = [], frames = [];
  const original = globalThis.WebSocket;
  globalThis.WebSocket = function (url) {
    Object.assign(this, {url, sent: [], send: (text) => this.sent.push(text), close() {}});
    sockets.push(this);
  };
  const session = new module.Session();
  session.on("state", ({name, closing}) => states.push([name, closing?.code ?? null]));
  session.on("frame", ({direction, text, bytes, automatic}) => frames.push([direction, text, bytes, automatic]));
  const url = `ws://${location.host}/ws/`;
  const say = (message) => sockets.at(-1).onmessage({data: JSON.stringify(message)});
  const end = (result) => {
    session.disconnect();
    globalThis.WebSocket = original;
    return result;
  };
"""


def test_session_speaks_to_a_server_without_a_welcome(page: Page):
    code = f"""{SESSION}
      session.connect(url);
      const isEarly = session.sendText("early");
      sockets[0].onopen();
      session.sendText("é");
      sockets[0].onmessage({{data: "hello"}});
      sockets[0].onclose({{code: 1006, reason: ""}});
      return end([isEarly, sockets.length, states, frames]);
    """
    assert run(page, "pages/console/session", code) == [
        *(False, 1),
        [["connecting", None], ["open", None], ["closed", 1006]],
        [["out", "é", 2, False], ["in", "hello", 5, False]],
    ]


def test_session_reconnects_and_pings_only_where_that_is_switched_on(page: Page):
    code = f"""{SESSION}
      const welcome = () => {{
        sockets.at(-1).onopen();
        say({{type: "welcome", timestamp: new Date().toISOString()}});
      }};
      session.autoReconnect = true;
      session.setAutoPing(false);
      session.connect(url);
      welcome();
      const quiet = frames.length;
      session.setAutoPing(true);
      const [, ping, , isAutomatic] = frames.at(-1);
      sockets[0].onclose({{code: 1012, reason: ""}});
      const isWaiting = session.isActive && session.welcome === null;
      session.disconnect();
      session.connect(url);
      welcome();
      sockets[1].onclose({{code: 4503, reason: ""}});
      return end([quiet, JSON.parse(ping).type, isAutomatic, isWaiting, states.map(([name]) => name).join(" ")]);
    """
    assert run(page, "pages/console/session", code) == [
        *(1, "ping", True, True),
        "connecting open live waiting closed connecting open live closed",
    ]


def test_console_filters_rows_by_the_parts_of_their_keys(page: Page):
    code = """
      const {KnownNames} = await import("/static/metrics_stream/pages/console/known_names.js");
      const link = module.writeLink(
        {...module.emptySelection(), filters: {...module.noFilters(), keys: argument}}, {url: null, reconnect: false});
      const {selection} = module.readLink(link);
      const known = new KnownNames();
      const data = [{name: "/users", method: "GET"}];
      known.add({metric_type: "request", source: "k6", key: ["name", "method"], data});
      known.add({metric_type: "agent", source: "k6", data: [{agent_id: "a"}]});
      return [link, selection.filters.keys, module.filtersMessage(selection.filters), [...known.keys]];
    """
    keys = {"name": ["/api/*", "/"], "method": ["GET"]}
    link, read, message, known = run(page, "pages/console/console_selection", code, keys)
    assert link == "rows=name%3D/api/*,name%3D/,method%3DGET"
    assert read == keys
    assert message == {"type": "set_filters", "filters": {"keys": keys}}
    assert known == ["name=/users", "method=GET"]
