"""Notes reads and changes of rights in memory, and writes them to the audit log in a thread of its own.

`note` neither waits nor asks the database, so a page is never held up by it. What one reader repeats within
MERGED_SECONDS becomes one row with a count. A row stands in the database after FLUSH_SECONDS; a server that is killed
loses what it noted since then. While the database does not answer, notes stay in memory, at most MAX_PENDING; further
ones are counted, and the count becomes a row.
"""

from __future__ import annotations

import atexit
import logging
import threading
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import DatabaseError, close_old_connections, transaction
from django.db.models import F
from django.http import HttpRequest
from django.utils import timezone

from metrics_stream.conf import StreamSettings
from metrics_stream.core.lru import LruDict
from metrics_stream.models import AuditEntry
from metrics_stream.models.audit import MAX_ADDRESS, MAX_WHAT, MAX_WHO

logger = logging.getLogger(__name__)

current_request: ContextVar[HttpRequest | None] = ContextVar("current_request", default=None)
"""The request of a person with a session, during which rights may change."""

Action = AuditEntry.Action
Result = AuditEntry.Result

MERGED_SECONDS = 300.0
FLUSH_SECONDS = 2.0
MAX_PENDING = 5_000
# How long a stopping server waits for its last notes to be written.
STOP_SECONDS = 5.0
# Of so many addresses refusals are noted within MERGED_SECONDS; those of further addresses share a row.
MAX_REFUSED_ADDRESSES = 300

_BATCH_ROWS = 500


class Note(NamedTuple):
    """What is merged: the same action of the same reader, from the same address, with the same result."""

    action: str
    who: str
    what: str
    address: str
    result: str


@dataclass(slots=True)
class _Times:
    first_at: datetime
    last_at: datetime
    count: int = 1


class Trail:
    """The notes of one process that are not written yet, and which rows can still be counted up."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flush_lock = threading.Lock()
        self._pending: dict[Note, _Times] = {}
        self._missed = 0
        self._refused: set[str] = set()
        self._refused_since = timezone.now()
        # The id of the row of a note, and when the row began.
        self._rows: LruDict[Note, tuple[int, datetime]] = LruDict(MAX_PENDING)
        self._is_failing = False
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def note(self, note: Note, *, times: int = 1) -> None:
        """Remember a note until it is written."""
        now = timezone.now()
        with self._lock:
            if note.result == Result.REFUSED:
                note = self._with_bounded_address(note, now)
            known = self._pending.get(note)
            if known is not None:
                known.last_at, known.count = now, known.count + times
            elif len(self._pending) < MAX_PENDING:
                self._pending[note] = _Times(now, now, times)
            else:
                self._missed += times

    def _with_bounded_address(self, note: Note, now: datetime) -> Note:
        """Return the note, without its address when too many others were refused lately."""
        if (now - self._refused_since).total_seconds() > MERGED_SECONDS:
            self._refused.clear()
            self._refused_since = now
        if note.address not in self._refused and len(self._refused) >= MAX_REFUSED_ADDRESSES:
            return note._replace(address="", who="", what=f"from more than {MAX_REFUSED_ADDRESSES} addresses")
        self._refused.add(note.address)
        return note

    def flush(self) -> None:
        """Write what was noted; when the database fails, keep it."""
        with self._flush_lock:
            with self._lock:
                taken, self._pending = self._pending, {}
                missed, self._missed = self._missed, 0
            if missed:
                now = timezone.now()
                taken[Note(Action.NOT_NOTED, "", "", "", Result.DONE)] = _Times(now, now, missed)
            if not taken:
                return
            try:
                self._store(taken)
            except DatabaseError as error:
                self._keep(taken)
                if not self._is_failing:
                    reason = str(error).strip().partition("\n")[0]
                    logger.warning("the audit log cannot be written; notes stay in memory meanwhile: %s", reason)
                self._is_failing = True
            else:
                if self._is_failing:
                    logger.warning("the audit log is written again; %d more notes had no place in memory", missed)
                self._is_failing = False

    def _store(self, taken: Mapping[Note, _Times]) -> None:
        new: list[Note] = []
        with transaction.atomic():
            for note, times in taken.items():
                pk, began_at = self._rows.get(note) or (0, times.last_at)
                is_open = pk and (times.last_at - began_at).total_seconds() < MERGED_SECONDS
                # Retention may have deleted the row.
                if not is_open or not AuditEntry.objects.filter(pk=pk).update(
                    last_at=times.last_at, times=F("times") + times.count
                ):
                    new.append(note)
            rows = AuditEntry.objects.bulk_create([_row(note, taken[note]) for note in new], batch_size=_BATCH_ROWS)
        for note, row in zip(new, rows, strict=True):
            self._rows.put(note, (row.pk, row.first_at))

    def _keep(self, taken: dict[Note, _Times]) -> None:
        with self._lock:
            for note, times in self._pending.items():
                if (known := taken.get(note)) is not None:
                    known.last_at, known.count = times.last_at, known.count + times.count
                elif len(taken) < MAX_PENDING:
                    taken[note] = times
                else:
                    self._missed += times.count
            self._pending = taken

    # --- the thread ---

    @property
    def is_running(self) -> bool:
        """Whether notes are written without a call of `flush`."""
        return self._thread is not None

    def start(self) -> None:
        """Start to write what is noted."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="audit log", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write the last notes and stop."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._stopping.set()
        thread.join(STOP_SECONDS)
        if thread.is_alive():
            logger.error("the audit log could not be written within %g s; the last notes are lost", STOP_SECONDS)

    def _run(self) -> None:
        is_last = False
        while not is_last:
            is_last = self._stopping.wait(FLUSH_SECONDS)
            try:
                self.flush()
            except Exception:
                logger.exception("notes for the audit log are lost")
            finally:
                # The thread does nothing most of the time, and must not keep a connection that dies meanwhile.
                close_old_connections()


