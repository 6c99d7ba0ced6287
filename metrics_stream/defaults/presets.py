"""The presets that a new installation starts with."""

from __future__ import annotations

from typing import Any

from metrics_stream.conf import get_settings
from metrics_stream.core.sources import host_source
from metrics_stream.models import ClientPreset

EVERY_TYPE = ["system", "agent", "business", "hero", "presentation"]


def preset_seeds() -> list[dict[str, Any]]:
    """Return the columns of every preset."""
    return [
        {
            "slug": "standard",
            "name": "Standard",
            "description": "Every metric, once a second, nothing filtered. Dashboards without a preset use it.",
            "is_default": True,
        },
        {
            "slug": "load-test",
            "name": "Load test",
            "description": "Totals, requests by name and errors of load generators, once a second.",
            "metric_types": ["system", "request", "error"],
            "batch_size": 100,
        },
        {
            "slug": "operations",
            "name": "Operations",
            "description": "System metrics of every source, once a second, nothing left out.",
            "metric_types": ["system"],
        },
        {
            "slug": "this-machine",
            "name": "This machine",
            "description": "System metrics of the machine that this server was set up on, once a second.",
            "metric_types": ["system"],
            "sources": [host_source(get_settings().source)],
        },
        {
            "slug": "agents",
            "name": "Agents",
            "description": "Every agent, once a second.",
            "metric_types": ["agent"],
            "batch_size": 50,
        },
        {
            "slug": "single-agent",
            "name": "Single agent",
            "description": "Follow one agent closely. Duplicate this preset and change the id to follow another one.",
            "metric_types": ["agent"],
            "agent_ids": ["agent_1"],
            "interval_seconds": 0.5,
        },
        {
            "slug": "business",
            "name": "Business",
            "description": "Money, fraud and cost every two seconds: they move slowly.",
            "metric_types": ["business"],
            "interval_seconds": 2.0,
        },
        {
            "slug": "presentation",
            "name": "Presentation",
            "description": "What an audience sees: the newest hero numbers and the transaction flow, once a second.",
            "metric_types": ["hero", "presentation"],
            "mode": ClientPreset.Mode.LATEST,
        },
        {
            "slug": "stream-health",
            "name": "Stream health",
            "description": "What every server process says of itself, as soon as it says it.",
            "metric_types": ["stream"],
            "interval_seconds": 0.1,
            "batch_timeout_seconds": 0.0,
        },
        {
            "slug": "wall-display",
            "name": "Wall display",
            "description": "For a big screen on the local network: the newest values, twice a second.",
            "metric_types": ["system", "agent", "hero"],
            "interval_seconds": 0.5,
            "mode": ClientPreset.Mode.LATEST,
        },
        {
            "slug": "low-bandwidth",
            "name": "Low bandwidth",
            "description": "For a phone or a slow line: only the newest values, every five seconds.",
            "metric_types": ["system", "agent", "business", "hero"],
            "interval_seconds": 5.0,
            "batch_size": 1000,
            "batch_timeout_seconds": 5.0,
            "mode": ClientPreset.Mode.LATEST,
        },
        {
            "slug": "raw",
            "name": "Raw",
            "description": "Everything, as fast as it may leave (ten frames a second): for programs and for debugging.",
            "metric_types": EVERY_TYPE,
            "interval_seconds": 0.1,
            "batch_timeout_seconds": 0.0,
        },
        {
            "slug": "original",
            "name": "Original",
            "description": "For clients of the original server: every metric in a message of its own, from now on.",
            "metric_types": list(get_settings().catalogue().all_slugs),
            "batch_size": 1,
            "sends_newest": False,
        },
    ]
