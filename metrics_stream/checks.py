"""System checks: `manage.py check` finds misconfigurations and prints a hint that can be pasted.

| id | what it finds |
|---|---|
| metrics_stream.E001 | METRICS_STREAM has an unknown key or a bad value |
| metrics_stream.E002 | CHANNEL_LAYERS has no `default` |
| metrics_stream.E003 | ASGI_APPLICATION is not set |
| metrics_stream.E004 | SECRET_KEY can be guessed, outside DEBUG |
| metrics_stream.E005 | ALLOWED_HOSTS holds `*`, outside DEBUG |
| metrics_stream.W001 | daphne is not first in INSTALLED_APPS, so `runserver` serves no WebSockets |
| metrics_stream.W002 | the channel layer is channels_redis.core, which stops receiving when idle |
| metrics_stream.W003 | the in-memory channel layer in a deployment (only with `check --deploy`) |
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register  # noqa: A004  Django's own name
from django.core.exceptions import ImproperlyConfigured

from metrics_stream.conf import find_overlay, parse_settings

CORE = "channels_redis.core.RedisChannelLayer"
IN_MEMORY = "channels.layers.InMemoryChannelLayer"

# 32 random letters and digits are 190 bits. The placeholders of the documents and of Django are not secret.
MIN_KEY_LENGTH = 32
MIN_KEY_CHARACTERS = 5
PLACEHOLDERS = ("change-me", "changeme", "django-insecure", "put-fifty-random", "random-characters")

REDIS_HINT = (
    'CHANNEL_LAYERS = {"default": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", '
    '"CONFIG": {"hosts": ["redis://127.0.0.1:6379/0"]}}}'
)


@register(Tags.compatibility)
def check_overlay(**_: Any) -> list[CheckMessage]:
    """Find unknown keys and bad values in METRICS_STREAM."""
    try:
        parse_settings(find_overlay())
    except ImproperlyConfigured as error:
        hint = "Correct or remove it; METRICS_STREAM = {} takes every default."
        return [Error(str(error), hint=hint, id="metrics_stream.E001")]
    return []


@register(Tags.compatibility)
def check_channel_layer(**_: Any) -> list[CheckMessage]:
    """Find a missing channel layer, or the one whose receivers stop when idle."""
    backend = _backend()
    if backend is None:
        return [
            Error(
                "CHANNEL_LAYERS has no 'default'; metrics cannot reach any client.",
                hint=REDIS_HINT,
                id="metrics_stream.E002",
            )
        ]
    if backend == CORE:
        return [
            Warning(
                f"The channel layer is {CORE}, whose receivers stop after five idle seconds with current redis-py.",
                hint=REDIS_HINT,
                id="metrics_stream.W002",
            )
        ]
    return []


@register(Tags.compatibility)
def check_server(**_: Any) -> list[CheckMessage]:
    """Find settings with which a server does not answer WebSockets."""
    found: list[CheckMessage] = []
    if not getattr(settings, "ASGI_APPLICATION", None):
        found.append(
            Error(
                "ASGI_APPLICATION is not set; runserver would not answer WebSockets.",
                hint='ASGI_APPLICATION = "project.asgi.application"',
                id="metrics_stream.E003",
            )
        )
    if not next(iter(settings.INSTALLED_APPS), "").startswith("daphne"):
        found.append(
            Warning(
                "daphne is not the first entry of INSTALLED_APPS; runserver would not answer WebSockets.",
                hint='INSTALLED_APPS = ["daphne", …]',
                id="metrics_stream.W001",
            )
        )
    return found


@register(Tags.security)
def check_secret_key(**_: Any) -> list[CheckMessage]:
    """Find a key that an attacker could guess to forge sessions."""
    key = str(settings.SECRET_KEY)
    if settings.DEBUG or not (problem := _weakness(key)):
        return []
    return [
        Error(
            f"SECRET_KEY {problem}; an attacker who guesses it can sign in as anyone.",
            hint="SECRET_KEY=\"$(python3 -c 'import secrets; print(secrets.token_urlsafe(50))')\"",
            id="metrics_stream.E004",
        )
    ]


@register(Tags.security)
def check_hosts(**_: Any) -> list[CheckMessage]:
    """Find that every host name is allowed: then pages of any site may open WebSockets with the viewer's session."""
    if settings.DEBUG or "*" not in settings.ALLOWED_HOSTS:
        return []
    return [
        Error(
            "ALLOWED_HOSTS contains '*', so pages of any site may open WebSockets here with the viewer's session.",
            hint="ALLOWED_HOSTS=metrics.example.com,127.0.0.1",
            id="metrics_stream.E005",
        )
    ]


@register(Tags.compatibility, deploy=True)
def check_deployment(**_: Any) -> list[CheckMessage]:
    """Find a channel layer that serves only one process."""
    if _backend() != IN_MEMORY or settings.DEBUG:
        return []
    return [
        Warning(
            "The channel layer is in memory: it serves one process, and producers in other processes cannot publish.",
            hint=f"REDIS_URL=redis://127.0.0.1:6379/0, or {REDIS_HINT}",
            id="metrics_stream.W003",
        )
    ]


def _weakness(key: str) -> str:
    """Return what is wrong with a key, without revealing it."""
    if found := next((word for word in PLACEHOLDERS if word in key.lower()), None):
        return f"is a placeholder (it contains {found!r})"
    if len(key) < MIN_KEY_LENGTH:
        return f"has {len(key)} characters; allowed: at least {MIN_KEY_LENGTH} random characters"
    if len(set(key)) < MIN_KEY_CHARACTERS:
        return f"has {len(set(key))} different characters; allowed: random characters"
    return ""


def _backend() -> str | None:
    layers = getattr(settings, "CHANNEL_LAYERS", None) or {}
    backend: str | None = layers.get("default", {}).get("BACKEND")
    return backend
