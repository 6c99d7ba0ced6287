"""client/: rows of metric types with a key, what goes together of them, and sketches over time."""

from typing import Any

import pytest
from playwright.sync_api import Page

from metrics_stream.core.metrics import keys
from tests.support.browser_modules import run

pytestmark = pytest.mark.browser

REQUEST = ["name", "method", "scenario", "group"]


@pytest.mark.parametrize(
    ("entry", "key"),
    [
        ({"name": "/users", "method": "GET"}, REQUEST),
        ({"name": "/a=b", "method": "GET", "scenario": "smoke", "group": ""}, REQUEST),
        ({"name": 7, "method": None}, REQUEST),
        ({"name": "(other)"}, REQUEST),
        ({"name": "/x", "method": "GET", "message": "timeout after 2 s"}, ["name", "method", "message"]),
        ({"agent_id": "agent_1", "status": "healthy"}, ["agent_id"]),
        ({"queue": "mail", "zone": "a"}, ["queue", "zone"]),
        ({}, ["agent_id"]),
    ],
)
def test_rows_have_the_text_and_the_label_of_the_server(page: Page, entry: dict[str, Any], key: list[str]):
    code = """
      const row = module.rowOf(argument.entry, argument.key);
      return [row, module.partsOf(row), module.labelOfRow(row), module.isOther(row)];
    """
    row = keys.row_in(entry, key)
    parts = dict(keys.parse_row(row))
    expected = [row, parts, keys.label_row(row), next(iter(parts.values()), "") == keys.OTHER]
    assert run(page, "client/keys", code, {"entry": entry, "key": key}) == expected


@pytest.mark.parametrize(
    ("terms", "shown"),
    [
        (["name=/api/*"], ["GET /api/users", "POST /api/users"]),
        (["name=/api/*", "method=GET"], ["GET /api/users"]),
        (["name=/api/users", "name=/"], ["GET /api/users", "POST /api/users", "GET /"]),
        (["scenario=*"], ["GET /api/users", "POST /api/users", "GET /"]),
        (["scenario="], ["GET /api/users", "POST /api/users"]),
        (["name=/api/.*"], []),
        (["name"], ["GET /api/users", "POST /api/users", "GET /"]),
    ],
)
def test_filter_on_parts_of_keys(page: Page, terms: list[str], shown: list[str]):
    code = """
      const row = (name, method, scenario) => module.rowOf({name, method, scenario}, ["name", "method", "scenario"]);
      const rows = [row("/api/users", "GET"), row("/api/users", "POST"), row("/", "GET", "smoke")];
      const matches = module.matcherOf(module.readKeyTerms(argument));
      return rows.filter(matches).map((each) => module.labelOfRow(each).split(" · ")[0]);
    """
    assert run(page, "client/keys", code, terms) == shown


ROWS = """
  const {Store} = await import("/static/metrics_stream/client/store.js");
  const {rowsOf, valueOf, totalOf, nameRow} = await import("/static/metrics_stream/client/rows.js");
  const startMs = Date.UTC(2026, 0, 1);
  const key = ["name", "method", "scenario", "group"];
  const fields = [
    {path: "requests_total", label: "Requests", unit: "count", kind: "counter"},
    {path: "throughput_tps", label: "Throughput", unit: "tps", kind: "rate"},
    {path: "error_rate", label: "Error rate", unit: "ratio", kind: "gauge"},
    {path: "avg_response_time_ms", label: "Average", unit: "ms", kind: "gauge"},
    {path: "min_response_time_ms", label: "Fastest", unit: "ms", kind: "minimum"},
    {path: "max_response_time_ms", label: "Slowest", unit: "ms", kind: "maximum"},
    {path: "p95_response_time_ms", label: "p95", unit: "ms", kind: "percentile"},
  ];
  const panel = (rest = {}) => ({
    id: 1, title: "Requests", kind: "table", metric_type: "request", fields, unit: "", decimals: null,
    warning_at: null, critical_at: null, options: {}, ...rest,
  });
  const track = (path) => ({metricType: "request", path, windowSeconds: 300});
  const tracks = [track("p95_response_time_ms"), track("throughput_tps")];
  const at = (second) => new Date(startMs + 1000 * second).toISOString();
  const add = (store, second, rows, source = "east", rest = {}) => store.add(
    {metric_type: "request", source, timestamp: at(second), key, data: rows, ...rest}, startMs + 1000 * second);
  const row = (name, total, tps, p95, rest = {}) => ({
    name, method: "GET", requests_total: total, throughput_tps: tps, p95_response_time_ms: p95, ...rest});
  const values = (merged) => Object.fromEntries(
    fields.map((field) => [field.path, merged(field)]).filter(([, {value}]) => value !== undefined)
      .map(([path, {value, isWorst}]) => [path, isWorst ? `<= ${value}` : Math.round(value * 1e6) / 1e6]));
"""


