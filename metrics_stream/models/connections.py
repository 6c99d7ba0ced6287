"""The clients that are connected, for the admin: its permissions and its page. They are in no table."""

from __future__ import annotations

from django.db import models


class Connection(models.Model):
    """A client that is connected to some server process, as the admin and its log of changes call it."""

    client_id = models.CharField(primary_key=True, max_length=32)
    who = models.CharField(max_length=200)
    address = models.CharField(max_length=200)

    class Meta:
        """Without a table; who may look, and who may disconnect."""

        managed = False
        default_permissions = ("view",)
        permissions = [("disconnect_connection", "Can disconnect connection")]

    def __str__(self) -> str:
        return f"{self.who} ({self.client_id[:8]})" + (f" from {self.address}" if self.address else "")
