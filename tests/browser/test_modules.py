"""The modules under client/ and the pure ones under charts/, imported in a real browser: tables of input and output."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.stack import Stack

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page(browser: Browser, stack: Stack) -> Iterator[Page]:
    """One page for all: the modules under test keep nothing outside the objects that a test makes."""
    opened = browser.new_page(base_url=stack.url)
    opened.goto("/healthz")
    yield opened
    opened.close()


def run(page: Page, module: str, code: str, argument: Any = None) -> Any:
    """Import a module as `module` and return what `code`, the body of a function of it and `argument`, returns."""
    address = f"/static/metrics_stream/{module}.js"
    return page.evaluate(
        f"async (argument) => {{ const module = await import({json.dumps(address)}); {code} }}", argument
    )


@pytest.mark.parametrize(
    ("tries", "chance", "expected"),
    [(1, 0, 250), (1, 1, 500), (2, 0.5, 750), (3, 1, 2000), (6, 0, 7500), (50, 1, 15_000)],
)
def test_wait_doubles_up_to_a_bound_and_half_of_it_is_chance(page: Page, tries: int, chance: float, expected: int):
    assert (
        run(page, "client/backoff", "return module.waitMilliseconds(argument[0], () => argument[1])", [tries, chance])
        == expected
    )


@pytest.mark.parametrize(
    ("code", "expected"),
    [(1000, True), (1001, True), (1006, True), (1012, True), (4001, True), (4499, True), (4500, False), (4999, False)],
)
def test_only_codes_from_4500_to_4999_mean_stay_away(page: Page, code: int, expected: bool):
    assert run(page, "client/closing", "return module.mayReturn(argument)", code) is expected


def test_clock_takes_the_offset_of_the_shortest_round_trip(page: Page):
    code = """
      const clock = new module.Clock(() => 100_000);
      clock.addSample(0, new Date(5_000).toISOString(), 4_000);
      clock.addSample(10_000, new Date(12_050).toISOString(), 10_100);
      clock.addSample(20_000, new Date(26_000).toISOString(), 22_000);
      return [clock.offsetMs, clock.now(), clock.ageMs(101_000), clock.roundTripMs];
    """
    assert run(page, "client/clock", code) == [2_000, 102_000, 1_000, 2_000]


NUMBERS = [
    (12345, "", "12.3k"),
    (4_560_000, "count", "4.56M"),
    (123456, "count", "123,456"),
    (0.872, "ratio", "87.2 %"),
    (0.0006, "ratio", "0.06 %"),
    (99.95, "percent", "99.95 %"),
    (1, "ratio", "100.0 %"),
    (132.4, "ms", "132 ms"),
    (1300, "ms", "1.30 s"),
    (1_200_000, "$", "$1.20M"),
    (-3.2, "$", "-$3.20"),
    (0.0123, "$", "$0.0123"),
    (999_950, "", "1.00M"),
    (9_999.6, "tps", "10.0k tps"),
    (-0.00001, "ratio", "0.00 %"),
    (3.5, "months", "3.50 months"),
    (7, "widgets", "7.00 widgets"),
    (None, "ms", "\u2013"),
]


def test_numbers_are_written_with_their_units(page: Page):
    code = "return argument.map(([value, unit]) => module.formatNumber(value, unit))"
    shown = run(page, "client/format", code, [[value, unit] for value, unit, _ in NUMBERS])
    assert shown == [text.replace(" ", "\u00a0") for _, _, text in NUMBERS]


def test_fixed_decimals_leave_out_magnitudes(page: Page):
    code = "return module.formatNumber(1234567.891, '$', 0)"
    assert run(page, "client/format", code) == "$1,234,568"


SERIES = "const series = new module.Series({metricType: 'm', source: 's', agentId: null, path: 'p'}, 300_000);"


def test_series_keeps_its_window_and_one_point_before_it(page: Page):
    code = f"""{SERIES}
      for (let second = 0; second <= 1_000; second += 10) series.add(second * 1000, second);
      return [series.length, series.times[0], series.times.at(-1)];
    """
    assert run(page, "client/series", code) == [32, 690_000, 1_000_000]


def test_late_points_are_put_in_their_place(page: Page):
    code = f"""{SERIES}
      for (const second of [1, 2, 5, 3, 4]) series.add(second * 1000, second);
      return [[...series.values], series.lastValue];
    """
    assert run(page, "client/series", code) == [[1, 2, 3, 4, 5], 5]


def test_day_of_samples_stays_bounded(page: Page):
    code = """
      const store = new module.Store([{metricType: "system", path: "value", windowSeconds: 300},
                                      {metricType: "agent", path: "load", windowSeconds: 300}]);
      let nowMs = Date.UTC(2026, 0, 1);
      for (let step = 0; step < 864_00; step += 1) {
        nowMs += 1000;
        const timestamp = new Date(nowMs).toISOString();
        const source = `run-${Math.floor(step / 200)}`;
        store.add({metric_type: "system", timestamp, source, data: {value: step}}, nowMs);
        const data = [{agent_id: `a-${step}`, load: 0.5}];
        store.add({metric_type: "agent", timestamp, source: "one", data}, nowMs);
        if (step % 10 === 0) store.trim(nowMs);
      }
      const busy = new module.Series({metricType: "m", source: "s", agentId: null, path: "p"}, 3_600_000);
      for (let step = 0; step < 864_000; step += 1) busy.add(step * 100, step);
      return {series: store.seriesCount, sources: store.sources("system").length,
              agents: store.latest("agent").length, points: busy.length, capacity: busy.capacity};
    """
    found = run(page, "client/series", code)
    assert found["series"] <= 1024
    assert found["sources"] <= 32
    assert found["agents"] <= 256
    assert found["points"] <= 4096
    assert found["capacity"] <= 8192


def test_gap_is_a_null_and_foreign_rows_are_undefined(page: Page):
    code = """
      const {Series} = await import("/static/metrics_stream/client/series.js");
      const one = new Series({source: "one", agentId: null, path: "p"}, 300_000);
      const two = new Series({source: "two", agentId: null, path: "p"}, 300_000);
      for (const second of [1, 2, 3, 4, 10, 11]) one.add(second * 1000, second);
      two.add(2500, 7);
      const [times, first, second] = module.joinColumns([one, two], 0);
      const word = (value) => (value === undefined ? "-" : value);
      return {times, first: first.map(word), second: second.map(word)};
    """
    assert run(page, "client/columns", code) == {
        "times": [1, 2, 2.5, 3, 4, 4.001, 10, 11],
        "first": [1, 2, "-", 3, 4, None, 10, 11],
        "second": ["-", "-", 7, "-", "-", "-", "-", "-"],
    }


def test_short_pause_is_no_gap(page: Page):
    code = """
      const {Series} = await import("/static/metrics_stream/client/series.js");
      const series = new Series({source: "one", agentId: null, path: "p"}, 300_000);
      for (const second of [0, 5, 10, 15, 20, 33]) series.add(second * 1000, second);
      return module.joinColumns([series], 0)[1];
    """
    assert run(page, "client/columns", code) == [0, 5, 10, 15, 20, 33]


@pytest.mark.parametrize(
    ("warning", "critical", "levels"),
    [
        (80, 95, ["good", "warn", "bad"]),
        (90, 85, ["bad", "warn", "good"]),
        (None, 95, ["good", "good", "bad"]),
        (80, None, ["good", "warn", "warn"]),
        (None, None, ["none", "none", "none"]),
    ],
)
def test_thresholds_know_which_way_is_bad(page: Page, warning: float | None, critical: float | None, levels: list[str]):
    code = "return [79, 88, 95].map((value) => module.levelOf(value, argument))"
    assert run(page, "client/readings", code, {"warning_at": warning, "critical_at": critical}) == levels


FAKES = """
  const sockets = [], timers = [], states = [];
  const openSocket = () => {
    const socket = {sent: [], send: (text) => socket.sent.push(JSON.parse(text)), close() {}};
    sockets.push(socket);
    return socket;
  };
  const fake = {
    setTimeout: (callback, milliseconds) => { timers.push({callback, milliseconds}); return timers.length; },
    clearTimeout: (number) => { if (number) timers[number - 1].callback = () => {}; },
  };
  let nowMs = 1_000_000;
  const connection = new module.Connection("ws://x/", {
    openSocket, timers: fake, random: () => 0, localNow: () => nowMs,
  });
  connection.on("state", (state) => states.push(state.name));
  const say = (message) => sockets.at(-1).onmessage({data: JSON.stringify(message)});
  const welcome = () => say({type: "welcome", timestamp: new Date(nowMs).toISOString()});
