"""The project's settings as in production, with a separate folder for the static files."""

import os

from project.settings import *  # noqa: F403  the project's settings, with two differences

STATIC_ROOT = os.environ["STATIC_ROOT"]
