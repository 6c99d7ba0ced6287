"""What a run says of itself as data: test, parameters, phases, start and end; for its file and for the API."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from metrics_stream.core.formatting import format_timestamp
from metrics_stream.core.run_values import describe_phases
from metrics_stream.models import TestRun
from metrics_stream.runs import phases as run_phases


def describe(run: TestRun, sources: Iterable[str]) -> dict[str, Any]:
    """Return what a run says of itself as data that JSON can hold; `sources` are those that the viewer may know."""
    instants = {"started_at": run.started_at, "ended_at": run.ended_at}
    return {
        "slug": run.slug,
        "name": run.name,
        "test": run.test,
        "status": run.status,
        **{name: None if at is None else format_timestamp(at.timestamp()) for name, at in instants.items()},
        "target_tps": run.target_tps,
        "tags": run.tags,
        "parameters": run.parameters,
        "phases": describe_phases(run_phases.of(run)),
        "sources": list(sources),
        "every_source": not run.sources,
        "notes": run.notes,
    }