"""


def test_wishes_are_sent_again_after_a_reconnect(page: Page):
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


def test_refusal_stops_with_the_words_of_the_last_error(page: Page):
    code = f"""{FAKES}
      connection.start();
      say({{type: "error", code: "bad", message: "not like this"}});
      sockets[0].onclose({{code: 4501, reason: ""}});
      return [connection.state.name, connection.state.reason, states];
    """
    assert run(page, "client/connection", code) == ["stopped", "not like this", ["connecting", "stopped"]]


def test_silent_server_is_left_and_tried_again(page: Page):
    code = f"""{FAKES}
      connection.start();
      welcome();
      const pending = timers.filter(({{milliseconds}}) => milliseconds === module.PONG_TIMEOUT_MS);
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


def test_flow_places_nodes_and_draws_edges_between_columns(page: Page):
    code = """
      const {nodes, edges} = module.flowOf([
        {node_id: "a", node_name: "A", status: "healthy", throughput: 10, latency_ms: 5, position: {x: 0, y: 0.5}},
        {node_id: "b", node_name: "B", status: "degraded", position: {x: 0.5, y: 0.25}},
        {node_id: "c", node_name: "C", status: "unhealthy", position: {x: 0.5, y: 0.75}},
      ]);
      return [nodes.map((node) => [node.key, node.xPercent, node.yPercent, node.level]),
              edges.map(({from, to}) => from.key + to.key)];
    """
    assert run(page, "charts/flow", code) == [
        [["a", 0, 50, "good"], ["b", 100, 0, "warn"], ["c", 100, 100, "bad"]],
        ["ab", "ac"],
    ]


def test_object_of_objects_becomes_a_table(page: Page):
    code = """
      const value = {ours: {latency_ms: 10, cost: 2}, theirs: {latency_ms: 20, cost: 3}, market_position: "first"};
      const field = {path: "b", label: "B", unit: ""};
      const panel = {fields: [field], unit: "", decimals: null, warning_at: null, critical_at: null};
      const grid = module.gridOf([{key: "k", field, value, source: "s", agentId: null}], panel);
      return [grid.columns, grid.rows.map((row) => [row.head, ...row.cells.map((cell) => cell.text)])];
    """
    assert run(page, "charts/grid", code) == [
        ["Ours", "Theirs"],
        [
            ["Latency", "10.0\u00a0ms", "20.0\u00a0ms"],
            ["Cost", "$2.00", "$3.00"],
            ["Market position", "first"],
        ],
    ]