def _row(note: Note, times: _Times) -> AuditEntry:
    return AuditEntry(
        action=note.action,
        who=note.who,
        what=note.what,
        address=note.address,
        result=note.result,
        first_at=times.first_at,
        last_at=times.last_at,
        times=times.count,
    )


def _clip(text: str, most: int) -> str:
    # Databases refuse NUL and lone surrogates.
    kept = text.replace("\0", "").encode(errors="replace").decode()
    return kept[:most]


class _Process:
    """The trail of this process."""

    trail = Trail()


def address_of(request: HttpRequest | None) -> str:
    """Return the address of a request's connection; "" without a request."""
    return "" if request is None else str(request.META.get("REMOTE_ADDR") or "")


def note(action: Action, who: str, what: str = "", *, address: str = "", result: Result = Result.DONE) -> None:
    """Note what somebody did, for the audit log; it does not wait for the database.

    `who` is the name of a user or token, `what` names the object, `address` is that of the connection.
    """
    _Process.trail.note(
        Note(action.value, _clip(who, MAX_WHO), _clip(what, MAX_WHAT), _clip(address, MAX_ADDRESS), result.value)
    )


def flush() -> None:
    """Write what was noted, unless a thread does it anyway."""
    if not _Process.trail.is_running:
        _Process.trail.flush()


def start_trail() -> None:
    """Start to write the audit log in this server process, unless that has happened."""
    if not _Process.trail.is_running:
        _Process.trail.start()
        # For servers that do not report when they stop.
        atexit.register(stop_trail)


def stop_trail() -> None:
    """Write the last notes of this process, within STOP_SECONDS."""
    _Process.trail.stop()


def prune(settings: StreamSettings, *, now: datetime, dry_run: bool = False) -> int:
    """Delete entries that are older than AUDIT_DAYS; return their number."""
    if not settings.audit_days or settings.audit_days > timedelta.max.days // 2:
        return 0
    try:
        old = AuditEntry.objects.filter(last_at__lt=now - timedelta(days=settings.audit_days))
    except OverflowError:  # before the year 1
        return 0
    if dry_run:
        return old.count()
    deleted = 0
    # In parts, so that other processes can write in between.
    while keys := list(old.order_by("pk").values_list("pk", flat=True)[:_BATCH_ROWS]):
        deleted += AuditEntry.objects.filter(pk__in=keys).delete()[0]
    return deleted
