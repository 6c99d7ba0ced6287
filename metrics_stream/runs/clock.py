"""The one clock of test runs: the database's. Servers and programs may have others."""

from __future__ import annotations

from datetime import datetime

from django.db import connection, models
from django.utils import timezone


def database_now() -> datetime:
    """Return the time by the clock of the database, also within a transaction."""
    if connection.vendor != "postgresql":
        # SQLite has no clock but that of this machine.
        return timezone.now()
    with connection.cursor() as cursor:
        # Not `now()`, which is the start of the transaction.
        cursor.execute("SELECT clock_timestamp()")
        [at] = cursor.fetchone()
    found: datetime = at
    return found


def database_now_within() -> models.Func | models.Value:
    """Return the same as an expression, for a statement that then needs no other one."""
    if connection.vendor != "postgresql":
        return models.Value(timezone.now())
    return models.Func(function="clock_timestamp", output_field=models.DateTimeField())


def database_seconds() -> float:
    """Return the same in seconds since 1970."""
    return database_now().timestamp()
