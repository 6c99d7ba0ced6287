"""Settings of the test suite: the project's own, without a .env of this machine, in memory."""

import os

os.environ["DEBUG"] = "0"
os.environ["SECRET_KEY"] = "only-for-tests-and-long-enough-not-to-be-refused-0123456789"
os.environ["HTTPS_ONLY"] = "0"
os.environ["REDIS_URL"] = ""
os.environ["ALLOWED_HOSTS"] = "localhost,127.0.0.1,testserver"
os.environ["DATABASE_URL"] = "sqlite://:memory:"

from project.settings import *  # noqa: F403

STORAGES["staticfiles"]["BACKEND"] = "django.contrib.staticfiles.storage.StaticFilesStorage"  # noqa: F405
ANONYMOUS_READ = True  # what is closed is tested where it says so; beside METRICS_STREAM, which many tests replace
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

# A folder that exists: without one, the static files middleware warns, and warnings are errors here.
STATIC_ROOT = BASE_DIR / "metrics_stream" / "static"  # noqa: F405
