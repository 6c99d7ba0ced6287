"""What a page knows after it was away, or came late: the client modules in a real browser, over a real stack."""

import signal
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.conftest import forget_history
from tests.support.stack import Stack

pytestmark = pytest.mark.browser


@pytest.fixture
def page(browser: Browser, stack: Stack) -> Iterator[Page]:
    """Open a page of the same origin in which modules can be imported."""
    forget_history(stack)
    opened = browser.new_page(base_url=stack.url)
    opened.goto("/healthz")
    yield opened
    opened.close()


CLIENT = """
  const {Connection} = await import("/static/metrics_stream/client/connection.js");
  const {Feed} = await import("/static/metrics_stream/client/feed.js");
  globalThis.clients ??= {};
  globalThis.join = (name) => new Promise((resolve) => {
    const feed = new Feed([{metricType: "system", path: "throughput_tps", windowSeconds: 900}]);
    const connection = new Connection(`ws://${location.host}/ws/metrics/?preset=operations`);
    const client = clients[name] = {feed, connection, recovered: []};
    connection.backfill = {backfill_seconds: 900, max_points: 902};
    connection.on("recovered", (isWhole) => {
      client.recovered.push(isWhole);
      if (!isWhole) feed.target.break(["system"]);
    });
    connection.on("message", (message) => {
      const metrics = {metric_update: [message.data], metric_batch: message.data}[message.type] ?? [];
      const nowMs = connection.clock.now();
      for (const metric of metrics) feed.target.add(metric, nowMs, message.replayed ? -Infinity : nowMs);
      if (message.type === "backfill" && feed.fill(message)) resolve(true);
    });
    feed.expect(["system"], {windowMs: 900_000, isAfresh: false});
    connection.subscribe(["system"]);
    connection.start();
  });
  globalThis.pointsOf = (name) => {
    const [series] = clients[name].feed.store.series("system", "throughput_tps");
    const {times, values, lows, highs} = series ?? {times: [], values: [], lows: [], highs: []};
    return [...times].map((timeMs, index) => [timeMs, ...[values, lows, highs].map((column) => column[index])]);
  };
"""


def by_bucket(points: list[list[float]], seconds: int, until: float) -> dict[int, tuple[float, float]]:
    """Return the lowest and the highest value of each bucket of time."""
    buckets: dict[int, tuple[float, float]] = {}
    for milliseconds, value, low, high in points:
        if value is None or value != value or milliseconds >= until:
            continue
        bucket = int(milliseconds // (seconds * 1000))
        lowest, highest = buckets.get(bucket, (low, high))
        buckets[bucket] = (min(lowest, low), max(highest, high))
    return buckets


def test_client_that_comes_late_has_what_one_has_that_was_there(page: Page, stack: Stack):
    page.evaluate(f"async () => {{ {CLIENT}; await join('early'); }}")
    stack.publish(
        "import random, time\n"
        "random.seed(1)\n"
        "now = time.time()\n"
        "for number in range(3000):\n"
        "    value = random.gauss(500, 50) + (4000 if number % 700 == 3 else 0) - (400 if number % 500 == 7 else 0)\n"
        "    stream.broadcast_system_metrics({'throughput_tps': value}, timestamp=now - 600 + number / 5)"
    )
    page.wait_for_function("() => clients.early.feed.store.version('system') >= 3000")
    page.evaluate("() => join('late')")
    early, late = page.evaluate("[pointsOf('early'), pointsOf('late')]")
    # The newest metric has its own time besides its bucket.
    until = late[-1][0] // 1000 * 1000 - 1000
    expected = by_bucket(early, 1, until)
    assert len(expected) > 590
    assert max(high for _, high in expected.values()) > 4000
    assert by_bucket(late, 1, until) == expected
    assert len(late) < 700


def test_client_misses_nothing_while_the_server_is_killed(page: Page, stack: Stack):
    page.evaluate(f"async () => {{ {CLIENT}; await join('one'); }}")
    stack.publish("for value in (1, 2, 3): stream.broadcast_system_metrics({'throughput_tps': value})")
    page.wait_for_function("() => clients.one.feed.store.version('system') >= 3")
    stack.stop(signal.SIGKILL)
    try:
        stack.publish("for value in (4, 5, 6): stream.broadcast_system_metrics({'throughput_tps': value})")
    finally:
        stack.start()
    stack.publish("for value in (7, 8): stream.broadcast_system_metrics({'throughput_tps': value})")
    page.wait_for_function("() => clients.one.feed.store.version('system') >= 8", timeout=30_000)
    assert page.evaluate("[clients.one.recovered, clients.one.feed.store.version('system')]") == [[True], 8]


def test_what_is_lost_is_a_break_in_the_line(page: Page, stack: Stack):
    page.evaluate(f"async () => {{ {CLIENT}; await join('one'); }}")
    stack.publish("stream.broadcast_system_metrics({'throughput_tps': 1})")
    page.wait_for_function("() => clients.one.feed.store.version('system') >= 1")
    stack.stop(signal.SIGKILL)
    try:
        stack.publish("stream.broadcast_system_metrics({'throughput_tps': 2})")
        forget_history(stack)
        stack.publish("stream.broadcast_system_metrics({'throughput_tps': 3})")
    finally:
        stack.start()
    page.wait_for_function("() => clients.one.feed.store.version('system') >= 2", timeout=30_000)
    assert page.evaluate("clients.one.recovered") == [False]
    values = [value for _, value, _, _ in page.evaluate("pointsOf('one')")]
    assert [None if value != value else value for value in values] == [1, None, 3]
