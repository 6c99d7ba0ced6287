"""The settings of the server that is watched: as deployed, with addresses that show what it holds."""

from benchmarks.as_deployed import *  # noqa: F403  the settings as deployed, with one difference

ASGI_APPLICATION = "benchmarks.soak.server.application"
