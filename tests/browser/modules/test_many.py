"""client/store.js, client/entries.js, client/readings.js, client/line_choice.js: more than a page can show."""

from typing import Any

import pytest
from playwright.sync_api import Page

from tests.support.browser_modules import run

pytestmark = pytest.mark.browser

MANY = """
  const {choose, countStates, describeLeft, linesOf, seriesOf} =
    await import("/static/metrics_stream/client/readings.js");
  const {LineChoice} = await import("/static/metrics_stream/client/line_choice.js");
  const startMs = Date.UTC(2026, 0, 1);
  const at = (second) => new Date(startMs + 1000 * second).toISOString();
  const panel = (kind, path, rest = {}) => ({
    kind, metric_type: "agent", fields: [{path, label: path, unit: ""}], unit: "", warning_at: null, critical_at: null,
    ...rest,
  });
  const add = (store, second, agents, source = "farm") => store.add(
    {metric_type: "agent", source, timestamp: at(second), data: agents}, startMs + 1000 * second);
  const agents = (count, statusOf = () => "healthy", first = 0) => Array.from({length: count}, (_, index) => ({
    agent_id: `agent_${first + index}`, status: statusOf(first + index), load: 0.5,
  }));
  const stateOf = (number) => (number % 50 === 7 ? "unhealthy" : "healthy");
  const newStore = () => new module.Store([{metricType: "agent", path: "load", windowSeconds: 300}]);
"""


def test_every_agent_counts_and_the_worst_come_first(page: Page):
    code = f"""{MANY}
      const store = newStore();
      for (let second = 0; second < 3; second += 1) add(store, second, agents(300, stateOf));
      const chosen = choose(store, panel("status", "load"), null, 100);
      const words = [...chosen.shown, ...chosen.left].map(({{data}}) => data.status);
      const names = chosen.shown.slice(0, 8).map(({{row}}) => row.slice(9));
      return [countStates(words), names, describeLeft(chosen), store.series("agent", "load").length];
    """
    counted, names, left, series = run(page, "client/store", code)
    assert counted == "294 healthy, 6 unhealthy"
    assert names == [*(f"agent_{50 * number + 7}" for number in range(6)), "agent_0", "agent_1"]
    assert left == "+200 more, all healthy"
    assert series == 300


def test_thousand_agents_and_two_hundred_sources_are_whole(page: Page):
    code = f"""{MANY}
      const store = newStore();
      for (let second = 0; second < 2; second += 1) add(store, second, agents(1_000, stateOf));
      const others = newStore();
      for (let number = 0; number < 200; number += 1) add(others, 0, agents(1), `source ${{number}}`);
      const wide = newStore();
      const entry = Object.fromEntries(Array.from({{length: 5_000}}, (_, index) => [`field_${{index}}`, index]));
      add(wide, 0, [{{agent_id: "a", ...entry}}]);
      add(wide, 1, [{{agent_id: "a", field_0: 1}}]);
      return [store.latest("agent").length, store.seriesCount, others.sources("agent").length, others.seriesCount,
              Object.keys(wide.latest("agent")[0].data).length];
    """
    assert run(page, "client/store", code) == [1_000, 1_000, 200, 200, 5_001]


def test_beyond_the_bound_the_worst_are_kept_and_all_are_counted(page: Page):
    code = f"""{MANY}
      const {{MAX_ENTRIES}} = await import("/static/metrics_stream/client/entries.js");
      const store = newStore();
      const seen = () => {{
        const chosen = choose(store, panel("status", "load"), null, 100);
        const words = [...chosen.shown, ...chosen.left].map(({{data}}) => data.status);
        return [store.latest("agent").length, countStates([...words, ...chosen.countedWords]), describeLeft(chosen)];
      }};
      // The ill ones come last, when all places are taken.
      add(store, 0, agents(MAX_ENTRIES));
      add(store, 0, agents(400, () => "degraded", MAX_ENTRIES));
      add(store, 0, agents(30, () => "unhealthy", 2 * MAX_ENTRIES));
      const first = seen();
      add(store, 1, agents(MAX_ENTRIES));
      add(store, 1, agents(400, () => "healthy", MAX_ENTRIES));
      add(store, 1, agents(30, () => "unhealthy", 2 * MAX_ENTRIES));
      const second = seen();
      add(store, 40, agents(10));
      store.trim(startMs + 400_000);
      return [MAX_ENTRIES, first, second, seen()];
    """
    most, first, second, later = run(page, "client/store", code)
    assert first == [
        most,
        f"{most:,} healthy, 400 degraded, 30 unhealthy",
        f"+{most + 330:,} more: {most:,} healthy, 330 degraded",
    ]
    assert second == [most, f"{most + 400:,} healthy, 30 unhealthy", f"+{most + 330:,} more, all healthy"]
    assert later[1] == "10 healthy"


