"""The audit log: who read or changed what, when and from where; `audit.trail` writes it."""

from __future__ import annotations

from django.db import models

MAX_WHO = 200
MAX_WHAT = 300
MAX_ADDRESS = 45  # the longest IPv6 address


class AuditEntry(models.Model):
    """One kind of reading or change by one reader, repeated for at most `audit.trail.MERGED_SECONDS`."""

    class Action(models.TextChoices):
        """What was done."""

        SIGN_IN = "sign_in", "Signed in"
        SIGN_OUT = "sign_out", "Signed out"
        TOKEN = "token", "Used a token"
        SHARE_LINK = "share_link", "Opened a share link"
        RUN = "run", "Looked at test runs"
        REPLAY = "replay", "Replayed"
        EXPORT = "export", "Exported"
        RIGHTS = "rights", "Changed rights"
        NOT_NOTED = "not_noted", "More than could be noted"

    class Result(models.TextChoices):
        """How it ended."""

        DONE = "done", "Done"
        REFUSED = "refused", "Refused"

    action = models.CharField(max_length=10, choices=Action.choices)
    who = models.CharField(
        max_length=MAX_WHO, blank=True, help_text="The user, token, link or command. Empty: not signed in."
    )
    what = models.CharField(max_length=MAX_WHAT, blank=True)
    address = models.CharField(max_length=MAX_ADDRESS, blank=True)
    result = models.CharField(max_length=7, choices=Result.choices)
    first_at = models.DateTimeField()
    last_at = models.DateTimeField(db_index=True)
    times = models.PositiveIntegerField()

    class Meta:
        """The order in lists; people can only look."""

        default_permissions = ("view",)
        ordering = ["-last_at", "-pk"]
        verbose_name = "audit log entry"
        verbose_name_plural = "audit log entries"

    def __str__(self) -> str:
        return f"{self.get_action_display()}: {self.what}"