def test_rows_of_several_sources_go_together(page: Page):
    code = f"""{ROWS}
      const store = new Store(tracks);
      add(store, 0, [row("/", 100, 10, 200, {{error_rate: 0.1, avg_response_time_ms: 50, min_response_time_ms: 4,
                                              max_response_time_ms: 900}}), row("/a", 7, 1, 20)]);
      add(store, 0, [row("/", 300, 30, 100, {{error_rate: 0.02, avg_response_time_ms: 90, min_response_time_ms: 2,
                                              max_response_time_ms: 800}})], "west");
      const all = rowsOf(store, panel(), null);
      const east = rowsOf(store, panel(), "east");
      const home = (rows) => rows.find((each) => nameRow(each).head === "GET /");
      const first = (rows) => values((field) => valueOf(home(rows), field, panel()));
      return [all.map((each) => nameRow(each).head).sort(), first(all), first(east),
              values((field) => totalOf(all, field, panel()))];
    """
    names, together, east, total = run(page, "client/store", code)
    assert names == ["GET /", "GET /a"]
    assert together == {
        "requests_total": 400,
        "throughput_tps": 40,
        "error_rate": 0.04,
        "avg_response_time_ms": 80,
        "min_response_time_ms": 2,
        "max_response_time_ms": 900,
        "p95_response_time_ms": "<= 200",
    }
    assert east["p95_response_time_ms"] == 200
    assert (total["requests_total"], total["throughput_tps"]) == (407, 41)
    assert "p95_response_time_ms" not in total


def test_percentiles_of_several_sources_come_from_their_sketches(page: Page):
    code = f"""{ROWS}
      const sketch = (bin, count) => ({{
        sketches: {{response_time_ms: {{accuracy: 0.01, bins: {{[bin]: count}}, max: 1e6}}}}}});
      const {{WIDTH}} = await import("/static/metrics_stream/client/sketch.js");
      const read = (rest) => {{
        const store = new Store(tracks);
        add(store, 0, [row("/", 1, 1, 10, sketch(100, 90))], "east", rest);
        add(store, 0, [row("/", 1, 1, 90, sketch(200, 10))], "west", rest);
        const {{value, isWorst}} = valueOf(rowsOf(store, panel(), null)[0], fields.at(-1), panel());
        return [Math.abs(value / (Math.exp(WIDTH * 200) * 0.99) - 1) < 1e-9, value, isWorst];
      }};
      return [read({{}}), read({{windows: {{p95_response_time_ms: 10}}}})];
    """
    # A percentile of ten seconds is not that of the sketch of one second.
    (is_merged, _, is_worst), (_, worst, is_marked) = run(page, "client/store", code)
    assert (is_merged, is_worst) == (True, False)
    assert (worst, is_marked) == (90, True)


