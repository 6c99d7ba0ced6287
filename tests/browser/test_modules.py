"""The modules under client/ and the pure ones under charts/, imported in a real browser: tables of input and output."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.support.stack import Stack

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
    assert run(page, "client/close_codes", "return module.mayReturn(argument)", code) is expected


def test_clock_takes_the_offset_of_the_shortest_round_trip(page: Page):
    code = """
      const clock = new module.Clock(() => 100_000);
      clock.addSample(0, new Date(5_000).toISOString(), 4_000);
      clock.addSample(10_000, new Date(12_050).toISOString(), 10_100);
      clock.addSample(20_000, new Date(23_500).toISOString(), 22_000);
      return [clock.offsetMs, clock.now(), clock.ageMs(101_000), clock.roundTripMs];
    """
    assert run(page, "client/clock", code) == [2_000, 102_000, 1_000, 2_000]


@pytest.mark.parametrize("jump", [3_600_000, -3_600_000])
def test_clock_that_is_set_is_noticed_with_the_next_pong(page: Page, jump: int):
    code = """
      const clock = new module.Clock(() => 0);
      const pong = (serverMs, localMs, roundTripMs) =>
        clock.addSample(localMs - roundTripMs / 2, new Date(serverMs).toISOString(), localMs + roundTripMs / 2);
      pong(5_000_000, 4_998_000, 10);
      pong(5_010_000, 5_008_300, 900);
      const before = clock.offsetMs;
      pong(5_020_000, 5_018_000 + argument, 300);
      const after = clock.offsetMs;
      pong(5_030_000, 5_028_000 + argument, 20);
      return [before, after, clock.offsetMs];
    """
    assert run(page, "client/clock", code, jump) == [2_000, 2_000 - jump, 2_000 - jump]


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
    (9.2233720368547758e18, "", "9.22e18"),
    (-1.7976931348623157e308, "ms", "-3.00e303 min"),
    (1.7976931348623157e308, "$", "$1.80e308"),
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


def test_full_window_takes_no_more_memory_with_time(page: Page):
    code = f"""{SERIES}
      for (let tenth = 0; tenth <= 20_000; tenth += 1) series.add(tenth * 100, tenth);
      return [series.length, series.capacity, series.times[0], series.values.at(-1)];
    """
    assert run(page, "client/series", code) == [3002, 4096, 1_699_900, 20_000]


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
      const {Series} = await import("/static/metrics_stream/client/series.js");
      const busy = new Series({metricType: "m", source: "s", agentId: null, path: "p"}, 3_600_000);
      for (let step = 0; step < 864_000; step += 1) busy.add(step * 100, step);
      return {series: store.seriesCount, sources: store.sources("system").length,
              agents: store.latest("agent").length, points: busy.length, capacity: busy.capacity};
    """
    found = run(page, "client/store", code)
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


ASK = '{type: "authentication_required", within_seconds: 10}'


def test_token_is_shown_when_the_server_asks_and_to_nobody_else(page: Page):
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


def test_without_a_token_a_server_that_asks_is_left_for_good(page: Page):
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
def test_who_is_refused_comes_back_only_where_that_may_help(
    page: Page, close_code: int, is_welcomed: bool, expected: list[Any]
):
    code = f"""{FAKES}
      connection.start();
      if (argument[1]) welcome();
      sockets[0].onclose({{code: argument[0], reason: ""}});
      return [connection.state.name, connection.state.isRefused];
    """
    assert run(page, "client/connection", code, [close_code, is_welcomed]) == expected


@pytest.mark.parametrize(("can_sign_in", "words"), [(True, "Signed out"), (False, "Link ended")])
def test_refusal_has_words_for_people(page: Page, can_sign_in: bool, words: str):
    assert run(page, "pages/connection_badge", "return module.describeRefusal(argument).words", can_sign_in) == words


def test_address_to_sign_in_leads_back(page: Page):
    code = "return module.signInAddress('/login/', new URL('http://x/dashboards/a/?run=b&at=c#d'))"
    assert run(page, "pages/sign_in", code) == "/login/?next=%2Fdashboards%2Fa%2F%3Frun%3Db%26at%3Dc"


def test_silent_server_is_left_and_tried_again(page: Page):
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


def test_wished_interval_counts_once_the_connection_is_awake(page: Page):
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


