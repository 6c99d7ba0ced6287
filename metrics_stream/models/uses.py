"""When tokens and share links were last used, written in the background.

A request only notes the use. One thread writes all that was noted, so that a locked database delays no request.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from datetime import datetime

from django.db import DatabaseError, connections, models, transaction

logger = logging.getLogger(__name__)

Row = tuple[type[models.Model], int]
Start = Callable[[Callable[[], None]], None]


def _start_thread(work: Callable[[], None]) -> None:
    def run() -> None:
        try:
            work()
        finally:
            connections.close_all()

    threading.Thread(target=run, name="metrics-uses", daemon=True).start()


class Uses:
    """The uses that are not written yet, the newest of each token or link. Safe to use from several threads."""

    def __init__(self, start: Start = _start_thread) -> None:
        """`start` runs a function in the background."""
        self._start = start
        self.forget()

    def forget(self) -> None:
        """Drop what is not written; a forked child has neither its parent's thread nor its lock."""
        self._lock = threading.Lock()
        self._pending: dict[Row, datetime] = {}
        self._is_writing = False

    def note(self, row: Row, at: datetime) -> None:
        """Have the time of a use stored soon; what fails is tried again with the next use of any row."""
        with self._lock:
            self._pending[row] = at
            if self._is_writing:
                return
            self._is_writing = True
        self._start(self._write)

    def _write(self) -> None:
        while True:
            with self._lock:
                taken, self._pending = self._pending, {}
                self._is_writing = bool(taken)
            if not taken:
                return
            try:
                with transaction.atomic():
                    for (model, pk), at in taken.items():
                        # A query sends no signal: the use of a token changes no access.
                        model._default_manager.filter(pk=pk).update(last_used_at=at)
            except DatabaseError as error:
                logger.warning("uses cannot be noted yet: %s", str(error).strip().partition("\n")[0])
                with self._lock:
                    self._pending = {**taken, **self._pending}
                    self._is_writing = False
                return


of_process = Uses()
"""The uses of this process."""

os.register_at_fork(after_in_child=of_process.forget)
