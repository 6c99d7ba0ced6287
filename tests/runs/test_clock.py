"""The clock of a test run is that of the database, whatever the clocks of servers say."""

from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import Value
from django.utils import timezone

from metrics_stream.models import RecorderState, TestRun
from metrics_stream.runs import clock, lifecycle
from metrics_stream.runs.lease import Lease
from tests.support.recording import publish_numbers, recorded_numbers

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("serving")]


@pytest.fixture
def skewed(monkeypatch):
    """Set the clock of this server five minutes ahead of the database's; return the database's."""
    real = timezone.now
    if connection.vendor == "sqlite":
        # SQLite has none of its own, so that of another database stands in for it.
        for module in ("lifecycle", "lease", "clock", "recorder"):
            for name in ("database_now", "database_seconds"):
                replacement = real if name == "database_now" else lambda: real().timestamp()
                monkeypatch.setattr(f"metrics_stream.runs.{module}.{name}", replacement, raising=False)
        monkeypatch.setattr("metrics_stream.runs.lifecycle.database_now_within", lambda: Value(real()))
    monkeypatch.setattr(timezone, "now", lambda: real() + timedelta(minutes=5))
    return real


def test_a_run_starts_lives_and_ends_by_the_clock_of_the_database(skewed):
    before = skewed()
    run = lifecycle.start("soak", watched=True)
    assert lifecycle.keep_alive(run)
    stopped = lifecycle.stop(run)
    alive_at = TestRun.objects.get().alive_at
    assert before - timedelta(seconds=1) < run.started_at <= alive_at <= stopped.ended_at
    assert stopped.ended_at < skewed() + timedelta(seconds=1)


def test_a_run_that_ends_by_a_clock_that_was_set_back_ends_at_its_start():
    run = lifecycle.start("soak")
    stopped = lifecycle.stop(run, ended_at=run.started_at - timedelta(minutes=5))
    assert stopped.ended_at == run.started_at


def test_a_lease_is_renewed_by_the_clock_of_the_database(skewed):
    lease = Lease("here", lambda: 0.0)
    assert lease.take() is not None
    lease.renew()
    assert abs(RecorderState.objects.get().renewed_at - skewed()) < timedelta(seconds=5)
    # A server whose clock is ahead does not take a lease for abandoned.
    assert Lease("there", lambda: 0.0).take() is None


def test_a_skewed_server_records_what_a_history_did_not_know_the_run_of(skewed, recorder):
    run = lifecycle.start("soak")
    publish_numbers(1)
    recorder.step()
    assert recorded_numbers(run) == [1]


def test_the_clock_goes_on_within_a_transaction():
    assert clock.database_now() <= clock.database_now()
    assert abs(clock.database_seconds() - timezone.now().timestamp()) < 5
