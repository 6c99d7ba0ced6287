"""The name of this program, by which people tell the producers of one source apart."""

from __future__ import annotations

import os
import socket
from functools import cache

PROGRAM_HEADER = "Metrics-Program"
"""The header in which a program that publishes over HTTP names itself."""

_host = cache(socket.gethostname)


def program_name() -> str:
    """Return host and process id, `host:123`: unique among the programs of an installation."""
    return f"{_host()}:{os.getpid()}"
