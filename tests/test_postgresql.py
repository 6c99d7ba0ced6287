"""What is stored is stored by PostgreSQL as it is by SQLite: the same tests, with a real server."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import skip_or_fail

ROOT = Path(__file__).resolve().parent.parent
TESTS = (
    *(
        "tests/runs/test_writer.py",
        "tests/runs/test_retention.py",
        "tests/models/test_dashboards.py",
        "tests/runs/test_recorder.py",
    ),
    *(
        "tests/runs/test_lifecycle.py",
        "tests/views/test_runs.py",
        "tests/access/test_decorators.py",
        "tests/api/test_metrics.py",
    ),
    "tests/api/test_runs.py",
)


def test_storage_tests_pass_on_postgresql(request):
    if importlib.util.find_spec("psycopg") is None:
        skip_or_fail("REQUIRE_POSTGRESQL", "psycopg is not installed; try python3 dev.py setup")
    url = request.getfixturevalue("postgresql_url")
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "--ds=tests.settings_postgresql", "-q", "-x", *TESTS],
        check=False,
        cwd=ROOT,
        env={**os.environ, "POSTGRESQL_URL": url},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stdout + result.stderr
