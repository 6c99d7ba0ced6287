"""Settings of a server that keeps nothing of the past, to be measured beside one that does."""

from project.settings import *  # noqa: F403

METRICS_STREAM = {"HISTORY_SECONDS": 0}
