"""A block that is a test run, whatever keeps the run: what is said how often, and what becomes of it when it fails."""

import logging
from types import SimpleNamespace

import pytest

from metrics_stream.broadcast import run_block
from metrics_stream.broadcast.run_block import RunBlock
from metrics_stream.core.errors import RunError, RunOverError, RunUnavailableError
from metrics_stream.core.formats import runs as run_requests
from metrics_stream.runs import lifecycle as runs
from tests.support.programs import messages
from tests.support.stack import wait_until

RUN = SimpleNamespace(slug="soak-1")


class Kept:
    """Keeps a run in a list of what was asked; `answers` are raised, one after the other, where they are errors."""

    alive_seconds = 0.005

    def __init__(self, *, alive=(), stop=()):
        self.alive = list(alive)
        self.stops = list(stop)
        self.asked = []

    def start(self):
        return RUN

    def keep_alive(self):
        self.asked.append("alive")
        if self.alive and (answer := self.alive.pop(0)):
            raise answer

    def stop(self, status, note):
        self.asked.append((status, note))
        if self.stops and (answer := self.stops.pop(0)):
            raise answer

    def close(self):
        self.asked.append("close")


@pytest.fixture
def log(log, monkeypatch):
    """The log, in tests that do not wait before they call again."""
    monkeypatch.setattr(run_block, "RUN_RETRY_SECONDS", 0.001)
    return log


def run(kept, *, until=lambda: True):
    with RunBlock(kept, flush=lambda: kept.asked.append("flush")):
        wait_until(until, 5)
    return [word for word in kept.asked if word != "alive"]


def test_all_has_left_before_the_end_is_said(log):
    assert run(Kept()) == ["flush", ("completed", ""), "close"]
    assert messages(log) == []


def test_an_outage_is_logged_once_and_so_is_its_end(log):
    away = RunUnavailableError("the server is away")
    kept = Kept(alive=[None, away, away, away, None, None])
    assert run(kept, until=lambda: not kept.alive)[1] == ("completed", "")
    assert messages(log) == [
        "the test run soak-1 cannot be kept alive: the server is away",
        "the test run soak-1 is kept alive again",
    ]


@pytest.mark.parametrize("error", [RunOverError("it has ended"), RunError("the token is unknown")])
def test_what_cannot_be_kept_alive_any_more_is_not_asked_again_and_its_end_is_said(error, log):
    kept = Kept(alive=[error])
    assert run(kept, until=lambda: kept.asked) == ["flush", ("completed", ""), "close"]
    assert kept.asked.count("alive") == 1
    assert messages(log) == [f"the test run soak-1 is no longer kept alive: {error}"]


def test_the_end_is_said_again_until_it_is_heard(log):
    away = RunUnavailableError("the server is away")
    assert run(Kept(stop=[away, away, None])) == ["flush", *[("completed", "")] * 3, "close"]
    assert messages(log) == []


def test_an_end_that_nobody_hears_is_logged(log, monkeypatch):
    monkeypatch.setattr(run_block, "STOP_SECONDS", 0.0)
    run(Kept(stop=[RunUnavailableError("the server is away")]))
    assert messages(log) == ["the end of the test run soak-1 could not be stored: the server is away"]


def test_an_end_that_is_refused_is_logged_and_one_that_comes_too_late_is_no_error(log):
    run(Kept(stop=[RunError("the token is unknown")]))
    assert messages(log) == ["the end of the test run soak-1 was not stored: the token is unknown"]
    log.clear()
    assert run(Kept(stop=[RunOverError("it has ended")])) == ["flush", ("completed", ""), "close"]
    assert [record.levelname for record in log.records if record.levelno > logging.INFO] == []


def test_a_block_ends_as_runs_may_end():
    assert set(run_requests.ENDINGS) == set(runs.ENDED)
