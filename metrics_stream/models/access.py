"""Who may see and publish what: tokens of programs, policies of people, links that show one dashboard to anybody.

Room: models. What is secret is kept as a digest: it is random and long, so a plain hash of it cannot be reversed.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from datetime import timedelta
from typing import Any, Self
from urllib.parse import urlencode

from django.conf import settings
from django.contrib.auth.models import Group
from django.core import signing
from django.db import DatabaseError, models, transaction
from django.urls import reverse
from django.utils import timezone
from simple_history.models import HistoricalRecords

from metrics_stream.models.dashboards import Dashboard
from metrics_stream.models.runs import TestRun
from metrics_stream.models.validators import (
    validate_permitted_types,
    validate_printable,
    validate_scopes,
    validate_terms,
)

logger = logging.getLogger(__name__)

TOKEN_MARK = "mst"  # noqa: S105  what every token begins with, so that it is found where it should not be
PREFIX_LENGTH = 8
SECRET_BYTES = 32

# A dot may stand in an address as it is, and not in the two parts that it separates.
_share_signer = signing.Signer(sep=".", salt="metrics_stream.share_link")


def digest_of(secret: str) -> str:
    """Return what is kept of a secret."""
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()


def _types_field() -> models.JSONField[Any, Any]:
    return models.JSONField(
        default=list,
        blank=True,
        validators=[validate_permitted_types],
        help_text="Nothing, unless they are named; `all` is every one.",
    )


def _terms_field(label: str, help_text: str) -> models.JSONField[Any, Any]:
    return models.JSONField(label, default=list, blank=True, validators=[validate_terms], help_text=help_text)


class Revocable(models.Model):
    """What holds until it expires or is revoked."""

    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, editable=False, on_delete=models.SET_NULL, related_name="+"
    )
    expires_at = models.DateTimeField("expires", null=True, blank=True, help_text="Never, when it is left empty.")
    revoked_at = models.DateTimeField("revoked", null=True, blank=True, editable=False)
    last_used_at = models.DateTimeField("last used", null=True, blank=True, editable=False)

    class Meta:
        """No table of its own."""

        abstract = True

    @property
    def has_expired(self) -> bool:
        """Whether its time is over."""
        return self.expires_at is not None and self.expires_at <= timezone.now()

    @property
    def is_valid(self) -> bool:
        """Whether it opens anything now."""
        return self.revoked_at is None and not self.has_expired

    def revoke(self) -> None:
        """Let it open nothing any more, for good."""
        if self.revoked_at is None:
            self.revoked_at = timezone.now()
            # For the history, whose pages leave out what no form edits.
            self._change_reason = "revoked"
            self.save(update_fields=["revoked_at"])

    def note_use(self) -> None:
        """Remember that it was used, to the minute; no signal is sent, since nothing about it changes.

        A database that takes nothing now keeps nobody out: the next use is remembered then.
        """
        now = timezone.now()
        if self.last_used_at is not None and now - self.last_used_at <= timedelta(minutes=1):
            return
        try:
            with transaction.atomic():
                type(self)._default_manager.filter(pk=self.pk).update(last_used_at=now)
        except DatabaseError as error:
            logger.warning("the use of %s cannot be noted: %s", self, str(error).strip().partition("\n")[0])
        else:
            self.last_used_at = now


class AccessToken(Revocable):
    """What a program shows to get in; it is shown once, when it is made."""

    class Scope(models.TextChoices):
        """What a token is for."""

        SUBSCRIBE = "subscribe", "Subscribe: get metrics over the socket, replay and export runs"
        PUBLISH = "publish", "Publish: send metrics to /api/metrics/"
        RUNS = "runs", "Runs: start and stop test runs at /api/runs/"

    name = models.CharField(
        max_length=100, unique=True, validators=[validate_printable], help_text="Which program has it, and where."
    )
    prefix = models.CharField(max_length=PREFIX_LENGTH, unique=True, editable=False)
    digest = models.CharField(max_length=64, editable=False)
    scopes = models.JSONField(default=list, validators=[validate_scopes])
    metric_types = _types_field()
    sources = _terms_field("sources", "Only metrics of these sources. None: of every source.")

    history = HistoricalRecords(excluded_fields=["digest", "last_used_at"])

    class Meta:
        """Order in lists."""

        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @classmethod
    def issue(cls, **values: Any) -> tuple[Self, str]:
        """Return a new token, saved, and the text of it, which nobody can find out later."""
        token = cls(**values)
        text = token.renew()
        token.full_clean(exclude=["prefix", "digest"])
        token.save()
        return token, text

    def renew(self) -> str:
        """Give a token that is not saved yet its secret; return the whole text, `mst_PREFIX_SECRET`."""
        # No underscore in the parts: it stands between them.
        self.prefix = secrets.token_hex(PREFIX_LENGTH // 2)
        secret = secrets.token_hex(SECRET_BYTES)
        self.digest = digest_of(secret)
        return f"{TOKEN_MARK}_{self.prefix}_{secret}"

    @classmethod
    def find(cls, text: str) -> AccessToken | None:
        """Return the token of a text, None for one that is none; it may have expired or been revoked."""
        mark, _, rest = text.partition("_")
        prefix, _, secret = rest.partition("_")
        if mark != TOKEN_MARK or len(prefix) != PREFIX_LENGTH or not prefix.isascii() or not prefix.isalnum():
            return None
        token = cls._default_manager.filter(prefix=prefix).first()
        if token is None or not secrets.compare_digest(token.digest, digest_of(secret)):
            return None
        return token

    def allows(self, scope: str) -> bool:
        """Return whether it is for that, and valid now."""
        return self.is_valid and scope in self.scopes


class TokenName(models.Model):
    """A source or agent that a token has published of; how many there are is limited."""

    class Kind(models.TextChoices):
        """What the name is of."""

        SOURCE = "source", "Source"
        AGENT = "agent", "Agent"

    token = models.ForeignKey(AccessToken, on_delete=models.CASCADE, related_name="names")
    kind = models.CharField(max_length=6, choices=Kind.choices)
    name = models.CharField(max_length=200)
    first_seen_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        """Each name once."""

        constraints = [models.UniqueConstraint(fields=["token", "kind", "name"], name="one_row_for_each_name")]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


class AccessPolicy(models.Model):
    """What some people may see. Who has several sees what any of them shows; who has none sees nothing."""

    class Runs(models.TextChoices):
        """Which test runs may be looked at; of each only the metrics that the policy shows."""

        NONE = "none", "No test runs"
        SOURCES = "sources", "Test runs of these sources only"
        ALL = "all", "Every test run"

    name = models.CharField(max_length=100, unique=True, validators=[validate_printable])
    users = models.ManyToManyField(settings.AUTH_USER_MODEL, blank=True, related_name="+")
    groups = models.ManyToManyField(Group, blank=True, related_name="+")
    metric_types = _types_field()
    sources = _terms_field("sources", "Only metrics of these sources. None: of every source.")
    agent_ids = _terms_field("agents", "Only these agents. None: every one. Metrics without agents are not narrowed.")
    fields = _terms_field("fields", "Only these fields of each metric or agent. None: every one.")
    all_dashboards = models.BooleanField(default=False, help_text="Every dashboard that is published.")
    dashboards = models.ManyToManyField(Dashboard, blank=True, related_name="+")
    runs = models.CharField("test runs", max_length=7, choices=Runs.choices, default=Runs.NONE)

    history = HistoricalRecords(m2m_fields=[users, groups, dashboards])

    class Meta:
        """Order in lists."""

        ordering = ["name"]
        verbose_name_plural = "access policies"

    def __str__(self) -> str:
        return self.name


class ShareLink(Revocable):
    """An address that shows one dashboard, live or of one test run, to whoever has it."""

    name = models.CharField(
        max_length=100, validators=[validate_printable], help_text="Whom it is for: Lobby screen, investors of May."
    )
    digest = models.CharField(max_length=64, unique=True, editable=False)
    dashboard = models.ForeignKey(Dashboard, on_delete=models.CASCADE, related_name="share_links")
    run = models.ForeignKey(
        TestRun,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="share_links",
        help_text="Shows this run. None: what is live.",
    )

    history = HistoricalRecords(excluded_fields=["digest", "last_used_at"])

    class Meta:
        """Order in lists."""

        ordering = ["-created_at"]

    def __str__(self) -> str:
        return self.name

    @classmethod
    def issue(cls, **values: Any) -> tuple[Self, str]:
        """Return a new link, saved, and the text of its address, which nobody can find out later."""
        link = cls(**values)
        text = link.renew()
        link.full_clean(exclude=["digest"])
        link.save()
        return link, text

    def renew(self) -> str:
        """Give a link that is not saved yet its secret; return the text for its address, signed."""
        secret = secrets.token_urlsafe(SECRET_BYTES)
        self.digest = digest_of(secret)
        return _share_signer.sign(secret)

    @classmethod
    def find(cls, text: str) -> ShareLink | None:
        """Return the link of a text, None for one that is none; it may have expired or been revoked.

        What this server has not signed is refused without asking the database.
        """
        try:
            secret = _share_signer.unsign(text)
        except signing.BadSignature:
            return None
        return cls._default_manager.filter(digest=digest_of(secret)).select_related("dashboard", "run").first()

    @property
    def is_valid(self) -> bool:
        """Whether it opens anything now: for that its dashboard has to be published as well."""
        return super().is_valid and self.dashboard.published

    @property
    def state(self) -> str:
        """Return how it stands, in a word or two for people."""
        if self.revoked_at is not None:
            return "revoked"
        if self.has_expired:
            return "expired"
        return "valid" if self.dashboard.published else "dashboard not published"

    def get_absolute_url(self) -> str:
        """Return where it leads; the address that opens it is not kept."""
        address = reverse("metrics_stream:dashboard", args=[self.dashboard.slug])
        # As client/time_link.js reads it.
        return address if self.run is None else f"{address}?{urlencode({'run': self.run.slug})}"
