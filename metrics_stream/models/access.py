"""Who may see and publish what: tokens for programs, policies for people, links that show one dashboard to anyone.

Of a secret only the digest is stored. Secrets are long and random, so a plain hash cannot be reversed.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import Any, Self
from urllib.parse import urlencode

from django.conf import settings
from django.contrib.auth.models import Group
from django.core import signing
from django.core.exceptions import ValidationError
from django.db import models
from django.urls import reverse
from django.utils import timezone

from metrics_stream.conf import get_settings
from metrics_stream.models import uses
from metrics_stream.models.changes import record_changes
from metrics_stream.models.columns import terms_field, types_field
from metrics_stream.models.dashboard_content import content_of
from metrics_stream.models.dashboards import Dashboard
from metrics_stream.models.key_filters import key_filters_field
from metrics_stream.models.runs import TestRun
from metrics_stream.models.token_prefixes import TokenPrefixes
from metrics_stream.models.validators import (
    validate_printable,
    validate_scopes,
)

TOKEN_MARK = "mst"  # noqa: S105  every token begins with it, so that scanners find leaked tokens
PREFIX_LENGTH = 8
SECRET_BYTES = 32

# A hundred years; with more, times would leave the calendar.
MAX_DAYS = 36_500.0


def _share_signer() -> signing.Signer:
    # A dot needs no escape in an address, and occurs in neither of the two parts.
    return signing.Signer(sep=".", salt="metrics_stream.share_link")


def _secret_of_link(text: str) -> str | None:
    try:
        return _share_signer().unsign(text)
    except signing.BadSignature:
        return None


def digest_of(secret: str) -> str:
    """Return the digest of a secret, which is stored in its place."""
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()


class Revocable(models.Model):
    """A grant that is valid until it expires or is revoked."""

    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, editable=False, on_delete=models.SET_NULL, related_name="+"
    )
    expires_at = models.DateTimeField("expires", null=True, blank=True, help_text="Empty: it never expires.")
    revoked_at = models.DateTimeField("revoked", null=True, blank=True, editable=False)
    is_personal = models.BooleanField(
        "bound to its maker",
        default=False,
        editable=False,
        help_text="It shows at most what the person who made it may see now. Off: a superuser or a command made it.",
    )
    last_used_at = models.DateTimeField("last used", null=True, blank=True, editable=False)

    class Meta:
        """No table of its own."""

        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save; a new grant of a person who is no superuser is bound to what that person may see."""
        if self._state.adding and self.created_by is not None:
            self.is_personal = not getattr(self.created_by, "is_superuser", False)
        super().save(*args, **kwargs)

    @property
    def has_maker(self) -> bool:
        """Whether the person to whom it is bound, if it is bound to one, still has an active account."""
        return not self.is_personal or (self.created_by is not None and self.created_by.is_active)

    @classmethod
    def max_days(cls) -> float:
        """Return for how many days it may be valid at most; 0 means for ever."""
        raise NotImplementedError

    @property
    def ends_at(self) -> datetime | None:
        """When it expires: at `expires_at`, or earlier when the settings allow less."""
        days = self.max_days()
        if not days or self.created_at is None:
            return self.expires_at
        latest = self.created_at + timedelta(days=days)
        return latest if self.expires_at is None else min(latest, self.expires_at)

    @property
    def has_expired(self) -> bool:
        """Whether the time of expiry has passed."""
        return self.ends_at is not None and self.ends_at <= timezone.now()

    def clean(self) -> None:
        """Refuse an expiry later than the settings allow."""
        super().clean()
        days = self.max_days()
        # Some seconds of tolerance: the form was filled in with the latest time before it was sent.
        latest = (self.created_at or timezone.now()) + timedelta(days=days, minutes=1)
        if days and (self.expires_at is None or self.expires_at > latest):
            shown = "never" if self.expires_at is None else f"{self.expires_at:%Y-%m-%d %H:%M}"
            message = f"{shown} is too late; allowed: until {latest:%Y-%m-%d %H:%M}, {days:g} days after it is created"
            raise ValidationError({"expires_at": message})

    @property
    def is_valid(self) -> bool:
        """Whether it grants anything now."""
        return self.revoked_at is None and not self.has_expired

    def revoke(self) -> None:
        """End the grant; this cannot be undone."""
        if self.revoked_at is None:
            self.revoked_at = timezone.now()
            # The pages of the history omit columns that no form edits, so the reason says it.
            self._change_reason = "revoked"
            self.save(update_fields=["revoked_at"])

    def note_use(self) -> None:
        """Have the time of use stored in the background, to the minute."""
        now = timezone.now()
        if self.last_used_at is None or now - self.last_used_at > timedelta(minutes=1):
            uses.of_process.note((type(self), self.pk), now)


