"""Settings of a server without a history, for comparison with one that has it."""

from project.settings import *  # noqa: F403

METRICS_STREAM = {**METRICS_STREAM, "HISTORY_SECONDS": 0}  # noqa: F405
