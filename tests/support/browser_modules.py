"""JavaScript modules under test: run code against one in a page, with sockets and timers that a test controls."""

import json
from typing import Any

from playwright.sync_api import Page


def run(page: Page, module: str, code: str, argument: Any = None) -> Any:
    """Import a module as `module` and return what `code`, the body of a function of it and `argument`, returns."""
    address = f"/static/metrics_stream/{module}.js"
    return page.evaluate(
        f"async (argument) => {{ const module = await import({json.dumps(address)}); {code} }}", argument
    )


# A connection with fake sockets, timers and clock: `say` receives a message, `welcome` the one that makes it live.
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
