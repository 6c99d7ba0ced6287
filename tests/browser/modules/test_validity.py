"""client/validity.js judges as core/validity.py does."""

import json

import msgspec
import pytest
from playwright.sync_api import Page

from metrics_stream.core.validity import RULES, SILENT_SECONDS
from tests.support.browser_modules import run
from tests.support.validity import CASES, SOURCE

pytestmark = pytest.mark.browser

CONFIG = {"silent_seconds": SILENT_SECONDS, "rules": [msgspec.to_builtins(rule) for rule in RULES]}


def test_the_browser_has_the_same_doubts(page: Page):
    code = """
      return argument.cases.map((metrics) => {
        const judge = new module.Judge(argument.config);
        metrics.forEach((data, second) => judge.observe(argument.source, second * 1000, data));
        return judge.current((metrics.length - 1) * 1000).map(({ rule, source }) => [rule.name, source]);
      });
    """
    cases = json.loads(msgspec.json.encode([case.metrics for case in CASES]))
    found = run(page, "client/validity", code, {"config": CONFIG, "cases": cases, "source": SOURCE})
    expected = {case.name: [list(pair) for pair in case.current] for case in CASES}
    assert dict(zip(expected, found, strict=True)) == expected


def test_a_source_that_is_silent_or_jumps_back_is_judged_anew(page: Page):
    code = """
      const judge = new module.Judge(argument);
      const count = (nowMs) => judge.current(nowMs).length;
      for (let second = 100; second < 106; second += 1)
        judge.observe("a", second * 1000, {generator_cpu_utilization: 0.97}, second * 1000 + 3_600_000);
      const found = [count(3_705_000), count(3_705_000 + 16_000)];
      judge.observe("a", 50_000, {generator_cpu_utilization: 0.97});
      return [...found, count(50_000)];
    """
    assert run(page, "client/validity", code, CONFIG) == [1, 0, 0]


def test_a_live_doubt_is_not_shown_over_a_replay_nor_after_it(page: Page):
    code = """
      document.body.innerHTML = "<div id='host' hidden><ul data-doubts-list></ul></div>";
      const host = document.getElementById("host");
      const doubts = new module.Doubts(host, argument);
      const now = 1_900_000_000_000;
      for (let second = 0; second < 8; second += 1) {
        const timestamp = new Date(now + second * 1000).toISOString();
        const metric = {metric_type: "system", source: "a", timestamp, data: {generator_cpu_utilization: 0.97}};
        doubts.add(metric, now + second * 1000);
      }
      const isHidden = (nowMs, isLive) => (doubts.show(nowMs, null, isLive), host.hidden);
      return [isHidden(now + 8000, true), isHidden(now - 86_400_000, false), isHidden(now + 9000, true)];
    """
    assert run(page, "pages/doubts", code, CONFIG) == [False, True, True]
