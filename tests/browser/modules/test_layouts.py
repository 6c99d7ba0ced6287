"""charts/flow.js, charts/grid.js: the layout of flows and tables."""

import pytest
from playwright.sync_api import Page

from tests.support.browser_modules import run

pytestmark = pytest.mark.browser


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
      const unitAt = (path) => (path.endsWith("latency_ms") ? "ms" : path.endsWith("cost") ? "$" : "");
      const panel = {fields: [field], unit: "", decimals: null, warning_at: null, critical_at: null};
      const grid = module.gridOf([{key: "k", field, value, source: "s", row: null, unitAt}], panel);
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
