"""The lease: one process records, and another takes over when it is silent."""

from datetime import timedelta

import pytest
from django.utils import timezone

from metrics_stream.core.errors import LeaseLostError
from metrics_stream.models import RecorderState
from metrics_stream.runs import lifecycle
from tests.support.recording import publish_numbers, recorded_numbers

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("serving")]


def test_only_one_recorder_records(make_recorder):
    first, second = make_recorder("first"), make_recorder("second")
    run = lifecycle.start("soak")
    for number in range(3):
        publish_numbers(number)
        first.step()
        second.step()
    assert (first.records, second.records) == (True, False)
    assert recorded_numbers(run) == [0, 1, 2]
    assert RecorderState.objects.get().holder.startswith("first:")


def test_another_recorder_takes_over_when_the_first_is_silent(make_recorder, clock):
    first, second = make_recorder("first"), make_recorder("second")
    run = lifecycle.start("soak")
    publish_numbers(1)
    first.step()
    publish_numbers(2)
    second.step()
    clock.now += 4.9
    second.step()
    assert not second.records
    clock.now += 0.1
    second.step()
    assert second.records
    assert recorded_numbers(run) == [1, 2]
    # The first one was only slow, and continues.
    publish_numbers(3)
    first.step()
    assert not first.records
    second.step()
    assert recorded_numbers(run) == [1, 2, 3]


def test_a_recorder_that_loses_its_lease_during_a_step_writes_nothing(recorder, monkeypatch):
    run = lifecycle.start("soak")
    publish_numbers(1)
    recorder.step()
    publish_numbers(2)
    told = recorder._correct_active_runs

    def lose(history):
        told(history)
        RecorderState.objects.update(holder="another")

    monkeypatch.setattr(recorder, "_correct_active_runs", lose)
    with pytest.raises(LeaseLostError, match="'another' does"):
        recorder.step()
    assert recorded_numbers(run) == [1]
    assert not recorder.records


def test_two_processes_of_one_name_do_not_both_record(make_recorder):
    first, second = make_recorder("same:1"), make_recorder("same:1")
    first.step()
    second.step()
    assert (first.records, second.records) == (True, False)


def test_an_abandoned_lease_is_taken_at_once(make_recorder):
    first, second = make_recorder("first"), make_recorder("second")
    first.step()
    RecorderState.objects.update(renewed_at=timezone.now() - timedelta(hours=1))
    second.step()
    assert second.records


def test_a_live_recorder_keeps_its_lease_while_nothing_is_recorded(make_recorder, clock):
    first, second = make_recorder("first"), make_recorder("second")
    for _ in range(20):
        first.step()
        second.step()
        clock.now += 1
    assert (first.records, second.records) == (True, False)
