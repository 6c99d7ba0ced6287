"""What tells this installation from others that use the same Redis, and the state of its definitions."""

from __future__ import annotations

import uuid

from django.db import models


class Installation(models.Model):
    """The id of the installation to which this database belongs, and the version of its definitions; it has one row."""

    # The only row's primary key.
    ROW = 1

    uid = models.UUIDField(default=uuid.uuid4, editable=False)
    definitions = models.PositiveBigIntegerField(default=0, editable=False)
    """How often a declared metric type or a preset was changed; each process reads them again when it has grown."""

    class Meta:
        """The name in messages."""

        verbose_name_plural = "installation"

    def __str__(self) -> str:
        return str(self.uid)


def installation_id() -> str:
    """Return the id of this installation; make it at the first call."""
    row, _ = Installation.objects.get_or_create(pk=Installation.ROW)
    return str(row.uid)


def count_change_of_definitions() -> None:
    """Count a change of a declared metric type or a preset."""
    grown = {"definitions": models.F("definitions") + 1}
    if not Installation.objects.filter(pk=Installation.ROW).update(**grown):
        installation_id()
        Installation.objects.filter(pk=Installation.ROW).update(**grown)


def lock_installation() -> None:
    """Let nobody else lock the installation until the end of the transaction."""
    installation_id()
    Installation.objects.select_for_update().filter(pk=Installation.ROW).first()
