"""Watch a k6 test live: publish its measurements to the dashboard "Load test" once a second, over HTTP.

    export METRICS_URL=https://metrics.example.com METRICS_TOKEN=mst_…
    k6 run --quiet --out json=/dev/stdout script.js | python examples/k6_metrics.py --record "checkout soak"

It needs a token with the scope publish and the package msgspec, and neither Django nor Redis. `--record` keeps the test
as a run of that name, with its phases; the token then also needs the scope runs. Other output of k6 is passed on, so
k6's summary is at the end as usual.
"""

import argparse
import json
import os
import signal
import sys
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from metrics_stream.broadcast import Broadcaster, RunError, Sketch, key_part
from metrics_stream.broadcast.run_block import BlockRun

SOURCE = "k6"

COUNTED = {"http_reqs", "http_req_failed", "http_req_duration", "vus", "dropped_iterations"}

# The users of so many seconds ago tell whether their number changes.
PHASE_SECONDS = 5
STEADY_SHARE = 0.1

# Below `data`, the tags of a request that make its key; k6 leaves out what it does not know.
REQUIRED = ("name", "method")
OPTIONAL = ("scenario", "group")


class Sample(NamedTuple):
    """One of k6's samples; `at` is in seconds since 1970."""

    metric: str
    value: float
    at: float
    tags: dict[str, str] = {}


class Timed(NamedTuple):
    """A metric to publish; `at` is the instant at which its second ended."""

    metric_type: str
    data: Any
    at: float


class Tally:
    """Requests since the start of the test, and what is new of them."""

    def __init__(self) -> None:
        self.total = self.failed = 0
        self.total_ms = 0.0
        self._recent = self._recent_failed = 0
        self._recent_ms: list[float] = []
        self._status = ""

    def count(self, sample: Sample) -> None:
        """Count one sample."""
        match sample.metric:
            case "http_reqs":
                self.total += 1
                self._recent += 1
                self._status = sample.tags.get("status", "")
            case "http_req_failed" if sample.value:
                self.failed += 1
                self._recent_failed += 1
            case "http_req_duration":
                self._recent_ms.append(sample.value)
                self.total_ms += sample.value

    def take(self, seconds: float) -> dict[str, Any]:
        """Return the fields that `system` metrics and rows of requests share, and begin the next second."""
        recent, failed, times = self._recent, self._recent_failed, self._recent_ms
        self._recent, self._recent_failed, self._recent_ms = 0, 0, []
        sketch = Sketch()
        for milliseconds in times:
            sketch.add(milliseconds)
        return {
            # A shorter time says nothing about a rate per second.
            "throughput_tps": recent / seconds if seconds >= 0.5 else None,
            "requests_total": self.total,
            "requests_failed": self.failed,
            "error_rate": failed / recent if recent else None,
            "avg_response_time_ms": sum(times) / len(times) if times else None,
            "min_response_time_ms": min(times, default=None),
            "p50_response_time_ms": sketch.quantile(0.50),
            "p95_response_time_ms": sketch.quantile(0.95),
            "p99_response_time_ms": sketch.quantile(0.99),
            "max_response_time_ms": max(times, default=None),
            "response_time_total_ms": self.total_ms,
            "sketches": {"response_time_ms": sketch.encode()},
        }

    def take_row(self, key: dict[str, str], seconds: float) -> dict[str, Any]:
        """Return a row of requests, and begin the next second; `status` is that of the last answer."""
        return {**key, **self.take(seconds), "status": self._status}