def test_rows_stay_apart_where_nobody_knows_how_they_go_together(page: Page):
    code = f"""{ROWS}
      const store = new Store(tracks);
      for (const source of ["east", "west"]) {{
        add(store, 0, [row("/", 1, 1, 1, {{mood: 3}})], source);
        store.add({{metric_type: "agent", source, timestamp: new Date(startMs).toISOString(),
                    data: [{{agent_id: "a", error_count: 1}}]}}, startMs);
      }}
      const unknown = panel({{fields: [...fields, {{path: "mood", label: "Mood", unit: ""}}]}});
      const count = {{path: "error_count", label: "Errors", unit: "count", kind: "counter"}};
      const agents = panel({{metric_type: "agent", fields: [count]}});
      return [panel(), unknown, agents].map((each) => rowsOf(store, each, null).length);
    """
    assert run(page, "client/store", code) == [1, 2, 2]


def test_silent_row_is_stale_and_its_rate_does_not_count(page: Page):
    code = f"""{ROWS}
      const store = new Store(tracks);
      add(store, 0, [row("/old", 50, 5, 1), row("/new", 10, 1, 1)]);
      for (let second = 1; second < 20; second += 1) add(store, second, [row("/new", 10 + second, 1, 1)]);
      const rows = rowsOf(store, panel(), null);
      const total = (path) => totalOf(rows, fields.find((field) => field.path === path), panel()).value;
      const before = [rows.map(({{isStale}}) => isStale), total("requests_total"), total("throughput_tps")];
      for (let second = 20; second < 400; second += 1) add(store, second, [row("/new", 10 + second, 1, 1)]);
      store.trim(startMs + 400_000);
      return [...before, rowsOf(store, panel(), null).length];
    """
    assert run(page, "client/store", code) == [[False, True], 79, 1, 1]


def test_order_of_rows(page: Page):
    code = """
      const rows = [{v: 3}, {v: null}, {v: 10, other: true}, {v: 1}, {v: 2}, {}];
      const sort = (isDescending) => module.sortRows(rows, ({v}) => v, {isDescending, isOther: ({other}) => other})
        .map(({v}) => v ?? null);
      const names = module.sortRows(["b 10", "b 2", "a"], (name) => name, {isDescending: false, isOther: () => false});
      const number = {id: "n", field: {kind: "counter"}};
      const name = {id: "", field: null};
      const first = module.nextOrder(null, number);
      return [sort(true), sort(false), names, first, module.nextOrder(first, number), module.nextOrder(first, name)];
    """
    down, up, names, *orders = run(page, "client/row_order", code)
    assert down == [3, 2, 1, None, None, 10]
    assert up == [1, 2, 3, None, None, 10]
    assert names == ["a", "b 2", "b 10"]
    assert orders == [
        {"id": "n", "isDescending": True},
        {"id": "n", "isDescending": False},
        {"id": "", "isDescending": False},
    ]


def test_series_of_several_sources_are_one_line(page: Page):
    code = """
      const {Series} = await import("/static/metrics_stream/client/series.js");
      const series = (source, points) => {
        const made = new Series({metricType: "m", source, row: null, path: "p"}, 300_000);
        for (const [second, value] of points) made.add(1000 * second, value);
        return made;
      };
      const every = (from, to, value, shift = 0) => Array.from({length: to - from}, (_, index) => (
        [from + index + shift, value]));
      const one = series("one", every(100, 120, 10));
      const two = series("two", [...every(100, 105, 5, 0.4), ...every(115, 120, 7, 0.4)]);
      const read = (rule) => {
        const joined = module.joinSeries([one, two], rule);
        const at = (second) => joined.values[joined.times.findIndex((time) => Math.floor(time / 1000) === second)];
        return [joined.length, at(102), at(110), at(118), joined.isWorst];
      };
      return [read("sum"), read("most"), read("least"), read("percentile"), module.joinSeries([one], "sum") === one];
    """
    total, most, least, percentile, is_same = run(page, "client/joined_series", code)
    # In the gap of one source the other one goes on.
    assert total == [20, 15, 10, 17, False]
    assert most == [20, 10, 10, 10, False]
    assert least == [20, 5, 10, 7, False]
    assert percentile[-1] is True
    assert is_same