def test_series_of_the_worst_agents_are_kept_and_the_others_counted(page: Page):
    code = f"""{MANY}
      const tracks = ["load", "health"].map((path) => ({{metricType: "agent", path, windowSeconds: 60}}));
      const store = new module.Store(tracks);
      const {{MAX_SERIES}} = await import("/static/metrics_stream/client/kept_series.js");
      const count = MAX_SERIES / 2 + 100;
      const both = (list) => list.map((entry) => ({{...entry, health: 1}}));
      add(store, 0, both(agents(count)));
      const before = [store.seriesCount, store.leftOutCount("agent", "load") + store.leftOutCount("agent", "health")];
      add(store, 1, both(agents(5, () => "unhealthy", count - 5)));
      const kept = store.series("agent", "load").filter(({{row}}) => Number(row.slice(15)) >= count - 5).length;
      return [before, kept, store.seriesCount];
    """
    before, kept, series = run(page, "client/store", code)
    assert before == [8_192, 200]
    assert (kept, series) == (5, 8_192)


def test_chart_draws_the_worst_lines_and_does_not_change_its_choice_all_the_time(page: Page):
    code = f"""{MANY}
      const store = newStore();
      const chart = new LineChoice(panel("line", "load", {{warning_at: 0.8, critical_at: 0.9}}));
      const all = agents(100, stateOf);
      const loads = (hot) => all.map((entry, number) => ({{...entry, load: hot(number) ? 0.95 : 0.5}}));
      const chosen = () => chart.choose(seriesOf(store, chart.panel, null)).map(({{series}}) => series.row.slice(9));
      add(store, 0, loads((number) => number === 90));
      const first = chosen();
      add(store, 1, loads((number) => number === 91));
      return [first, chosen()];
    """
    first, second = run(page, "client/store", code)
    assert len(first) == 16
    assert {"agent_7", "agent_57", "agent_90"} <= set(first)
    assert first == second


def test_panel_chooses_among_the_sources_that_have_its_field(page: Page):
    code = f"""{MANY}
      const store = new module.Store([]);
      for (let number = 0; number < 9; number += 1)
        store.add({{metric_type: "agent", source: `s${{number}}`, timestamp: at(0),
                    data: number < 6 ? {{other: 1}} : {{load: 0.1 * number}}}}, startMs);
      const seen = (rest) => choose(store, panel("gauge", "load", rest), null, 2);
      const plain = seen({{}});
      const judged = seen({{warning_at: 0.65, critical_at: 0.75}});
      return [plain.shown.map(({{source}}) => source), describeLeft(plain), judged.shown.map(({{source}}) => source)];
    """
    assert run(page, "client/store", code) == [["s6", "s7"], "+1 more", ["s8", "s7"]]