def test_metric_of_a_rare_frame_counts_as_received_at_its_own_time(page: Page):
    code = """
      const at = (seconds) => new Date(seconds * 1000).toISOString();
      const metric = (source, seconds) => ({metric_type: "system", timestamp: at(seconds), source, data: {value: 1}});
      const store = new module.Store([]);
      store.add(metric("dead", 1), 12_000, 2_000);
      store.add(metric("late", 5), 12_000, 2_000);
      store.add(metric("good", 11), 12_000, 2_000);
      store.add(metric("ahead", 99), 12_000, 2_000);
      store.add(metric("usual", 5), 12_000);
      return store.latest("system").map(({source, receivedAtMs}) => [source, receivedAtMs]);
    """
    assert run(page, "client/store", code) == [
        ["ahead", 12_000],
        ["dead", 2_000],
        ["good", 11_000],
        ["late", 5_000],
        ["usual", 12_000],
    ]


PICTURE = """
  const {Series} = await import("/static/metrics_stream/client/series.js");
  const lineOf = (points) => {
    const series = new Series({source: "s", agentId: null, path: "p"}, 300_000);
    for (const [seconds, value] of points) series.add(seconds * 1000, value);
    return series;
  };
  const every = (step, until, value) => Array.from({length: until / step}, (_, index) => [index * step, value(index)]);
  const word = (value) => (value === undefined ? "-" : value);
"""


def test_points_denser_than_pixels_become_the_columns_that_they_cover(page: Page):
    code = f"""{PICTURE}
      const points = every(0.1, 60, (index) => (index === 305 ? 90 : index === 307 ? -9 : 10 + (index % 2)));
      const {{times, traces: [trace]}} = module.lineGeometry([lineOf(points)], 0, 60_000, 60);
      const row = times.findIndex((time) => time > 30);
      return [times.length, times[row], trace.dense, trace.lows[row], trace.highs[row], trace.values[row],
              trace.lows[row + 1], trace.highs[row + 1]];
    """
    assert run(page, "client/line_geometry", code) == [62, 30.5, True, -9, 90, 11, 10, 11]


def test_picture_stays_as_wide_as_the_screen_however_many_points_there_are(page: Page):
    code = f"""{PICTURE}
      const series = lineOf(every(0.05, 300, (index) => index));
      return [series.length, module.lineGeometry([series, series], 0, 300_000, 390).times.length];
    """
    assert run(page, "client/line_geometry", code) == [3000, 392]


def test_points_rarer_than_pixels_are_drawn_one_by_one(page: Page):
    code = f"""{PICTURE}
      const {{times, firstColumn, traces}} = module.lineGeometry([lineOf(every(1, 60, () => 7))], 0, 60_000, 390);
      return [times.length, times[10], firstColumn, traces[0].dense, traces[0].lows === traces[0].values];
    """
    assert run(page, "client/line_geometry", code) == [60, 10, 0, False, True]


def test_gap_leaves_columns_empty_beside_a_line_that_goes_on(page: Page):
    code = f"""{PICTURE}
      const whole = every(0.1, 60, () => 1);
      const broken = whole.filter(([seconds]) => seconds < 20 || seconds > 30);
      const rare = every(2, 60, () => 3);
      const list = [lineOf(whole), lineOf(broken), lineOf(rare), lineOf([...broken, [25, NaN]])];
      const {{times, traces}} = module.lineGeometry(list, 0, 60_000, 60);
      const first = times.findIndex((time) => time > 19);
      return traces.map((trace) => trace.values.slice(first, first + 8).map(word));
    """
    assert run(page, "client/line_geometry", code) == [
        [1, 1, 1, 1, 1, 1, 1, 1],
        [1, None, "-", "-", "-", "-", "-", "-"],
        ["-", 3, "-", 3, "-", 3, "-", 3],
        [1, None, "-", "-", "-", "-", None, None],
    ]


def test_stacked_lines_stand_on_the_last_value_of_the_ones_before(page: Page):
    code = """
      const [_, none] = [undefined, null];
      const trace = (values, lows = values, highs = values) => ({values, lows, highs, dense: false});
      const below = trace([1, _, none, 2], [0, _, none, 2], [3, _, none, 2]);
      const {traces} = module.stack({times: [1, 2, 3, 4], firstColumn: 0, traces: [below, trace([10, 20, 30, _])]});
      return [traces.map(({values, lows, highs}) => [values, lows, highs]), module.boundsOf(traces)];
    """
    assert run(page, "client/line_geometry", code) == [
        [
            [[1, 1, None, 2], [0, 1, None, 2], [3, 1, None, 2]],
            [[11, 21, 30, 32], [11, 21, 30, 32], [11, 21, 30, 32]],
        ],
        [0, 32],
    ]


