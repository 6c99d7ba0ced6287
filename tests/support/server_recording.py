"""The recording of a test run by a real server, read from its SQLite file beside the server."""

import contextlib
import json
import sqlite3

from tests.support.control import SOURCE
from tests.support.stack import wait_until

NUMBERS = """
import json
from metrics_stream.models import TestRun
from metrics_stream.runs.reader import rows
run = TestRun.objects.get(slug={slug!r})
print(json.dumps([json.loads(bytes(metric.body))["data"]["n"] for metric in rows(run)]))
"""


class ServerRecording:
    """The only run in the database of a server, read beside the server."""

    def __init__(self, stack):
        self.stack = stack
        self.slug = ""

    def _column(self, name, table="testrun"):
        with contextlib.closing(sqlite3.connect(self.stack.folder / "db.sqlite3", timeout=10)) as database:
            row = database.execute(f"SELECT {name} FROM metrics_stream_{table}").fetchone()
        return row and row[0]

    @property
    def count(self):
        return self._column("metrics_recorded")

    @property
    def status(self):
        return self._column("status")

    @property
    def has_ended(self):
        return self._column("recording_ended_at") is not None

    @property
    def lost(self):
        return json.loads(self._column("lost"))

    @property
    def holder_pid(self):
        """Return the process that records; 0 while none does."""
        holder = self._column("holder", "recorderstate")
        return int(holder.split(":")[-2]) if holder else 0

    def start(self, *sources):
        chosen = [option for source in sources or (SOURCE,) for option in ("--source", source)]
        self.slug = self.stack.manage("start_run", "soak", *chosen).strip()

    def end(self):
        """End the run and wait until it is completely recorded."""
        self.stack.manage("stop_run")
        wait_until(lambda: self.has_ended, 30)

    def numbers(self):
        return json.loads(self.stack.manage("shell", "-v", "0", code=NUMBERS.format(slug=self.slug)))
