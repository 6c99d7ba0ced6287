"""The project's settings as a server in production has them, with a folder of its own for the static files."""

import os

from project.settings import *  # noqa: F403  what the project has, with two differences

STATIC_ROOT = os.environ["STATIC_ROOT"]
