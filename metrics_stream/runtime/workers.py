"""How the processes of one `manage.py serve --workers N` share their counters: a file for each process.

Each process replaces its file every second, so that the one that answers `/metrics` knows all counters, also while
Redis is away. The file of a process that died stays: its counters remain part of the sum, which therefore never falls.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import msgspec
import psutil

from metrics_stream.telemetry import Sample

FOLDER_VARIABLE = "STREAM_WORKERS_FOLDER"
"""The environment variable with which `serve` passes the folder to its workers."""

# A living process writes every second. If a file is older than this, its process id belongs to another program by now.
MAX_SAMPLE_SECONDS = 60.0

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Sample).decode


def publish_sample(sample: Sample) -> None:
    """Write the sample for the other processes; without workers do nothing."""
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder:
        return
    # The parent removes the folder when it stops; for a worker that still runs there is nothing left to share.
    with contextlib.suppress(OSError):
        new = Path(folder, f"{sample.pid}.new")
        new.write_bytes(_encode(sample))
        new.replace(Path(folder, f"{sample.pid}.sample"))


def other_samples(pid: int) -> list[Sample]:
    """Return the newest sample of every process except `pid`, including dead ones."""
    folder = os.environ.get(FOLDER_VARIABLE)
    samples = []
    for path in sorted(Path(folder).glob("*.sample")) if folder else []:
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            if (sample := _decode(path.read_bytes())).pid != pid:
                samples.append(sample)
    return samples


def is_alive(sample: Sample, now: float) -> bool:
    """Return whether the process of a sample still runs; `now` is in seconds since 1970."""
    if now - sample.at > MAX_SAMPLE_SECONDS:
        return False
    try:
        # A process that was killed stays in the process table until its parent collects it.
        return psutil.Process(sample.pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False
