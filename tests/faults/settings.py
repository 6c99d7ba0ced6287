"""Settings of the servers that the fault tests start: the project's, with METRICS_STREAM from the test."""

import functools
import json
import os

from project.settings import *  # noqa: F403

ASGI_APPLICATION = "tests.faults.application.application"
METRICS_STREAM = {**METRICS_STREAM, **json.loads(os.environ.get("FAULTS_METRICS_STREAM", "{}"))}  # noqa: F405

if _ping_seconds := float(os.environ.get("FAULTS_PING_SECONDS") or 0):
    import uvicorn

    # `serve` leaves the pings to uvicorn; its twenty seconds are too long for a quick test.
    uvicorn.run = functools.partial(uvicorn.run, ws_ping_interval=_ping_seconds, ws_ping_timeout=_ping_seconds)