def figures(page: Page, kind: str, value: Any, field: dict[str, Any], rest: dict[str, Any] | None = None) -> list[Any]:
    code = """
      const {Store} = await import("/static/metrics_stream/client/store.js");
      const {GaugeChart} = await import("/static/metrics_stream/charts/gauge.js");
      const {NumberChart} = await import("/static/metrics_stream/charts/number.js");
      const {TableChart} = await import("/static/metrics_stream/charts/table.js");
      const {kind, value, units, ...panel} = argument;
      const host = document.createElement("div");
      document.body.append(host);
      const store = new Store([]);
      const nowMs = Date.UTC(2026, 0, 1);
      const timestamp = new Date(nowMs).toISOString();
      store.add({metric_type: "system", source: "a", timestamp, data: {value}, units}, nowMs);
      const charts = {gauge: GaugeChart, number: NumberChart, table: TableChart};
      const chart = new charts[kind]({metric_type: "system", title: "T", unit: "", decimals: null, warning_at: null,
                                      critical_at: null, options: {}, kind, ...panel}, host);
      chart.paint({store, source: null, moment: {nowMs, windowMs: null, zoom: null}});
      const text = (selector) => [...host.querySelectorAll(selector)].filter((node) => !node.closest("[hidden]"))
        .map((node) => node.textContent.replace(/\\u00a0/g, " "));
      const found = {
        figure: text(".gauge__figure, .number__figure")[0], note: text(".outside, .number__change")[0] ?? null,
        arc: host.querySelector(".gauge__value")?.style.strokeDasharray ?? null,
        cells: [...host.querySelectorAll("tbody tr")].map((row) => [...row.children].map(
          (cell) => cell.textContent.replace(/\\u00a0/g, " "))),
        titles: [...host.querySelectorAll("td[data-outside]")].map((cell) => cell.title.replace(/\\u00a0/g, " ")),
      };
      host.remove();
      return found;
    """
    argument = {"kind": kind, "value": value, "fields": [{"path": "value", "label": "Value", **field}], **(rest or {})}
    return run(page, "charts/dom", code, argument)


RATIO = {"unit": "ratio", "minimum": 0, "maximum": 1}


def test_value_outside_the_bounds_of_its_field_is_marked_and_stays_on_the_gauge(page: Page):
    found = figures(page, "gauge", 12.5, RATIO)
    assert (found["figure"], found["note"], found["arc"]) == ("1,250.0%", "outside 0 % to 100 %", "100, 200")
    assert figures(page, "gauge", 0.5, RATIO)["note"] is None
    assert figures(page, "gauge", 15, {"unit": ""}, {"options": {"maximum": 10}})["note"] == "outside 0.00 to 10.0"
    assert figures(page, "number", 12.5, RATIO)["note"] == "outside 0 % to 100 %"
    assert figures(page, "number", -3, {"unit": "ms", "minimum": 0})["note"] == "below 0.0 ms"
    assert figures(page, "table", 12.5, RATIO)["titles"] == ["outside 0 % to 100 %"]
    # Whoever says that it is a percentage has other bounds in mind.
    assert figures(page, "number", 12.5, RATIO, {"unit": "percent"})["note"] == ""
    assert figures(page, "number", 12.5, RATIO, {"units": {"value": "percent"}})["figure"] == "12.5%"


def test_no_unit_comes_from_a_name(page: Page):
    value = {"request_rate": 950, "bytes_saved": 1000, "GET /api/x": 12, "latency_ms": 7}
    assert figures(page, "table", value, {"unit": ""})["cells"] == [
        ["Request rate", "950"],
        ["Bytes saved", "1,000"],
        ["GET /api/x", "12.0"],
        ["Latency ms", "7.00"],
    ]
    units = {"value.bytes_saved": "bytes", "value.latency_ms": "ms"}
    assert figures(page, "table", value, {"unit": ""}, {"units": units})["cells"][1:] == [
        ["Bytes saved", "1.00 kB"],
        ["GET /api/x", "12.0"],
        ["Latency", "7.0 ms"],
    ]
    known = {"unit": "", "units": {"request_rate": "/s"}}
    assert figures(page, "table", value, known)["cells"][0] == ["Request rate", "950 /s"]
    assert figures(page, "table", value, {"unit": ""}, {"unit": "$"})["cells"][0] == ["Request rate", "$950.00"]
    below = figures(
        page, "table", {"ours": {"cost": 1}, "theirs": {"cost": 2}}, {"unit": ""}, {"units": {"value": "$"}}
    )
    assert below["cells"] == [["Cost", "$1.00", "$2.00"]]
