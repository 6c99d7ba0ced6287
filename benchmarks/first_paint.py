"""How long a dashboard takes from its reload until its charts show the last 15 minutes, in a real Chromium.

A producer fills the server's history with metrics as dense as the live ones, then goes on at the live rate; see
README.md. Twelve line panels of 15 minutes each, as in the scenario `dashboard`.
"""

from __future__ import annotations

import time
from typing import Any

from playwright.sync_api import Page

from benchmarks.page import dashboard_page, producing
from tests.support.stack import ROOT

HISTORY_SECONDS = 900
# Samples a second of each of four producers: 200 metrics/s, and 180,000 of them in the history.
RATE = 50.0
RELOADS = 20

AS_DEPLOYED = {
    "DJANGO_SETTINGS_MODULE": "benchmarks.as_deployed",
    "PYTHONPATH": str(ROOT),
    "DEBUG": "0",
    "ALLOWED_HOSTS": "127.0.0.1",
    "HTTPS_ONLY": "0",
    "ANONYMOUS_READ": "1",
}

# Notes in milliseconds since the navigation began when the socket opened, when the summary of the past arrived, and
# when the last panel was painted with it. Drawings are on the screen with the next frame.
WATCH = """
globalThis.marks = {};
const mark = (name) => { globalThis.marks[name] ??= performance.now(); };
globalThis.WebSocket = class extends WebSocket {
  constructor(...given) {
    super(...given);
    mark("connecting");
    this.addEventListener("message", ({data}) => {
      if (data.startsWith('{"type":"welcome"')) mark("welcome");
      if (!data.startsWith('{"type":"backfill"')) return;
      mark("first part");
      globalThis.backfillBytes = (globalThis.backfillBytes ?? 0) + data.length;
      if (data.endsWith('"done":true}')) mark("all parts");
    });
  }
};
const drawn = new Set();
const clear = CanvasRenderingContext2D.prototype.clearRect;
CanvasRenderingContext2D.prototype.clearRect = function (...given) {
  if ("all parts" in globalThis.marks && this.canvas.closest(".panel[data-filled]")) {
    drawn.add(this.canvas.closest(".panel"));
    if (drawn.size >= document.querySelectorAll(".panel").length) {
      requestAnimationFrame(() => setTimeout(() => mark("painted")));
    }
  }
  return clear.apply(this, given);
};
"""


def reload_times() -> dict[str, Any]:
    """Return for the first load and for each reload when each mark was reached, in milliseconds."""
    with (
        dashboard_page(HISTORY_SECONDS, WATCH, **AS_DEPLOYED) as (stack, _, page),
        producing(stack, RATE, HISTORY_SECONDS),
    ):
        first = _load(page, "open")
        return {"first": first, "reloads": [_load(page, "reload") for _ in range(RELOADS)]}


def _load(page: Page, how: str) -> dict[str, float]:
    if how == "open":
        page.goto("/dashboards/bench/", wait_until="commit")
    else:
        page.reload(wait_until="commit")
    page.wait_for_function("() => globalThis.marks?.painted", timeout=60_000)
    found: dict[str, float] = page.evaluate("({...marks, bytes: globalThis.backfillBytes})")
    # The page must be at rest before the next reload, as when a person reloads it.
    time.sleep(1.0)
    return found
