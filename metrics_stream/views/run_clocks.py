"""What the page of a run says of the clocks of its sources."""

from __future__ import annotations

from metrics_stream.core.formatting import format_duration
from metrics_stream.core.metrics.permission import Permit
from metrics_stream.models import TestRun


def wrong_clocks(run: TestRun, permit: Permit) -> list[str]:
    """Return the visible sources whose clocks were off, each with how much: "gen-a: 30 min ahead"."""
    most: dict[str, float] = {}
    for slug, source, ahead in run.source_clocks:
        if permit.covers(slug, source):
            most[source] = max(most.get(source, 0.0), ahead, key=abs)
    return [
        f"{source}: {format_duration(abs(ahead))} {'ahead' if ahead > 0 else 'behind'}"
        for source, ahead in sorted(most.items())
    ]
