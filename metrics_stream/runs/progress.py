"""How far the recording of one run is in the history, and what is known to be missing from it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from metrics_stream.history.accepted import LostItem, LostReport
from metrics_stream.models import TestRun

# Every page that shows a run reads the list of its losses.
MAX_LOST = 200
# So many earlier epochs are remembered: producers report what was lost with an epoch only when they publish again.
MAX_PAST_EPOCHS = 50

Loss = dict[str, Any]


class Progress:
    """The offsets that a run has reached in each epoch, and its losses; the columns `recorded_until` and `lost`."""

    def __init__(self, run: TestRun) -> None:
        """Continue from the state in the database."""
        until = run.recorded_until or {"epoch": None, "offsets": {}}
        self._epoch: str | None = until["epoch"]
        self._offsets: dict[str, int] = dict(until["offsets"])
        self._past: dict[str, dict[str, int]] = dict(until.get("past", {}))
        self._lost: list[Loss] = run.lost
        self._has_ended = run.recording_ended_at is not None
        self.uncounted: Counter[str] = Counter()
        """What was noted as lost since the writer last added it to the telemetry, by reason."""

    def offset(self, metric_type: str, epoch: str) -> int:
        """Return up to which offset of the epoch the metrics of a type were recorded or skipped."""
        return self._offsets.get(metric_type, 0) if epoch == self._epoch else 0

    def skip_to(self, metric_type: str, epoch: str, first: int, end: int, *, at: float, is_paused: bool) -> None:
        """Note that the metrics from `first` to before `end` were seen; those before `first` that were not are lost."""
        if epoch != self._epoch:
            self._enter(epoch, at, is_paused=is_paused)
        known_offset = self._offsets.get(metric_type)
        if known_offset is not None and first > known_offset and not is_paused:
            self._note_loss(metric_type, first - known_offset, "history", at)
        self._offsets[metric_type] = max(end, known_offset or 0)

    def _enter(self, epoch: str, at: float, *, is_paused: bool) -> None:
        """Enter a new epoch; what the last one had after the offsets is lost, and how much that is, producers know."""
        if self._epoch is not None:
            if not is_paused:
                for known in sorted(self._offsets):
                    self._note_loss(known, None, "epoch", at, epoch=self._epoch)
            self._past[self._epoch] = self._offsets
            for oldest in sorted(self._past)[:-MAX_PAST_EPOCHS]:
                del self._past[oldest]
        self._epoch, self._offsets = epoch, {}

    def count_lost(self, report: LostReport, items: Iterable[LostItem]) -> bool:
        """Count what is lost of the `items` of a report, which are those of this run.

        A report may be counted again, and replaces the former one of its reporter. Return False if it must wait,
        because the run is still recorded from the epoch of the report.
        """
        reached = self._past.get(report.epoch)
        if report.epoch == self._epoch:
            if not self._has_ended:
                return False
            reached = self._offsets
        elif reached is None and len(self._past) >= MAX_PAST_EPOCHS and report.epoch < min(self._past):
            return True  # it is too old to know what was recorded of it
        reached = reached or {}
        self._lost[:] = [entry for entry in self._lost if not _is_unknown(entry, report.epoch)]
        counts: defaultdict[str, int] = defaultdict(int)
        first_at: dict[str, float] = {}
        for item in items:
            after = reached.get(item.metric_type, 0)
            counts[item.metric_type] += sum(count for first, count in item.counts if first >= after)
            first_at.setdefault(item.metric_type, item.published_at)
        for metric_type, count in counts.items():
            if count:
                self._count_reported(report, metric_type, count, first_at[metric_type])
        for metric_type in counts.keys() & report.forgotten.keys():
            if report.forgotten[metric_type] > reached.get(metric_type, 0):
                # There was more than the reporter remembers.
                self._note_loss(metric_type, None, "epoch", first_at[metric_type])
        return True

    def _count_reported(self, report: LostReport, metric_type: str, count: int, at: float) -> None:
        for entry in self._lost:
            if entry.get("epoch") == report.epoch and entry["metric_type"] == metric_type:
                self.uncounted["epoch"] += count - entry["reports"].get(report.reporter, 0)
                entry["reports"][report.reporter] = count
                entry["count"] = sum(entry["reports"].values())
                return
        reports = {report.reporter: count}
        self._note_loss(metric_type, count, "epoch", at, epoch=report.epoch, reports=reports)

    def _note_loss(self, metric_type: str, count: int | None, reason: str, at: float, **more: Any) -> None:
        self.uncounted[reason] += count or 0
        entry = {"at": _to_iso(at), "metric_type": metric_type, "count": count, "reason": reason, **more}
        if len(self._lost) < MAX_LOST:
            self._lost.append(entry)
            return
        for earlier in reversed(self._lost):
            if (earlier["metric_type"], earlier["reason"]) == (metric_type, reason):
                earlier["count"] = count and earlier["count"] and earlier["count"] + count
                return

    def columns(self) -> dict[str, Any]:
        """Return the columns of TestRun to write."""
        until: dict[str, Any] | None = None
        if self._epoch is not None:
            until = {"epoch": self._epoch, "offsets": self._offsets}
            if self._past:
                until["past"] = self._past
        return {"lost": self._lost, "recorded_until": until}


def _is_unknown(entry: Loss, epoch: str) -> bool:
    return entry.get("epoch") == epoch and entry["count"] is None


def _to_iso(seconds_since_1970: float) -> str:
    return datetime.fromtimestamp(seconds_since_1970, UTC).isoformat()
