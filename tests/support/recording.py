"""Metrics as a recorder gets them from the history, for tests of what is made of them."""

from collections.abc import Sequence
from datetime import UTC, datetime

from metrics_stream.core.metrics.catalogue import Catalogue
from metrics_stream.core.metrics.encoding import encode_metric
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.protocol.positions import HistoryBatch, Position
from metrics_stream.models import RecorderState, TestRun
from metrics_stream.runs.writer import Writer

START = 1_800_000_000.0
"""The beginning of a minute, and of an hour."""

HOLDER = "web-1:1:aaaa"

_TYPES = Catalogue().types


def metric(at: float, data=None, *, metric_type: str = "system", source: str = "web-1") -> Metric:
    """Return a metric of so many seconds after START."""
    known = {"throughput_tps": at} if data is None else data
    return encode_metric(_TYPES[metric_type], known, timestamp=START + at, source=source, max_bytes=262_144)


def start_run(slug: str = "soak", **columns) -> TestRun:
    """Return a run that has been started."""
    started_at = datetime.fromtimestamp(START, UTC)
    return TestRun.objects.create(
        **{"slug": slug, "name": slug, "status": "running", "started_at": started_at} | columns
    )


class Recording:
    """A history that counts, and a recorder's writer with the clock of the test."""

    def __init__(self, *runs: str, epoch: str = "e1") -> None:
        self.runs = runs
        self.epoch = epoch
        self.offsets: dict[str, int] = {}
        self.order = 0
        self.now = START
        RecorderState.objects.update_or_create(pk=RecorderState.ROW, defaults={"holder": HOLDER, "position": None})
        self.writer = self.new_writer()

    def new_writer(self) -> Writer:
        """Return the writer of a recorder that has just come; the one before is forgotten, as by a kill."""
        self.writer = Writer(now=lambda: self.now)
        return self.writer

    def publish(self, *metrics: Metric, at: float | None = None) -> HistoryBatch:
        """Return metrics of one type as the history has them once they are published together."""
        metric_type = metrics[0].metric_type
        self.order += 1
        first = self.offsets.get(metric_type, 0)
        self.offsets[metric_type] = first + len(metrics)
        published_at = metrics[-1].timestamp if at is None else START + at
        runs = {item.source: self.runs for item in metrics} if self.runs else {}
        return HistoryBatch(metric_type, self.epoch, first, self.order, published_at, list(metrics), runs)

    @property
    def position(self) -> Position:
        return Position(self.epoch, dict(self.offsets))

    def write(self, batches: Sequence[HistoryBatch], position: Position | None = None) -> None:
        self.writer.write(batches, position or self.position, holder=HOLDER)

    def record(self, *metrics: Metric, each: int = 1) -> None:
        """Publish metrics, so many of one type at once, and record them in one write."""
        batches = []
        pending: list[Metric] = []
        for item in metrics:
            if pending and (len(pending) == each or pending[0].metric_type != item.metric_type):
                batches.append(self.publish(*pending))
                pending = []
            pending.append(item)
        if pending:
            batches.append(self.publish(*pending))
        if metrics:
            self.now = max(item.timestamp for item in metrics)
        self.write(batches)

    def end(self, run: TestRun) -> TestRun:
        """Finish the recording of a run, and return the run as it is now."""
        self.writer.finish(run.pk)
        return TestRun.objects.get(pk=run.pk)
