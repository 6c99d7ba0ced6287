"""Connected clients, for the permissions and the page of the admin. They are in no table."""

from __future__ import annotations

from django.db import models


class NoRows(models.Manager["Connection"]):
    """Finds nothing, without asking the database: pages of the admin look up objects of any model."""

    def get_queryset(self) -> models.QuerySet[Connection]:
        """Return an empty query."""
        return super().get_queryset().none()


class Connection(models.Model):
    """A client that is connected to a server process, as named in the admin and its log of changes."""

    client_id = models.CharField(primary_key=True, max_length=32)
    who = models.CharField(max_length=200)
    address = models.CharField(max_length=200)

    objects = NoRows()

    class Meta:
        """No table; the permissions to view and to disconnect."""

        managed = False
        base_manager_name = "objects"
        default_permissions = ("view",)
        permissions = [("disconnect_connection", "Can disconnect connection")]

    def __str__(self) -> str:
        return f"{self.who} ({self.client_id[:8]})" + (f" from {self.address}" if self.address else "")
