"""client/gap_refill.js: gaps in the stream, and the requests that fill them."""

import pytest
from playwright.sync_api import Page

from tests.support.browser_modules import run

pytestmark = pytest.mark.browser


GAP_REFILL = """
  const asked = [], timers = [], broken = [];
  let nowMs = 100_000, isLive = true, isOpen = true;
  const connection = {
    clock: {now: () => nowMs},
    refill: (past, metricTypes) => isOpen && asked.push([past.backfill_seconds, past.max_points, ...metricTypes]) > 0,
    timers: {setTimeout: (callback, ms) => timers.push([callback, ms]), clearTimeout() {}},
  };
  const feed = {isBackfillPending: false, target: {break: (metricTypes) => broken.push(...metricTypes)}};
  const gapRefill = new module.GapRefill(connection, feed, {historySeconds: argument ?? 900, isLive: () => isLive});
  const gap = (reason, ...metricTypes) =>
    gapRefill.take({type: "gap", reason, dropped: null, metric_types: metricTypes});
  const pass = () => {
    const [callback, ms] = timers.shift();
    nowMs += ms;
    callback();
  };
"""


def test_gap_ends_the_lines_and_is_requested_once(page: Page):
    code = f"""{GAP_REFILL}
      gap("slow_consumer", "system");
      gap("bus", "system", "agent");
      const before = asked.length;
      pass();
      // What comes soon after waits for longer, and while nothing can be sent, or all of the past is on its way.
      gap("pending_overflow", "hero");
      const wait = timers[0][1];
      feed.isBackfillPending = true;
      pass();
      [feed.isBackfillPending, isOpen] = [false, false];
      pass();
      isOpen = true;
      pass();
      return {{before, broken, asked, wait, left: timers.length}};
    """
    assert run(page, "client/gap_refill", code) == {
        "before": 0,
        "broken": ["system", "system", "agent", "hero"],
        "asked": [[62, 64, "system", "agent"], [79, 81, "hero"]],
        "wait": 15_000,
        "left": 0,
    }


@pytest.mark.parametrize(
    ("history_seconds", "event"),
    [
        (900, 'gap("history", "system")'),
        (0, 'gap("bus", "system")'),
        (900, 'isLive = false; gap("pending_overflow", "system")'),
    ],
)
def test_what_cannot_be_filled_stays_a_break(page: Page, history_seconds: int, event: str):
    code = f"{GAP_REFILL} {event}; return [broken, timers.length];"
    assert run(page, "client/gap_refill", code, history_seconds) == [["system"], 0]
