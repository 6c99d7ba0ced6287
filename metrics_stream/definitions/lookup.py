"""Metric types for programs that publish over the channel layer: found in the database, or created there.

Such a program may have no database, or start before Django is set up; it then publishes the types of the settings.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from django.apps import apps

from metrics_stream.core.lru import LruDict

# The first metric of a new type waits for the database for this long at most.
LOOK_UP_SECONDS = 2.0
# How often the same unknown type is looked up, and declared types are read again.
AGAIN_SECONDS = 2.0
# A program that makes up types without end is mistaken.
MAX_CREATED = 20

MAX_REFUSED = 1_000


class _Program:
    """What this program has looked up."""

    created = 0
    refused: LruDict[str, tuple[float, str]] = LruDict(MAX_REFUSED)
    read_again_at = 0.0


def learn_type(slug: str) -> str:
    """Have the catalogue of this process know a type, and create it if it does not exist; return why it does not know.

    It may be called in any thread, also where an event loop runs, and takes LOOK_UP_SECONDS at most.
    """
    now = time.monotonic()
    known = _Program.refused.get(slug)
    if known is not None and now < known[0] + AGAIN_SECONDS:
        return known[1]
    if not apps.ready:
        return "those of the database are known once Django is set up"
    reasons = ["the database did not say in time whether it exists"]

    def look_up() -> None:
        try:
            reasons[0] = _find_or_create(slug)
        except Exception as error:  # a program without a database gets errors of many kinds
            reasons[0] = f"the database cannot be asked for others: {str(error).partition(chr(10))[0]}"

    _start(look_up).join(LOOK_UP_SECONDS)
    if reasons[0]:
        _Program.refused.put(slug, (now, reasons[0]))
    return reasons[0]


def _find_or_create(slug: str) -> str:
    from metrics_stream.definitions.creation import create_types
    from metrics_stream.models.known_types import read_definitions, type_exists

    read_definitions()
    if type_exists(slug):
        return ""
    if _Program.created >= MAX_CREATED:
        return f"this program has created {MAX_CREATED} metric types, which is the limit"
    reason = create_types({slug: ()}).get(slug, "")
    _Program.created += not reason
    return reason


def keep_up() -> None:
    """Read the declared types again in the background, if that is due: one that is published may have got a key."""
    now = time.monotonic()
    if now >= _Program.read_again_at and apps.ready:
        _Program.read_again_at = now + AGAIN_SECONDS
        _start(_read_again)


def _read_again() -> None:
    from django.db import DatabaseError

    from metrics_stream.models.known_types import read_definitions

    try:
        read_definitions()
    except DatabaseError:  # what is known stays
        return


def _start(work: Callable[[], None]) -> threading.Thread:
    """Start a thread for a query, which Django refuses where an event loop runs."""

    def run() -> None:
        from django.db import connections

        try:
            work()
        finally:
            connections.close_all()

    thread = threading.Thread(target=run, name="metrics-types", daemon=True)
    thread.start()
    return thread
