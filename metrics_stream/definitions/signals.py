"""Counts changes of metric types and presets, and tells the server processes; `apps` connects these signals."""

from __future__ import annotations

import contextlib
from typing import Any

from django.db import DatabaseError, transaction
from django.db.models.signals import post_delete, post_save

from metrics_stream.bus.messages import DefinitionsChanged
from metrics_stream.bus.processes import tell_servers
from metrics_stream.models import ClientPreset, MetricTypeDeclaration, MetricTypeField
from metrics_stream.models.installation import count_change_of_definitions
from metrics_stream.models.known_types import read_definitions

_UID = "metrics_stream.definitions"


def _tell() -> None:
    """Read what has changed, for a process that no message reaches, and tell the others."""
    with contextlib.suppress(DatabaseError):  # the other processes can read it nevertheless
        read_definitions()
    tell_servers(DefinitionsChanged())


def _note_change(**_: Any) -> None:
    count_change_of_definitions()
    # A form saves a type and each of its fields; one message is enough.
    if all(entry[1] is not _tell for entry in transaction.get_connection().run_on_commit):
        transaction.on_commit(_tell, robust=True)


def connect() -> None:
    """Connect to the signals of what is defined."""
    for model in (MetricTypeDeclaration, MetricTypeField, ClientPreset):
        post_save.connect(_note_change, sender=model, dispatch_uid=_UID)
        post_delete.connect(_note_change, sender=model, dispatch_uid=_UID)
