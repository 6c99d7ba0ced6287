"""client/connection.js: what a connection sends, when it reconnects, and from where it resumes."""

from typing import Any

import pytest
from playwright.sync_api import Page

from tests.support.browser_modules import FAKES, run

pytestmark = pytest.mark.browser


def test_subscription_and_settings_are_sent_again_after_a_reconnect(page: Page):
    code = f"""{FAKES}
      connection.subscribe(["system", "agent"]);
      connection.start();
      welcome();
      connection.setFilters({{sources: ["east"]}});
      connection.unsubscribe(["agent"]);
      sockets[0].onclose({{code: 1012, reason: ""}});
      const wait = timers.at(-1);
      wait.callback();
      welcome();
      return {{states, wait: wait.milliseconds, sent: sockets[1].sent}};
    """
    assert run(page, "client/connection", code) == {
        "states": ["connecting", "live", "waiting", "connecting", "live"],
        "wait": 250,
        "sent": [
            {"type": "set_filters", "filters": {"sources": ["east"]}},
            {"type": "subscribe", "metric_types": ["system"]},
            {"type": "unsubscribe", "metric_types": ["agent"]},
            {"type": "ping"},
        ],
    }


def test_refusal_stops_with_the_message_of_the_last_error(page: Page):
    code = f"""{FAKES}
      connection.start();
      say({{type: "error", code: "bad", message: "not like this"}});
      sockets[0].onclose({{code: 4501, reason: ""}});
      return [connection.state.name, connection.state.reason, states];
    """
    assert run(page, "client/connection", code) == ["stopped", "not like this", ["connecting", "stopped"]]


ASK = '{type: "authentication_required", within_seconds: 10}'


def test_token_is_sent_to_a_server_that_requires_it_and_to_no_listener(page: Page):
    code = f"""{FAKES}
      const heard = [];
      connection.token = "mst_secret";
      connection.on("sent", (text) => heard.push(text));
      connection.subscribe(["system"]);
      connection.start();
      say({ASK});
      welcome();
      return [sockets[0].sent.map((message) => message.token ?? message.type), states, heard.join().includes("secret")];
    """
    assert run(page, "client/connection", code) == [["mst_secret", "subscribe", "ping"], ["connecting", "live"], False]


def test_connection_without_a_token_stops_at_a_server_that_requires_one(page: Page):
    code = f"""{FAKES}
      connection.start();
      say({ASK});
      return [connection.state.name, connection.state.isRefused, connection.state.closeCode, sockets[0].sent];
    """
    assert run(page, "client/connection", code) == ["stopped", True, 4502, []]


@pytest.mark.parametrize(
    ("close_code", "is_welcomed", "expected"),
    [
        (4005, True, ["waiting", False]),
        (4005, False, ["stopped", True]),
        (4502, True, ["stopped", True]),
        (4503, True, ["stopped", False]),
        (4501, True, ["stopped", False]),
        (4013, False, ["waiting", False]),
    ],
)
def test_refused_client_reconnects_only_where_that_may_help(
    page: Page, close_code: int, is_welcomed: bool, expected: list[Any]
):
    code = f"""{FAKES}
      connection.start();
      if (argument[1]) welcome();
      sockets[0].onclose({{code: argument[0], reason: ""}});
      return [connection.state.name, connection.state.isRefused];
    """
    assert run(page, "client/connection", code, [close_code, is_welcomed]) == expected


def test_silent_server_causes_a_reconnect(page: Page):
    code = f"""{FAKES}
      connection.start();
      welcome();
      const {{PONG_TIMEOUT_MS}} = await import("/static/metrics_stream/client/pings.js");
      const pending = timers.filter(({{milliseconds}}) => milliseconds === PONG_TIMEOUT_MS);
      for (const timer of pending) timer.callback();
      return [connection.state.name, connection.state.reason];
    """
    assert run(page, "client/connection", code) == ["waiting", "the server does not answer"]


def test_stopped_connection_leaves_nothing_running(page: Page):
    code = f"""{FAKES}
      connection.start();
      welcome();
      connection.stop();
      for (const timer of [...timers]) timer.callback();
      return [connection.state.name, sockets.length];
    """
    assert run(page, "client/connection", code) == ["stopped", 1]


REST = f"""{FAKES}
  const greet = (subscription) => say({{type: "welcome", timestamp: new Date(nowMs).toISOString(), subscription}});
  const asked = () => sockets.at(-1).sent.filter(({{type}}) => type !== "ping");
  connection.start();
"""


@pytest.mark.parametrize(
    ("subscription", "expected"),
    [
        ({"interval_seconds": 0.5, "mode": "all"}, [10, 0.5]),
        ({"interval_seconds": 10, "mode": "all"}, []),
        ({"interval_seconds": 60, "mode": "all"}, []),
        ({"interval_seconds": 0.5, "mode": "latest"}, [2, 0.5]),
        ({"interval_seconds": 3, "mode": "latest"}, [6, 3]),
        (None, []),
    ],
)
def test_rest_asks_for_fewer_frames_and_waking_for_the_interval_in_force(page: Page, subscription: Any, expected: Any):
    code = f"""{REST}
      greet(argument);
      connection.rest();
      connection.rest();
      connection.wake();
      connection.wake();
      return asked().map(({{type, interval_seconds}}) => type === "set_update_interval" && interval_seconds);
    """
    assert run(page, "client/connection", code, subscription) == expected


def test_connection_at_rest_comes_back_at_rest(page: Page):
    code = f"""{REST}
      connection.subscribe(["system"]);
      greet({{interval_seconds: 1, mode: "all"}});
      connection.rest();
      sockets[0].onclose({{code: 1012, reason: ""}});
      timers.at(-1).callback();
      greet({{interval_seconds: 2, mode: "all"}});
      connection.wake();
      return asked();
    """
    assert run(page, "client/connection", code) == [
        {"type": "set_update_interval", "interval_seconds": 10},
        {"type": "subscribe", "metric_types": ["system"]},
        {"type": "set_update_interval", "interval_seconds": 2},
    ]


def test_interval_that_is_set_at_rest_applies_once_the_connection_is_awake(page: Page):
    code = f"""{REST}
      greet({{interval_seconds: 1, mode: "all"}});
      connection.rest();
      connection.setUpdateInterval(0.2);
      connection.wake();
      return asked().map((message) => message.interval_seconds);
    """
    assert run(page, "client/connection", code) == [10, 10, 0.2]


def test_rest_gets_shorter_when_the_server_cannot_keep_that_much(page: Page):
    code = f"""{REST}
      greet({{interval_seconds: 2, mode: "all"}});
      const overflow = {{type: "gap", reason: "pending_overflow", dropped: 5, metric_types: ["system"]}};
      say(overflow);
      connection.rest();
      say({{...overflow, reason: "bus"}});
      for (let count = 0; count < 5; count += 1) say(overflow);
      connection.wake();
      return asked().map((message) => message.interval_seconds);
    """
    assert run(page, "client/connection", code) == [10, 5, 2.5, 2]


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
