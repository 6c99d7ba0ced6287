"""client/source_clocks.js, pages/clock_notice.js, pages/source_picker.js: sources whose clocks are off."""

import pytest
from playwright.sync_api import Page

from tests.support.browser_modules import run

pytestmark = pytest.mark.browser

STORE = """
  const nowMs = Date.parse("2026-01-31T12:00:00Z");
  const store = new module.Store([{metricType: "system", path: "n", windowSeconds: 300}]);
  const add = (source, aheadSeconds, n, at = 0) => store.add({
    metric_type: "system", source, data: {n}, timestamp: new Date(nowMs + 1000 * (aheadSeconds + at)).toISOString(),
    ...(aheadSeconds ? {clock_ahead_seconds: aheadSeconds} : {}),
  }, nowMs + 1000 * at);
"""


@pytest.mark.parametrize("ahead", [1800, -7200])
def test_a_source_with_a_wrong_clock_is_drawn_when_its_metrics_arrived(page: Page, ahead: int):
    code = f"""{STORE}
      add("right", 0, 1);
      add("wrong", {ahead}, 2);
      add("wrong", {ahead}, 3, 1);
      const [right, wrong] = store.series("system", "n");
      return [[...right.times, ...wrong.times].map((time) => time - nowMs), store.firstMs - nowMs,
              store.newest("system").timestampMs - nowMs, store.latest("system", "wrong")[0].data.n,
              [...store.clocks.wrong]];
    """
    assert run(page, "client/store", code) == [[0, 0, 1000], 0, 1000, 3, [["wrong", ahead]]]


def test_a_clock_that_jumps_back_keeps_the_newest_values(page: Page):
    code = f"""{STORE}
      add("jumps", 0, 1);
      add("jumps", -3600, 2, 1);
      add("jumps", 0, 3, 2);
      return [store.series("system", "n")[0].length, store.latest("system")[0].data.n, [...store.clocks.wrong]];
    """
    assert run(page, "client/store", code) == [3, 3, []]


def test_sources_are_marked_and_named_once(page: Page):
    code = """
      const {SourcePicker} = await import("/static/metrics_stream/pages/source_picker.js");
      const shown = [];
      const notices = {show: (key, level, words) => shown.push(words), hide: (key) => shown.push(null)};
      const picker = new SourcePicker(document.createElement("select"));
      const notice = new module.ClockNotice(notices, picker);
      for (const seconds of [1800, 1800.4]) {
        notice.show(new Map([["gen-a", seconds]]));
        picker.show(["gen-a", "gen-b"]);
      }
      const labels = [...picker.select.options].map(({text}) => text);
      notice.show(new Map([["gen-a", 1800], ["gen-b", -7200]]));
      notice.show(new Map());
      picker.show(["gen-a", "gen-b"]);
      return [shown, labels, [...picker.select.options].map(({text}) => text)];
    """
    shown, labels, after = run(page, "pages/clock_notice", code)
    spaced = [text and text.replace("\u00a0", " ") for text in shown]
    assert spaced == [
        "The clock of gen-a is 30 min ahead. Its metrics are drawn at the time when they arrived.",
        "The clock of gen-a is 30 min ahead, the clock of gen-b is 2 h behind. "
        "Their metrics are drawn at the time when they arrived.",
        None,
    ]
    assert [text.replace("\u00a0", " ") for text in labels] == ["All sources", "gen-a · clock 30 min ahead", "gen-b"]
    assert after == ["All sources", "gen-a", "gen-b"]
