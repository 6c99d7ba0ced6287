"""A block that is a test run, with any store: which calls it makes, and how it behaves when they fail."""

import logging

import pytest

from metrics_stream.broadcast import run_block, stress_test_run
from metrics_stream.broadcast.run_block import RunBlock
from metrics_stream.core.errors import RunError, RunOverError, RunUnavailableError
from metrics_stream.core.formats.runs import ENDINGS
from metrics_stream.runs import lifecycle
from tests.support.programs import messages
from tests.support.run_stores import Store
from tests.support.stack import wait_until


@pytest.fixture
def log(log, monkeypatch):
    """The log, in tests that do not wait before they call again."""
    monkeypatch.setattr(run_block, "RUN_RETRY_SECONDS", 0.001)
    return log


def run(store, *, until=lambda: True):
    with RunBlock(store, flush=lambda: store.calls.append("flush")):
        wait_until(until, 5)
    return [word for word in store.calls if word != "alive"]


def test_everything_is_flushed_before_the_run_ends(log):
    assert run(Store()) == ["flush", ("completed", ""), "close"]
    assert messages(log) == []


def test_an_outage_is_logged_once_and_so_is_its_end(log):
    away = RunUnavailableError("the server is away")
    store = Store(alive=[None, away, away, away, None, None])
    assert run(store, until=lambda: not store.alive)[1] == ("completed", "")
    assert messages(log) == [
        "the test run soak-1 cannot be kept alive: the server is away",
        "the test run soak-1 is kept alive again",
    ]


@pytest.mark.parametrize("error", [RunOverError("it has ended"), RunError("the token is unknown")])
def test_a_run_that_cannot_be_kept_alive_is_still_ended(error, log):
    store = Store(alive=[error])
    assert run(store, until=lambda: store.calls) == ["flush", ("completed", ""), "close"]
    assert store.calls.count("alive") == 1
    assert messages(log) == [f"the test run soak-1 is no longer kept alive: {error}"]


def test_the_end_is_repeated_until_it_is_stored(log):
    away = RunUnavailableError("the server is away")
    assert run(Store(stop=[away, away, None])) == ["flush", *[("completed", "")] * 3, "close"]
    assert messages(log) == []


def test_an_end_that_cannot_be_keptd_is_logged(log, monkeypatch):
    monkeypatch.setattr(run_block, "RUN_STOP_SECONDS", 0.0)
    run(Store(stop=[RunUnavailableError("the server is away")]))
    assert messages(log) == ["the end of the test run soak-1 could not be stored: the server is away"]


def test_a_refused_end_is_logged_and_a_late_one_is_no_error(log):
    run(Store(stop=[RunError("the token is unknown")]))
    assert messages(log) == ["the end of the test run soak-1 was not stored: the token is unknown"]
    log.clear()
    assert run(Store(stop=[RunOverError("it has ended")])) == ["flush", ("completed", ""), "close"]
    assert [record.levelname for record in log.records if record.levelno > logging.INFO] == []


def test_a_block_ends_as_runs_may_end():
    assert set(ENDINGS) == set(lifecycle.ENDED)


def test_an_argument_that_does_not_exist_is_named_with_those_that_do():
    words = "unknown argument 'tag' of a test run; allowed: name, sources, target_tps, tags"
    with pytest.raises(TypeError, match=words):
        stress_test_run("soak", tag="x")