def test_lines_of_the_top_rows_and_their_past(page: Page):
    code = f"""{ROWS}
      const {{TopRows}} = await import("/static/metrics_stream/client/top_rows.js");
      const store = new Store(tracks);
      const p95 = fields.at(-1);
      const chart = new TopRows(panel({{kind: "line", fields: [p95], options: {{top: 2}}}}));
      const many = (second) => Array.from({{length: 50}}, (_, index) => row(`/r${{index}}`, 1, 50 - index, index));
      for (let second = 0; second < 4; second += 1)
        add(store, second, [...many(second), row("(other)", 1, 1, 1e6, {{method: undefined}})]);
      const seen = (each) => {{
        const {{lines, rowCount, total}} = each.choose(store, null);
        return [lines.map(({{series}}) => `${{series.label}} ${{series.length}}`), rowCount, total];
      }};
      const first = seen(chart);
      add(store, 5, [row("/r0", 1, 1, 1e5)]);
      const by = new TopRows(panel({{kind: "line", fields: [p95], by: fields[1], options: {{top: 1}}}}));
      return [first, seen(chart), seen(by)];
    """
    first, second, by = run(page, "client/store", code)
    assert first == [["GET /r49 4", "GET /r48 4"], 2, 51]
    # A choice that changes all the time cannot be read.
    assert second == first
    assert by == [["GET /r1 4"], 1, 51]


def test_rows_of_one_field_leave_room_and_the_top_ones_have_a_place(page: Page):
    code = f"""{ROWS}
      const {{MAX_SERIES}} = await import("/static/metrics_stream/client/kept_series.js");
      const store = new Store([...tracks.slice(0, 1), {{metricType: "system", path: "load", windowSeconds: 300}}]);
      const rows = Array.from({{length: MAX_SERIES}}, (_, index) => row(`/r${{index}}`, 1, 1, index));
      add(store, 0, rows);
      const last = "name=/r8191\\u001fmethod=GET";
      const identity = {{metricType: "request", source: "east", path: tracks[0].path}};
      const has = (text) => store.find({{...identity, row: text}}) !== null;
      const before = [store.seriesCount, has(last)];
      store.prefer("request", tracks[0].path, new Set([last]));
      add(store, 1, rows);
      store.add({{metric_type: "system", source: "east", timestamp: at(0), data: {{load: 1}}}}, startMs);
      return [...before, has(last), store.seriesCount, store.series("system", "load").length];
    """
    assert run(page, "client/store", code) == [4_096, False, True, 4_097, 1]


def test_past_of_rows_fills_their_lines(page: Page):
    code = f"""{ROWS}
      const store = new Store(tracks);
      const [buckets, last] = [[0, 1, 2], [1, 2, 3]];
      const item = {{metric_type: "request", source: "east", field: "p95_response_time_ms", buckets, last, min: last,
                     max: last}};
      store.fill({{from: at(-30), until: at(0), bucket_seconds: 10, series: [
        {{...item, key: {{name: "/", method: "GET"}}}}, {{...item, agent_id: "a"}}]}});
      add(store, 1, [row("/", 1, 1, 4)]);
      const found = store.series("request", "p95_response_time_ms");
      return found.map(({{label, row: text, length}}) => [label, text, length]);
    """
    assert run(page, "client/store", code) == [["a", "agent_id=a", 3], ["GET /", "name=/\x1fmethod=GET", 4]]


