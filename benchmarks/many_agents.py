"""Measure what 1,000 agents at 1/s cost the browser on the dashboard Agents, in a real Chromium; see README.md.

Sixteen fields of each agent come once a second, in metrics of 100 agents. As in the scenario `dashboard`, Chromium runs
headless and without a GPU on the machine of server and producer, so compare the thread's processor time, too.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from playwright.sync_api import Page

from benchmarks.rows_page import rows_parser, show_rows, watch_rows

# Publishes until its input ends: every 60th agent is degraded, every 150th unhealthy.
PRODUCER = """
import random, sys, threading, time
import django
django.setup()
from metrics_stream.broadcast import Broadcaster
count = int(sys.argv[1])
random.seed(1)
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()

def agent(number, second):
    ill = "unhealthy" if number % 150 == 7 else "degraded" if number % 60 == 3 else "healthy"
    load = 0.5 + 0.3 * random.random()
    return {
        "agent_id": f"agent_{number}", "agent_name": f"Fraud scorer {number}", "status": ill,
        "requests_processed": 40 * second + number, "avg_response_time_ms": 30 + 20 * random.random(),
        "p95_response_time_ms": 80 + 40 * random.random(), "p99_response_time_ms": 120 + 90 * random.random(),
        "success_rate": 1 - 0.01 * random.random(), "error_count": second // 10, "timeout_count": second // 50,
        "current_load": load, "concurrent_requests": int(20 * load), "health_score": 1 - 0.1 * random.random(),
        "decision_accuracy": 0.97 + 0.02 * random.random(), "false_positive_rate": 0.01 * random.random(),
        "false_negative_rate": 0.01 * random.random(),
    }

with Broadcaster(source="farm", max_queued=100_000) as stream:
    started, second = time.time(), 0
    print("live", flush=True)
    while not ended.wait(max(0.0, started + second - time.time())):
        for first in range(0, count, 100):
            stream.broadcast_agent_metrics([agent(number, second) for number in range(first, min(first + 100, count))])
        second += 1
"""


def counted(page: Page) -> str:
    """Return what the status panel says of all agents."""
    return page.locator(".states__summary").inner_text()


def main(argv: Sequence[str] | None = None) -> int:
    """Start the stack and the browser, measure and print; return 1 when the page does not count all agents."""
    parser = rows_parser("many-agents", __doc__)
    parser.add_argument("--agents", type=int, default=1_000, help="how many agents (%(default)s)")
    options = parser.parse_args(argv)
    found = watch_rows(parser, options, "/dashboards/agents/", PRODUCER, options.agents, counted=counted)
    show_rows(found, options)
    total = sum(int(part.split()[0].replace(",", "")) for part in found["counted"].split("·") if part.strip())
    return 0 if total == options.agents else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