CANVAS = """
  const ctx = Object.assign(document.createElement("canvas"), {width: 60, height: 40}).getContext("2d");
  const inked = (x, y) => ctx.getImageData(x, y, 1, 1).data[3] > 200;
  const rows = Array.from({length: 60}, (_, row) => row);
  const place = {xs: rows.map((row) => row + 0.5), y: (value) => 40 - value};
  const style = {colour: "rgb(0, 0, 255)", width: 2, dashed: false, firstColumn: 0};
"""


@pytest.mark.parametrize("dense", [True, False])
def test_line_is_drawn_with_its_spikes_and_without_its_gaps(page: Page, dense: bool):
    code = f"""{CANVAS}
      const values = rows.map((row) => (row === 40 || row === 41 ? null : 10));
      const highs = rows.map((row) => (row === 20 ? 35 : values[row]));
      module.drawLine(ctx, {{values, lows: values, highs, dense: argument}}, place, style);
      return [[5, 30], [5, 20], [20, 15], [40, 30], [45, 30]].map(([x, y]) => inked(x, y));
    """
    assert run(page, "charts/strokes", code, dense) == [True, False, True, False, True]


@pytest.mark.parametrize("dense", [True, False])
def test_dashes_of_a_line_leave_gaps(page: Page, dense: bool):
    code = f"""{CANVAS}
      const values = rows.map(() => 10);
      module.drawLine(ctx, {{values, lows: values, highs: values, dense: argument}}, place, {{...style, dashed: true}});
      return rows.slice(1, 55).filter((x) => inked(x, 30)).length;
    """
    assert 20 <= run(page, "charts/strokes", code, dense) <= 32


def test_area_ends_at_the_line_below(page: Page):
    code = f"""{CANVAS}
      const level = (value) => ({{values: rows.map(() => value), highs: rows.map(() => value)}});
      const ground = {{colour: "rgb(0, 0, 255)", floor: 0, below: level(10)}};
      module.fillArea(ctx, level(30), place, ground);
      return [inked(30, 5), inked(30, 20), inked(30, 35)];
    """
    assert run(page, "charts/strokes", code) == [False, True, False]


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


def test_first_picture_is_drawn_at_once_and_later_ones_in_turn(page: Page):
    code = """
      const drawn = [];
      const panels = Array.from({length: 8}, (_, number) => ({paint() {}, draw: () => drawn.push(number) > 0}));
      let isHeld = true;
      const painter = new module.Painter(panels, () => ({isHeld, isStill: false, moment: {}}));
      const frames = async (count) => {
        for (let frame = 0; frame < count; frame += 1) await new Promise(requestAnimationFrame);
      };
      const painted = async () => {
        drawn.length = 0;
        painter.start();
        await frames(2);
        painter.stop();
        return drawn.length;
      };
      const held = await painted();
      isHeld = false;
      return [held, await painted(), await painted()];
    """
    assert run(page, "pages/painter", code) == [0, 8, 3]


def test_panel_that_fails_does_not_stop_the_others(page: Page):
    code = """
      // What a producer can send: an object that no text can be made of.
      const fail = () => String(JSON.parse('{"toString": 1}'));
      let [painted, drawn] = [0, 0];
      const others = {paint: () => { painted += 1; }, draw: () => { drawn += 1; return false; }};
      const panels = [{paint: fail, draw: () => false}, {paint() {}, draw: fail}, others];
      const errors = [];
      const note = (event) => {
        errors.push(event.error.name);
        event.preventDefault();
      };
      addEventListener("error", note);
      const painter = new module.Painter(panels, () => ({isHeld: false, isStill: false, moment: {}}));
      painter.start();
      while (painted < 3 && errors.length < 9) await new Promise(requestAnimationFrame);
      painter.stop();
      removeEventListener("error", note);
      return [painted, drawn, new Set(errors).size];
    """
    assert run(page, "pages/painter", code) == [3, 3, 1]


def test_value_goes_on_when_a_clock_that_was_ahead_is_set_right(page: Page):
    code = """
      const store = new module.Store([{metricType: "system", path: "value", windowSeconds: 300}]);
      const add = (nowMs, aheadMs, value) => store.add({
        metric_type: "system", source: "a", timestamp: new Date(nowMs + aheadMs).toISOString(), data: {value},
      }, nowMs);
      const seen = () => [store.latest("system")[0].data.value, store.newest("system").timestampMs];
      add(1_000_000, 300_000, 1);
      const before = seen();
      for (let second = 1; second <= 4; second += 1) add(1_000_000 + 1000 * second, -50, 1 + second);
      const after = seen();
      // What is only late does not come before what is newer.
      add(1_004_500, -2_000, 9);
      return [before, after, seen()];
    """
    assert run(page, "client/store", code) == [[1, 1_300_000], [5, 1_003_950], [5, 1_003_950]]