class AccessToken(Revocable):
    """A program's credential; its text is shown once, when it is created."""

    class Scope(models.TextChoices):
        """What a token is for."""

        SUBSCRIBE = "subscribe", "Subscribe: get metrics over the socket, replay and export runs"
        PUBLISH = "publish", "Publish: send metrics to /api/metrics/"
        RUNS = "runs", "Runs: start and stop test runs at /api/runs/"
        TYPES = "types", "Types: create a metric type by publishing the first metric of it"

    name = models.CharField(
        max_length=100,
        unique=True,
        validators=[validate_printable],
        help_text="The program that uses the token, and its place.",
    )
    prefix = models.CharField(max_length=PREFIX_LENGTH, unique=True, editable=False)
    digest = models.CharField(max_length=64, editable=False)
    scopes = models.JSONField(default=list, validators=[validate_scopes])
    metric_types = types_field()
    sources = terms_field("sources", "Only metrics of these sources. Empty: every source.")
    keys = key_filters_field(
        "What a token with the scope subscribe gets of requests, errors and other rows: lines such as name=/api/*, "
        "where * stands for any text. Empty: every row. It affects neither agents nor publishing."
    )

    history = record_changes(excluded_fields=["digest", "last_used_at"])

    class Meta:
        """The order in lists."""

        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @classmethod
    def max_days(cls) -> float:
        """Return TOKEN_MAX_DAYS."""
        return min(get_settings().token_max_days, MAX_DAYS)

    @classmethod
    def issue(cls, **values: Any) -> tuple[Self, str]:
        """Create and save a token; return it with its text, which cannot be recovered later."""
        token = cls(**values)
        text = token.renew()
        token.full_clean(exclude=["prefix", "digest"])
        token.save()
        return token, text

    def renew(self) -> str:
        """Give an unsaved token its secret; return the whole text, `mst_PREFIX_SECRET`."""
        # Hexadecimal parts have no underscore, which separates them.
        self.prefix = secrets.token_hex(PREFIX_LENGTH // 2)
        secret = secrets.token_hex(SECRET_BYTES)
        self.digest = digest_of(secret)
        return f"{TOKEN_MARK}_{self.prefix}_{secret}"

    @classmethod
    def find(cls, text: str) -> AccessToken | None:
        """Return the token of a text, or None; it may be expired or revoked."""
        if (parts := _parts_of_token(text)) is None:
            return None
        prefix, secret = parts
        token = cls._default_manager.filter(prefix=prefix).first()
        if token is None or not secrets.compare_digest(token.digest, digest_of(secret)):
            return None
        return token

    @staticmethod
    def name_possible(text: str) -> str:
        """Return the prefix that a text shares with a token, empty if there is none; see `limits.guesses`."""
        parts = _parts_of_token(text)
        return parts[0] if parts is not None and len(parts[1]) == 2 * SECRET_BYTES and parts[0] in prefixes else ""

    def allows(self, scope: str) -> bool:
        """Return whether the token is valid now and has the scope."""
        return self.is_valid and scope in self.scopes


def _parts_of_token(text: str) -> tuple[str, str] | None:
    """Return the prefix and the secret of a text that looks like a token, None for another text."""
    mark, _, rest = text.partition("_")
    prefix, _, secret = rest.partition("_")
    is_token = mark == TOKEN_MARK and len(prefix) == PREFIX_LENGTH and prefix.isascii() and prefix.isalnum()
    return (prefix, secret) if is_token else None


prefixes = TokenPrefixes(lambda: AccessToken._default_manager.filter(revoked_at=None).values_list("prefix", flat=True))
"""The prefixes of the tokens that are not revoked."""


class TokenName(models.Model):
    """A source or agent that a token has published for; their number is limited."""

    class Kind(models.TextChoices):
        """What the name belongs to."""

        SOURCE = "source", "Source"
        AGENT = "agent", "Agent"

    token = models.ForeignKey(AccessToken, on_delete=models.CASCADE, related_name="names")
    kind = models.CharField(max_length=6, choices=Kind.choices)
    name = models.CharField(max_length=200)
    first_seen_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        """Each name is stored once."""

        constraints = [models.UniqueConstraint(fields=["token", "kind", "name"], name="one_row_for_each_name")]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


class AccessPolicy(models.Model):
    """What some users may see. A user with several policies sees what any of them grants; with none, nothing."""

    class Runs(models.TextChoices):
        """Which test runs are visible; of each, only the metrics that the policy grants."""

        NONE = "none", "No test runs"
        SOURCES = "sources", "Test runs of these sources only"
        ALL = "all", "Every test run"

    name = models.CharField(max_length=100, unique=True, validators=[validate_printable])
    users = models.ManyToManyField(settings.AUTH_USER_MODEL, blank=True, related_name="+")
    groups = models.ManyToManyField(Group, blank=True, related_name="+")
    metric_types = types_field()
    sources = terms_field("sources", "Only metrics of these sources. Empty: every source.")
    agent_ids = terms_field(
        "agents", "Only these agents. Empty: every agent. It does not affect metrics without agents."
    )
    keys = key_filters_field(
        "Only these requests, errors and other rows: lines such as name=/api/* or method=GET, where * stands for any "
        "text. Lines of one part are alternatives, and each part that is named must fit. Empty: every row. It affects "
        "neither agents nor metrics without rows."
    )
    fields = terms_field("fields", "Only these fields of each metric or row. Empty: every field.")
    all_dashboards = models.BooleanField(default=False, help_text="Every dashboard that is published.")
    dashboards = models.ManyToManyField(Dashboard, blank=True, related_name="+")
    runs = models.CharField("test runs", max_length=7, choices=Runs.choices, default=Runs.NONE)

    history = record_changes(m2m_fields=[users, groups, dashboards])

    class Meta:
        """The order in lists."""

        ordering = ["name"]
        verbose_name_plural = "access policies"

    def __str__(self) -> str:
        return self.name


class ShareLink(Revocable):
    """An address that shows one dashboard, live or of one test run, to anyone who has it."""

    name = models.CharField(
        max_length=100, validators=[validate_printable], help_text="Who or what it is for, such as: Lobby screen."
    )
    digest = models.CharField(max_length=64, unique=True, editable=False)
    dashboard = models.ForeignKey(Dashboard, on_delete=models.CASCADE, related_name="share_links")
    run = models.ForeignKey(
        TestRun,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="share_links",
        help_text="The link shows this test run. Empty: live metrics.",
    )
    content = models.JSONField(
        default=dict,
        editable=False,
        help_text="The grants and the ids of the panels that the dashboard had when the link was made.",
    )

    history = record_changes(excluded_fields=["digest", "last_used_at", "content"])

    class Meta:
        """The order in lists."""

        ordering = ["-created_at"]

    def __str__(self) -> str:
        return self.name

    @classmethod
    def max_days(cls) -> float:
        """Return SHARE_LINK_MAX_DAYS."""
        return min(get_settings().share_link_max_days, MAX_DAYS)

    @classmethod
    def issue(cls, **values: Any) -> tuple[Self, str]:
        """Create and save a link; return it with the text of its address, which cannot be recovered later."""
        link = cls(**values)
        text = link.renew()
        link.full_clean(exclude=["digest"])
        link.save()
        return link, text

    def renew(self) -> str:
        """Give an unsaved link its secret; return the signed text for its address."""
        secret = secrets.token_urlsafe(SECRET_BYTES)
        self.digest = digest_of(secret)
        return _share_signer().sign(secret)

    @classmethod
    def find(cls, text: str) -> ShareLink | None:
        """Return the link of a text, or None; it may be expired or revoked.

        A text that this server has not signed needs no query.
        """
        if (secret := _secret_of_link(text)) is None:
            return None
        related = ("dashboard__preset", "run", "created_by")
        return cls._default_manager.filter(digest=digest_of(secret)).select_related(*related).first()

    @staticmethod
    def name_possible(text: str) -> str:
        """Return a name of a text that this server has signed, empty for another one; see `limits.guesses`."""
        secret = _secret_of_link(text)
        return "" if secret is None else digest_of(secret)

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save; a new link is fixed to what its dashboard shows now."""
        if self._state.adding:
            self.content = content_of(self.dashboard)
        super().save(*args, **kwargs)

    @property
    def is_valid(self) -> bool:
        """Whether it shows anything now; its dashboard must be published, and its maker active, too."""
        return super().is_valid and self.dashboard.published and self.has_maker

    @property
    def state(self) -> str:
        """Its state in a word or two for people."""
        if self.revoked_at is not None:
            return "revoked"
        if self.has_expired:
            return "expired"
        if not self.has_maker:
            return "its maker has no active account"
        return "valid" if self.dashboard.published else "dashboard not published"

    def page_address(self) -> str:
        """Return the page that it leads to; the address that opens it is not stored."""
        address = reverse("metrics_stream:dashboard", args=[self.dashboard.slug])
        # client/time_link.js reads it.
        return address if self.run is None else f"{address}?{urlencode({'run': self.run.slug})}"
