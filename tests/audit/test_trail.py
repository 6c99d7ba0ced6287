"""Notes become rows, are merged, and never wait for the database."""

import threading
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import DatabaseError
from django.utils import timezone

from metrics_stream.audit import trail
from metrics_stream.audit.trail import Action, Note, Result, Trail
from metrics_stream.models import AuditEntry

pytestmark = pytest.mark.django_db

EXPORT = Note("export", "ann", "soak.csv", "10.0.0.1", "done")
REFUSED = Note("token", "", "", "10.0.0.1", "refused")


def test_what_is_repeated_is_one_row_that_counts_on():
    own = Trail()
    for _ in range(3):
        own.note(EXPORT)
    own.note(EXPORT._replace(address="10.0.0.2"))
    own.flush()
    own.note(EXPORT)
    own.flush()
    rows = AuditEntry.objects.order_by("address").values_list("who", "what", "address", "times")
    assert list(rows) == [("ann", "soak.csv", "10.0.0.1", 4), ("ann", "soak.csv", "10.0.0.2", 1)]
    AuditEntry.objects.all().delete()
    own.note(EXPORT)
    own.flush()
    assert AuditEntry.objects.get().times == 1


def test_after_the_merging_time_a_new_row_begins(monkeypatch):
    monkeypatch.setattr(trail, "MERGED_SECONDS", 0.0)
    own = Trail()
    for _ in range(2):
        own.note(EXPORT)
        own.flush()
    assert AuditEntry.objects.count() == 2


def test_a_database_that_fails_loses_nothing_and_is_said_once(monkeypatch, caplog):
    own = Trail()

    def fail(*_, **__):
        raise DatabaseError("database is locked")

    with monkeypatch.context() as broken:
        broken.setattr(AuditEntry.objects, "bulk_create", fail)
        for _ in range(3):
            own.note(EXPORT)
            own.flush()
    own.flush()
    assert AuditEntry.objects.get().times == 3
    assert [record.getMessage() for record in caplog.records] == [
        "the audit log cannot be written; notes stay in memory meanwhile: database is locked",
        "the audit log is written again; 0 more notes had no place in memory",
    ]


def test_memory_is_bounded_and_the_rest_is_counted(monkeypatch):
    monkeypatch.setattr(trail, "MAX_PENDING", 10)
    own = Trail()
    for number in range(25):
        own.note(EXPORT._replace(what=str(number)))
    own.flush()
    assert AuditEntry.objects.filter(action="export").count() == 10
    assert AuditEntry.objects.get(action="not_noted").times == 15


def test_refusals_of_many_addresses_share_a_row(monkeypatch):
    monkeypatch.setattr(trail, "MAX_REFUSED_ADDRESSES", 3)
    own = Trail()
    for number in range(50):
        own.note(REFUSED._replace(address=f"10.0.0.{number}"))
    own.flush()
    assert AuditEntry.objects.count() == 4
    assert AuditEntry.objects.get(address="").times == 47


def test_a_note_does_not_wait_for_a_flush_that_hangs(monkeypatch):
    own, entered, leave = Trail(), threading.Event(), threading.Event()

    def hang(_):
        entered.set()
        assert leave.wait(30)

    monkeypatch.setattr(own, "_store", hang)
    own.note(EXPORT)
    own.start()
    assert entered.wait(30)
    own.note(EXPORT)
    leave.set()
    own.stop()
    assert own._pending == {}


@pytest.mark.django_db(transaction=True)
def test_a_trail_that_stops_writes_its_last_notes(monkeypatch):
    monkeypatch.setattr(trail, "FLUSH_SECONDS", 1_000.0)
    own = Trail()
    own.start()
    own.note(EXPORT)
    own.stop()
    assert AuditEntry.objects.get().who == "ann"


def test_hostile_texts_are_stored(monkeypatch):
    monkeypatch.setattr(trail._Process, "trail", Trail())
    trail.note(Action.EXPORT, "a\0b\ud800" * 200, "x" * 5_000, address="y" * 200, result=Result.DONE)
    trail.flush()
    entry = AuditEntry.objects.get()
    entry.full_clean()
    assert len(entry.who) == 200


def test_old_entries_are_pruned(settings, capsys):
    now = timezone.now()
    for days in (1, 20, 40):
        at = now - timedelta(days=days)
        AuditEntry.objects.create(action="run", result="done", first_at=at, last_at=at, times=1)
    settings.METRICS_STREAM = {"AUDIT_DAYS": 0}
    call_command("prune_history")
    settings.METRICS_STREAM = {"AUDIT_DAYS": 30}
    call_command("prune_history", "--dry-run")
    assert AuditEntry.objects.count() == 3
    call_command("prune_history")
    assert AuditEntry.objects.count() == 2
    assert "audit log: deleted 1 entries" in capsys.readouterr().out
