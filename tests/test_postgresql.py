"""The storage tests pass on a real PostgreSQL as they do on SQLite."""

import importlib.util
import itertools
import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import skip_or_fail

ROOT = Path(__file__).resolve().parent.parent
# Tests of code that writes to the database or depends on how it orders, locks and compares.
PATTERNS = (
    "runs/test_*.py",
    "api/test_*.py",
    "models/test_dashboards*.py",
    "views/test_runs*.py",
    "access/test_decorators*.py",
    "access/test_makers.py",
    "models/test_derived_rights_migration.py",
)


def test_storage_tests_pass_on_postgresql(request):
    if importlib.util.find_spec("psycopg") is None:
        skip_or_fail("REQUIRE_POSTGRESQL", "psycopg is not installed; python3 dev.py test installs it")
    url = request.getfixturevalue("postgresql_url")
    tests = {pattern: sorted((ROOT / "tests").glob(pattern)) for pattern in PATTERNS}
    assert all(tests.values()), "a pattern finds no test"
    command = [sys.executable, "-m", "pytest", "--ds=tests.settings_postgresql", "-q", "-x"]
    result = subprocess.run(
        [*command, *itertools.chain(*tests.values())],
        check=False,
        cwd=ROOT,
        env={**os.environ, "POSTGRESQL_URL": url},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stdout + result.stderr
