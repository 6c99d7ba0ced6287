"""pages/explore/: what is seen, how often it comes, and the state of the page in its address."""

import pytest
from playwright.sync_api import Page

from tests.support.browser_modules import run

pytestmark = pytest.mark.browser

ADD = """
  const seen = new module.Seen();
  const add = (metric, nowMs = 1000) => seen.add({source: "a", timestamp: new Date(nowMs).toISOString(), ...metric},
                                                 nowMs, true);
  const shown = () => seen.lines.map((line) => [line.row.label, line.path, module.valueOf(line)]);
"""


def test_each_field_of_each_row_is_a_line(page: Page):
    code = f"""{ADD}
      add({{metric_type: "queue", data: {{depth: 3, waits: {{p95: 1.5}}, sketches: {{x: {{}}}}, names: ["a"]}}}});
      add({{metric_type: "request", key: ["name", "method"], data: [{{name: "/a", method: "GET", users: 2}}]}});
      add({{metric_type: "agent", data: [{{agent_id: "a1", current_load: 0.5}}]}});
      add({{metric_type: "system", data: {{n: 1, agents: {{a2: {{load: 1}}}}}}}});
      add({{metric_type: "queue", data: {{depth: 4, later: 5}}}}, 2000);
      return shown();
    """
    assert run(page, "pages/explore/seen", code) == [
        ["", "depth", 4],
        ["", "waits.p95", None],
        ["", "names", None],
        ["", "later", 5],
        ["GET /a", "users", 2],
        ["a1", "current_load", 0.5],
        ["", "n", 1],
        ["a2", "load", 1],
    ]


def test_what_is_no_metric_is_ignored_and_silent_rows_are_forgotten(page: Page):
    code = f"""{ADD}
      for (const metric of [null, 5, {{}}, {{metric_type: "x", data: null}}, {{metric_type: 3, data: {{}}}}])
        seen.add(metric, 1000, true);
      add({{metric_type: "old", data: {{n: 1}}}}, 1000);
      add({{metric_type: "new", data: {{n: 2}}}}, 5000);
      const before = seen.rowCount;
      seen.trim(2000);
      return [before, shown(), seen.rowCount];
    """
    assert run(page, "pages/explore/seen", code) == [2, [["", "n", 2]], 1]


def test_rates_are_of_the_last_seconds(page: Page):
    code = """
      const rate = new module.Rate(0);
      const found = [rate.perSecond(1000)];
      for (let ms = 0; ms < 10_000; ms += 250) rate.add(ms);
      found.push(rate.perSecond(10_000), rate.perSecond(60_000));
      return found;
    """
    assert run(page, "pages/explore/rate", code) == [None, 4, 0]


@pytest.mark.parametrize(
    ("address", "again"),
    [
        ("", ""),
        ("?q=load+a&sort=-value", "?q=load+a&sort=-value"),
        ("?sort=nonsense", ""),
        ("?type=request&source=x%26y&key.name=%2Fa&field=n", "?type=request&source=x%26y&key.name=%2Fa&field=n"),
        ("?type=request", ""),
    ],
)
def test_the_state_is_that_of_the_address(page: Page, address: str, again: str):
    code = "return module.writeState(module.readState(argument));"
    assert run(page, "pages/explore/state", code, address) == again


def test_a_catalogue_takes_changes(page: Page):
    code = """
      const field = (name, label) => ({name, label, unit: "ms", good: "lower"});
      const known = new module.Catalogue([
        {slug: "a", label: "A", fields: [field("x", "X")]}, {slug: "b", label: "B", fields: []},
      ]);
      const other = known.take({type: "status"});
      known.take({type: "catalogue_changed", metric_types: ["a", "c"], changed: [
        {slug: "a", label: "New", fields: [field("x", "Y")]}, {slug: "c", label: "C", fields: []},
      ]});
      return [other, known.slugs, known.labelOf("a"), known.field("a", "x").label, known.labelOf("zz"),
              known.field("zz", "x")];
    """
    assert run(page, "client/catalogue", code) == [False, ["a", "c"], "New", "Y", "zz", None]
