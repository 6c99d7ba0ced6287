"""A dashboard says in words what makes its figures doubtful, and stops saying it."""

import json
import re

import pytest
from playwright.sync_api import Page, expect

from tests.support.stack import Stack

pytestmark = pytest.mark.browser

# A test of ten seconds whose generator is at its limit, published at once.
BUSY = """
import time
for second in range(-10, 1):
    stream.broadcast_system_metrics({"throughput_tps": 90.0, "generator_cpu_utilization": %s}, time.time() + second)
"""
CONFLICT = {"metric_type": "system", "source": "gen-b", "producers": 2}


def test_a_generator_at_its_limit_and_mixed_sources_are_said_until_they_are_over(page: Page, stack: Stack) -> None:
    sockets = []

    def pass_on(socket):
        sockets.append(socket)
        socket.connect_to_server()

    page.route_web_socket(re.compile("/ws/metrics/"), pass_on)
    page.goto("/dashboards/operations/")
    doubts = page.locator("[data-doubts]")
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    expect(doubts).to_be_hidden()
    stack.publish(BUSY % 0.97, source="gen-a")
    sockets[-1].send(json.dumps({"type": "source_conflicts", "conflicts": [CONFLICT]}))
    expect(doubts.get_by_role("listitem")).to_have_text(
        [
            "2 programs publish system metrics as gen-b at the same time: their numbers are mixed; "
            "give each its own source",
            "Load generator gen-a is at 97.0\u00a0% CPU: its response times may be too high",
        ]
    )
    sockets[-1].send(json.dumps({"type": "source_conflicts", "conflicts": []}))
    stack.publish("stream.broadcast_system_metrics({'generator_cpu_utilization': 0.2})", source="gen-a")
    expect(doubts).to_be_hidden()
