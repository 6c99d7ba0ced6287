"""Settings of the test suite with the PostgreSQL that POSTGRESQL_URL names as database."""

import os

from tests.settings import *  # noqa: F403

DATABASES = {"default": env.db_url_config(os.environ["POSTGRESQL_URL"])}  # noqa: F405
