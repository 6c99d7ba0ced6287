"""Phases of runs: marked while the run goes on, or set at once."""

import re
from datetime import timedelta

import pytest

from metrics_stream.core.errors import RunError, RunOverError
from metrics_stream.core.run_values import MAX_PHASES, Phase
from metrics_stream.models import RunPhase, TestRun
from metrics_stream.runs import lifecycle, phases

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_phase_ends_the_one_before():
    run = lifecycle.start("soak")
    phases.mark(run, "ramp")
    ramp, steady = phases.mark(run, "steady")
    assert (ramp.name, steady.name, steady.ends_at) == ("ramp", "steady", None)
    assert run.started_at <= ramp.starts_at < ramp.ends_at == steady.starts_at
    [*_, ended] = phases.mark(run, None)
    assert ended.starts_at < ended.ends_at
    names = [phase.name for phase in phases.mark(run, "ramp")]
    assert names == ["ramp", "steady", "ramp"]


def test_a_phase_that_is_marked_again_goes_on():
    run = lifecycle.start("soak")
    once = phases.mark(run, "steady")
    assert phases.mark(run, "steady") == once
    assert phases.mark(run, None) == phases.mark(run, None)


def test_a_late_mark_begins_when_it_says_but_not_before_the_phase_before():
    run = lifecycle.start("soak")
    TestRun.objects.update(started_at=run.started_at - timedelta(seconds=100))
    [ramp] = phases.mark(run, "ramp", seconds_ago=60)
    [_, steady] = phases.mark(run, "steady", seconds_ago=20)
    assert 39 < (steady.starts_at - ramp.starts_at).total_seconds() < 41
    [*_, spike] = phases.mark(run, "spike", seconds_ago=90)
    assert timedelta() < spike.starts_at - steady.starts_at < timedelta(seconds=1)
    [first] = phases.mark(lifecycle.start("other"), "ramp", seconds_ago=60)
    assert first.starts_at == TestRun.objects.get(name="other").started_at


def test_a_run_ends_its_last_phase():
    run = lifecycle.start("soak")
    phases.mark(run, "steady")
    ended = lifecycle.stop(run)
    assert [phase.ends_at for phase in phases.of(run)] == [ended.ended_at]


def test_a_run_that_ends_at_the_last_sign_of_life_has_no_phase_after_it():
    run = lifecycle.start("soak", watched=True)
    phases.mark(run, "steady")
    begun = RunPhase.objects.get()
    TestRun.objects.update(started_at=begun.starts_at - timedelta(seconds=50))
    RunPhase.objects.create(run=run, name="late", starts_at=begun.starts_at + timedelta(seconds=30))
    end = begun.starts_at + timedelta(seconds=10)
    lifecycle.stop(run, "failed", ended_at=end)
    assert phases.of(run) == [Phase("steady", begun.starts_at, end)]


def test_a_program_that_marks_a_phase_is_alive():
    run = lifecycle.start("soak", watched=True)
    phases.mark(run, "steady")
    assert TestRun.objects.get().alive_at > run.alive_at
    by_hand = lifecycle.start("by hand")
    phases.mark(by_hand, "steady")
    assert TestRun.objects.get(pk=by_hand.pk).alive_at is None


def test_what_is_not_allowed_is_refused():
    run = lifecycle.start("soak")
    with pytest.raises(RunError, match="the name of a phase is ''; allowed: 1 to 60"):
        phases.mark(run, "")
    RunPhase.objects.bulk_create(
        RunPhase(run=run, name="x", starts_at=run.started_at + timedelta(microseconds=n)) for n in range(MAX_PHASES)
    )
    with pytest.raises(RunError, match="has 100 phases; allowed: at most 100"):
        phases.mark(run, "one more")
    lifecycle.stop(run)
    with pytest.raises(RunOverError, match="has already ended: it is completed"):
        phases.mark(run, "late")
    TestRun.objects.all().delete()
    with pytest.raises(RunOverError, match="no longer exists"):
        phases.mark(run, "late")
    assert not RunPhase.objects.exists()


def test_all_phases_are_set_at_once():
    run = lifecycle.stop(lifecycle.start("soak"))
    TestRun.objects.update(started_at=run.ended_at - timedelta(minutes=10))
    begin = run.ended_at - timedelta(minutes=10)
    middle = begin + timedelta(minutes=5)
    expected = [Phase("ramp", begin, middle), Phase("steady", middle, run.ended_at)]
    assert phases.put(run, [Phase("steady", middle), Phase("ramp", begin, middle)]) == expected
    assert phases.put(run, expected[:1]) == expected[:1] == phases.of(run)
    assert phases.put(run, []) == []
    with pytest.raises(RunError, match="the phase 'x' is outside its run"):
        phases.put(run, [Phase("x", begin - timedelta(minutes=5), begin)])
    planned = TestRun.objects.create(slug="planned", name="planned")
    with pytest.raises(RunError, match=re.escape("'planned' is not_started; allowed: a run that has started")):
        phases.put(planned, [])
