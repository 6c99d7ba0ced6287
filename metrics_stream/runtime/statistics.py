"""What a server process reports about itself: samples of its counters, the `stream` metric, and answers to questions.

The sample goes to the other server processes and to `/metrics`, the snapshot to `stream_stats`, the admin and
`/api/stats/`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from typing import Any

import psutil

from metrics_stream.bus.bus import Bus
from metrics_stream.bus.messages import StatsRequest
from metrics_stream.conf import StreamSettings
from metrics_stream.core.delivery.explanation import Question
from metrics_stream.core.errors import BusError
from metrics_stream.core.formatting import format_timestamp
from metrics_stream.core.metrics.catalogue import STREAM
from metrics_stream.core.metrics.encoding import encode_metric
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.protocol.positions import Position
from metrics_stream.hub.hub import Hub
from metrics_stream.hub.inspection import answer_question, describe_all
from metrics_stream.observation.faults import FaultKind, of_process
from metrics_stream.program import program_name
from metrics_stream.runtime import workers
from metrics_stream.runtime.bus_watch import BusWatch
from metrics_stream.runtime.clocks import Clocks
from metrics_stream.runtime.conflicts import SourceWatch
from metrics_stream.runtime.health import health, health_of_faults
from metrics_stream.runtime.latency_watch import LatencyWatch
from metrics_stream.runtime.publishing import Publishing
from metrics_stream.telemetry import Sample, Telemetry

logger = logging.getLogger(__name__)

# How often the process takes a sample: for the `stream` metric and for the other server processes.
SAMPLE_SECONDS = 1.0
# A process stays full, as far as its log is concerned, while a place is free for less than this.
FULL_SECONDS = 5.0
# Often enough to notice a loop that is late by a tenth of a second, rarely enough to cost nothing.
LAG_PROBE_SECONDS = 0.1


class Statistics:
    """The statistics of one process; `publish_health` and `measure_lag` are its background tasks."""

    def __init__(
        self,
        settings: StreamSettings,
        telemetry: Telemetry,
        *,
        bus: Bus,
        publishing: Publishing,
        hub: Hub,
        bus_watch: BusWatch,
        clocks: Clocks,
        source_watch: SourceWatch,
    ) -> None:
        self._settings = settings
        self._telemetry = telemetry
        self._bus = bus
        self._publishing = publishing
        self._hub = hub
        self._bus_watch = bus_watch
        self._clocks = clocks
        self._source_watch = source_watch
        self._loop = asyncio.get_running_loop()
        self._process = psutil.Process()

    async def measure_lag(self) -> None:
        """Observe how late the event loop is, until cancelled."""
        latency_watch = LatencyWatch(self._settings.latency_seconds)
        while True:
            due = self._loop.time() + LAG_PROBE_SECONDS
            await asyncio.sleep(LAG_PROBE_SECONDS)
            lag = max(0.0, self._loop.time() - due)
            self._telemetry.loop_lag_seconds.observe(lag)
            latency_watch.observe(lag, "the event loop was blocked for")

    async def publish_health(self) -> None:
        """Write a sample for the other processes and publish a `stream` metric each SAMPLE_SECONDS, until cancelled."""
        before = self.sample()
        workers.publish_sample(before)
        while True:
            await asyncio.sleep(SAMPLE_SECONDS)
            self._note_clients()
            now = self.sample()
            workers.publish_sample(now)
            data = health(now, before)
            before = now
            # What the hub has heard is known, even if its producer says nothing more: see failover.lua.
            self._bus.note_reached(Position(self._hub.epoch, dict(self._hub.offsets)))
            try:
                await self._publishing.publish_own(self._encode(data, now))
            except BusError:
                # At least its own viewers learn what is wrong. It is another metric, with a time of its own, since the
                # first one may have reached the history nevertheless.
                now = self.sample()
                self._hub.publish([self._encode({**data, **health_of_faults(now)}, now)])

    def _encode(self, data: dict[str, Any], sample: Sample) -> Metric:
        return encode_metric(
            self._settings.catalogue().types[STREAM.slug],
            data,
            timestamp=sample.at,
            source=sample.process,
            max_bytes=self._settings.max_metric_bytes,
        )

    def _note_clients(self) -> None:
        if (problem := self.find_clients_problem()) is not None:
            of_process.begin(FaultKind.CLIENTS, problem)
        else:
            of_process.end(FaultKind.CLIENTS, quiet_seconds=FULL_SECONDS)

    def find_clients_problem(self) -> str | None:
        """Return that no more clients are accepted, None if they are."""
        clients, limit = len(self._hub.clients), self._settings.max_clients
        return f"{clients} of {limit} are connected" if clients >= limit else None

    def sample(self) -> Sample:
        """Return the counters and the state of this process; later counting does not change the result."""
        return Sample(
            process=program_name(),
            pid=os.getpid(),
            at=time.time(),
            telemetry=self._telemetry.copy(),
            views=self._hub.view_count,
            bus_live=self._bus_watch.find_problem() is None and self._bus_watch.state == "live",
            cpu_seconds=time.process_time(),
            memory_bytes=self._process.memory_info().rss,
            clock_skew_seconds=dict(self._clocks.skew_seconds),
            sources_with_wrong_clock=len(self._clocks.sources.wrong()),
            sources_with_several_producers=len(self._source_watch.current()),
            faults={fault.kind: fault.message for fault in of_process.current()},
        )

    def samples(self) -> tuple[list[Sample], list[Sample]]:
        """Return the samples of all server processes: those that are alive, this one first, and those that are gone."""
        own = self.sample()
        # The process that answers the next request must not know less.
        workers.publish_sample(own)
        others = workers.other_samples(own.pid)
        alive = [sample for sample in others if workers.is_alive(sample, own.at)]
        return [own, *alive], [sample for sample in others if sample not in alive]

    def snapshot(self) -> dict[str, Any]:
        """Return the statistics of this process and of each of its clients, as plain JSON-able data."""
        return {
            "process": program_name(),
            "bus": "shared" if self._bus.is_shared else "in-memory",
            **self._telemetry.snapshot(),
            "started_at": format_timestamp(self._telemetry.started_at),
            "bus_state": self._bus_watch.state,
            "clock_skew_seconds": dict(self._clocks.skew_seconds),
            "sources_with_wrong_clock": self._clocks.sources.wrong(),
            "sources_with_several_producers": [conflict._asdict() for conflict in self._source_watch.current()],
            "views": self._hub.view_count,
            "metric_types": sorted(self._hub.interest),
            "clients": describe_all(self._hub.clients.values(), self._loop.time()),
        }

    async def reply(self, request: StatsRequest) -> None:
        """Answer a request over the bus; log a failure instead of raising it, so that the listener continues."""
        try:
            answer = self.snapshot() if request.question is None else self.answer(request.question)
            if answer is not None:
                await self._bus.reply_stats(request, answer)
        except BusError:
            pass
        except Exception:
            logger.exception("a request for statistics could not be answered")

    def answer(self, question: Question) -> dict[str, Any] | None:
        """Return the description of a client, and why it gets the metric in question; None if it is not connected here.

        `explanation` is None when the question names no metric type.
        """
        client = self._hub.clients.get(question.client_id)
        if client is None:
            return None
        [described] = describe_all([client], self._loop.time())
        answer: dict[str, Any] = {"process": program_name(), "client": described, "explanation": None}
        if question.metric_type:
            answer["explanation"] = answer_question(
                question,
                self._hub,
                now=self._loop.time(),
                catalogue=self._settings.catalogue(),
                bus_problem=self._bus_watch.find_problem(),
                slow_after_seconds=self._settings.slow_client_seconds,
            )
        return answer