class Meter:
    """Turn k6's samples into metrics by the time of each sample; k6 writes samples five times a second."""

    def __init__(self) -> None:
        self._began_at: float | None = None
        self._newest_at = 0.0
        self._all = Tally()
        self._rows: dict[tuple[str, ...], Tally] = {}
        self._errors: Counter[tuple[str, str, str]] = Counter()
        self._users: int | None = None
        self._recent_users: deque[int] = deque(maxlen=PHASE_SECONDS + 1)
        self._dropped_iterations = 0

    def count(self, sample: Sample) -> list[Timed]:
        """Count one sample; when it ends a second, return the metrics of that time."""
        ended: list[Timed] = []
        if self._began_at is None:
            self._began_at = sample.at
        if (seconds := int(sample.at - self._began_at)) >= 1:
            self._began_at += seconds
            ended = self._take(seconds, self._began_at)
        self._newest_at = max(self._newest_at, sample.at)
        match sample.metric:
            case "vus":
                self._users = int(sample.value)
            case "dropped_iterations":
                self._dropped_iterations += int(sample.value)
            case _:
                self._count_request(sample)
        return ended

    def _count_request(self, sample: Sample) -> None:
        self._all.count(sample)
        tags = sample.tags
        key = tuple(tags.get(part, "") for part in (*REQUIRED, *OPTIONAL))
        if not any(key):
            return  # a sample without tags belongs to no row
        self._rows.setdefault(key, Tally()).count(sample)
        if sample.metric == "http_req_failed" and sample.value:
            message = tags.get("error") or f"HTTP {tags.get('status', '')}"
            self._errors[key_part(key[0]), key_part(key[1]), key_part(message)] += 1

    def rest(self) -> list[Timed]:
        """Return the metrics of the samples after the last whole second."""
        if self._began_at is None:
            return []
        return self._take(self._newest_at - self._began_at, self._newest_at)

    def _take(self, seconds: float, at: float) -> list[Timed]:
        if self._users is not None:
            self._recent_users.append(self._users)
        system = {
            **self._all.take(seconds),
            "requests_successful": self._all.total - self._all.failed,
            "users": self._users,
            "dropped_iterations": self._dropped_iterations,
            "phase": self.phase,
        }
        rows = [tally.take_row(_row_key(key), seconds) for key, tally in self._rows.items()]
        errors = [
            {"name": name, "method": method, "message": message, "occurrences_total": count}
            for (name, method, message), count in self._errors.items()
        ]
        found = [Timed("system", system, at), Timed("request", rows, at), Timed("error", errors, at)]
        return [item for item in found if item.data]

    @property
    def phase(self) -> str:
        """Return whether the number of users rises, stays or falls."""
        before, now = (self._recent_users[0], self._recent_users[-1]) if self._recent_users else (0, 0)
        if abs(now - before) <= STEADY_SHARE * max(before, now) and len(self._recent_users) > PHASE_SECONDS:
            return "steady"
        return "ramp-down" if now < before else "ramp-up"


def _row_key(tags: tuple[str, ...]) -> dict[str, str]:
    """Return the parts of a row's key; optional ones only where k6 names them."""
    found = dict(zip((*REQUIRED, *OPTIONAL), tags, strict=True))
    return {part: key_part(tag) for part, tag in found.items() if tag or part in REQUIRED}


def samples(lines: Iterable[str]) -> Iterator[Sample]:
    """Yield the samples of the metrics in COUNTED; print lines that are not k6's JSON."""
    for line in lines:
        try:
            item = json.loads(line)
            if item["type"] != "Point" or item["metric"] not in COUNTED:
                continue
            data = item["data"]
            at = datetime.fromisoformat(data["time"]).timestamp()
            tags = {name: str(value) for name, value in (data.get("tags") or {}).items()}
            sample = Sample(item["metric"], float(data["value"]), at, tags)
        except (ValueError, LookupError, TypeError, AttributeError):
            print(line, end="")
        else:
            yield sample


def connect() -> Broadcaster | None:
    """Return a Broadcaster, or print why there is none and return None."""
    try:
        if not {"METRICS_URL", "METRICS_TOKEN"} <= os.environ.keys():
            raise ValueError("set METRICS_URL and METRICS_TOKEN, the address of the server and a token for it")
        return Broadcaster(source=SOURCE, url=os.environ["METRICS_URL"], token=os.environ["METRICS_TOKEN"])
    except ValueError as error:
        print(f"k6_metrics.py: nothing is published: {error}", file=sys.stderr)
        return None


def start_run(stream: Broadcaster, name: str, block: ExitStack) -> BlockRun | None:
    """Start the run that keeps the test; it ends with `block`."""
    if not name:
        return None
    try:
        return block.enter_context(stream.stress_test_run(name, tags=["k6"]))
    except RunError as error:
        print(f"k6_metrics.py: the test is not recorded: {error}", file=sys.stderr)
        return None


def main() -> None:
    """Read until k6 ends, then wait until all metrics are sent."""
    parser = argparse.ArgumentParser(description="Publish the samples of k6 that come in.")
    parser.add_argument("--record", metavar="NAME", default="", help="keep the test as a run of this name")
    options = parser.parse_args()
    # Ctrl-C reaches k6, too. k6 then ends the test in order, and its last samples and the summary are still to come.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stream, meter = connect(), Meter()
    if stream is None:
        for _ in samples(sys.stdin):
            pass  # k6 does not end until its output is read
        sys.exit(1)
    with stream, ExitStack() as block:
        run, phase = start_run(stream, options.record, block), ""

        def publish(metrics: Iterable[Timed]) -> None:
            nonlocal phase
            for metric in metrics:
                stream.broadcast(*metric)
            if run is not None and meter.phase != phase:
                phase = meter.phase
                run.phase(phase)

        for sample in samples(sys.stdin):
            publish(meter.count(sample))
        publish(meter.rest())


if __name__ == "__main__":
    main()
