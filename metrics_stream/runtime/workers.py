"""What the server processes of one `manage.py serve --workers N` tell each other of their counters: a file for each.

A file is replaced every second, so that whichever process answers `/metrics` knows of all, also while Redis is away.
The file of a process that died stays: its counters go on being part of the sum, which therefore never falls.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import msgspec
import psutil

from metrics_stream.telemetry import Sample

FOLDER_VARIABLE = "METRICS_STREAM_WORKERS_FOLDER"
"""The environment variable by which `serve` names the folder to its workers."""

# A living process writes every second. Longer, and the id belongs to another program by now.
SILENT_SECONDS = 60.0

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Sample).decode


def publish_sample(sample: Sample) -> None:
    """Tell the other processes; without workers nobody has to know."""
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder:
        return
    # The folder goes when the parent stops; a worker that is still there has nobody left to tell.
    with contextlib.suppress(OSError):
        new = Path(folder, f"{sample.pid}.new")
        new.write_bytes(_encode(sample))
        new.replace(Path(folder, f"{sample.pid}.sample"))


def other_samples(pid: int) -> list[Sample]:
    """Return the newest sample of every process but `pid`, of dead ones too."""
    folder = os.environ.get(FOLDER_VARIABLE)
    samples = []
    for path in sorted(Path(folder).glob("*.sample")) if folder else []:
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            if (sample := _decode(path.read_bytes())).pid != pid:
                samples.append(sample)
    return samples


def is_alive(sample: Sample, now: float) -> bool:
    """Return whether the process of a sample still runs; `now` is in seconds since 1970."""
    if now - sample.at > SILENT_SECONDS:
        return False
    try:
        # One that was killed stays in the process table until its parent looks after it.
        return psutil.Process(sample.pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False
