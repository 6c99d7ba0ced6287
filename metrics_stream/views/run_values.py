"""What a run says of itself, for its page: parameters with links, and phases on its timeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode, urlsplit

from metrics_stream.core.formatting import format_duration, format_timestamp
from metrics_stream.core.run_values import Phase, parameter_text
from metrics_stream.models import TestRun

# Of the width of a timeline; a narrower phase has no room for its name.
_NAMED_PERCENT = 8.0


@dataclass(frozen=True, slots=True)
class ParameterRow:
    """A parameter as text; `link` is its address if it is one of a web page, else empty."""

    name: str
    text: str
    link: str


@dataclass(frozen=True, slots=True)
class PhaseRow:
    """A phase of a run, with the query that shows its range; `ends_at` is None while it goes on."""

    name: str
    starts_at: datetime
    ends_at: datetime | None
    duration: str
    query: str


@dataclass(frozen=True, slots=True)
class Band:
    """A phase on a timeline: its place and width in per cent; `shade` tells it from its neighbours."""

    name: str
    left: float
    width: float
    shade: int
    query: str

    @property
    def is_named(self) -> bool:
        """Whether there is room for its name."""
        return self.width >= _NAMED_PERCENT


def parameter_rows(run: TestRun) -> list[ParameterRow]:
    """Return the parameters of a run in the order in which they were given."""
    rows = ((str(name), parameter_text(value)) for name, value in run.parameters.items())
    return [ParameterRow(name, text, safe_link(text)) for name, text in rows]


def safe_link(text: str) -> str:
    """Return a text that is the address of a web page, else an empty one: no script, and no password in an address."""
    try:
        parts = urlsplit(text)
        is_page = parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
    except ValueError:
        return ""
    return text if is_page and not any(char.isspace() or char in "\\<>\"'`" for char in text) else ""


def phase_rows(phases: Sequence[Phase], now: datetime) -> list[PhaseRow]:
    """Return the phases of a run in the order of time; one that goes on reaches to `now`."""
    return [
        PhaseRow(
            phase.name,
            phase.starts_at,
            phase.ends_at,
            format_duration(((phase.ends_at or now) - phase.starts_at).total_seconds()),
            range_query(phase.starts_at, phase.ends_at or now),
        )
        for phase in phases
    ]


def range_query(since: datetime, until: datetime) -> str:
    """Return the query that shows a range, on the page of a run and on dashboards."""
    instants = {"from": format_timestamp(since.timestamp()), "to": format_timestamp(until.timestamp())}
    return urlencode(instants, safe=":")


def bands(rows: Sequence[PhaseRow], since: float, until: float) -> list[Band]:
    """Return the phases on a timeline between two instants in seconds since 1970; those outside it are left out."""
    span = max(until - since, 1e-6)

    def place(at: float) -> float:
        return min(max((at - since) / span, 0.0), 1.0) * 100

    found = []
    for number, row in enumerate(rows):
        left = place(row.starts_at.timestamp())
        width = place(until if row.ends_at is None else row.ends_at.timestamp()) - left
        if width > 0:
            found.append(Band(row.name, round(left, 3), round(width, 3), number % 2, row.query))
    return found