def test_panel_shows_the_sources_of_another_type(page: Page):
    code = """
      const {Store} = await import("/static/metrics_stream/client/store.js");
      const store = new Store([{metricType: "system", path: "load", windowSeconds: 300}]);
      const add = (metric_type, source, data) => store.add(
        {metric_type, source, timestamp: new Date(1e12).toISOString(), data}, 1e12);
      const filter = new module.SourceFilter("request");
      const seen = (source = null) => {
        const sources = filter.choose(store, source);
        return [store.latest("system", sources).map((each) => each.source),
                store.series("system", "load", sources).length, store.heardMs("system", "load", sources) !== null];
      };
      add("system", "host", {load: 1});
      const alone = seen();
      add("system", "k6", {load: 2});
      add("request", "k6", [{name: "/"}]);
      const both = seen();
      const isSame = filter.choose(store, null) === filter.choose(store, null);
      return [alone, both, seen("host"), isSame];
    """
    assert run(page, "client/source_filter", code) == [
        [["host"], 1, True],
        [["k6"], 1, True],
        [["host"], 1, True],
        True,
    ]


def test_points_of_two_fields_at_the_same_instants(page: Page):
    code = """
      const {Store} = await import("/static/metrics_stream/client/store.js");
      const tracks = ["tps", "p95"].map((path) => ({metricType: "system", path, windowSeconds: 300}));
      const store = new Store(tracks);
      const add = (second, data, source = "a") => store.add(
        {metric_type: "system", source, timestamp: new Date(1e12 + 1000 * second).toISOString(), data}, 1e12 + 1e6);
      for (let second = 0; second < 5; second += 1) add(second, {tps: second, p95: 10 * second});
      add(5, {tps: 5});
      add(7, {p95: 1});
      add(3.2, {tps: 9, p95: -1}, "b");
      const panel = {metric_type: "system", fields: [{path: "tps"}, {path: "p95"}]};
      const points = module.pointsOf(store, panel, null, {fromMs: 1e12 + 2000, toMs: 1e12 + 9000});
      return [points.map(({x, y, name}) => [x, y, name]), module.boundsOf(points, "y").min < -1,
              module.boundsOf([], "x")];
    """
    points, is_below, empty = run(page, "client/point_pairs", code)
    assert points == [[2, 20, "a"], [3, 30, "a"], [9, -1, "b"], [4, 40, "a"]]
    assert is_below
    assert empty == {"min": 0, "max": 1}


def test_sketches_over_time_are_counted_in_cells(page: Page):
    code = """
      const {Sketch, WIDTH} = await import("/static/metrics_stream/client/sketch.js");
      const {SketchSeries} = await import("/static/metrics_stream/client/sketch_series.js");
      const series = new SketchSeries({metricType: "m", source: "s", row: null, path: "p"}, 300_000);
      const add = (second, bins, zeros = 0) => {
        const sketch = new Sketch();
        for (const [bin, count] of Object.entries(bins)) sketch.bins.set(Number(bin), count);
        sketch.zeros = zeros;
        series.add(1000 * second, sketch);
      };
      add(100, {50: 3, 250: 1});
      add(101, {50: 2}, 4);
      add(130, {250: 5});
      const read = (range, columns) => {
        const grid = module.gridOfSketches([series], range, {columns, rows: 20});
        const {counts, cellMs, rowCount, most, total, zeros} = grid;
        return [cellMs, rowCount <= 20, counts.reduce((sum, count) => sum + count, 0), most, total, zeros,
                grid.low < Math.exp(WIDTH * 50) && grid.high >= Math.exp(WIDTH * 250)];
      };
      const empty = module.gridOfSketches([], {fromMs: 0, toMs: 1000}, {columns: 10, rows: 10});
      return [read({fromMs: 0, toMs: 300_000}, 100), read({fromMs: 101_000, toMs: 131_000}, 100), empty.most];
    """
    wide, narrow, empty = run(page, "client/sketch_grid", code)
    assert wide == [5000, True, 11, 5, 15, 4, True]
    assert narrow == [1000, True, 7, 5, 11, 4, True]
    assert empty == 0
