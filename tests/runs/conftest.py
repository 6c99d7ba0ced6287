"""Recorders whose steps and clock the test controls."""

import pytest

from metrics_stream.bus.bus import declare_server
from metrics_stream.conf import get_settings
from metrics_stream.runs.recorder import Recorder


@pytest.fixture
def serving():
    """Declare this process a server, so that its history accepts what it publishes."""
    declare_server()


class Clock:
    """The clock of the recorders; it stands still until the test sets `now`."""

    now = 1_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def make_recorder(clock):
    """Return a function that makes recorders; the test calls their steps."""
    made = []

    def make(name="here"):
        one = Recorder(get_settings(), name=name, clock=clock)
        made.append(one)
        one.open()
        return one

    yield make
    for one in made:
        one.close()


@pytest.fixture
def recorder(make_recorder):
    return make_recorder()
