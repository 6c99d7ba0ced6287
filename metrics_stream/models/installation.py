"""What tells this installation from others that use the same Redis."""

from __future__ import annotations

import uuid

from django.db import models


class Installation(models.Model):
    """The id of the installation to which this database belongs; it has one row."""

    # The only row's primary key.
    ROW = 1

    uid = models.UUIDField(default=uuid.uuid4, editable=False)

    class Meta:
        """The name in messages."""

        verbose_name_plural = "installation"

    def __str__(self) -> str:
        return str(self.uid)


def installation_id() -> str:
    """Return the id of this installation; make it at the first call."""
    row, _ = Installation.objects.get_or_create(pk=Installation.ROW)
    return str(row.uid)
