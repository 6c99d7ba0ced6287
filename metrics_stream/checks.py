"""System checks: what can be misconfigured is found by `manage.py check`, with a hint that can be pasted.

| id | what it finds |
|---|---|
| metrics_stream.E001 | METRICS_STREAM has an unknown key or a bad value |
| metrics_stream.E002 | CHANNEL_LAYERS has no `default` |
| metrics_stream.E003 | ASGI_APPLICATION is not set |
| metrics_stream.E004 | SECRET_KEY can be guessed, outside DEBUG |
| metrics_stream.E005 | ALLOWED_HOSTS holds `*`, outside DEBUG |
| metrics_stream.W001 | daphne is installed but not first, or not at all, so `runserver` serves no sockets |
| metrics_stream.W002 | channels_redis.core is used, which dies when idle |
| metrics_stream.W003 | the in-memory channel layer in a deployment (only with `check --deploy`) |

Room: beside urls; imports the settings only.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register  # noqa: A004  Django's own name
from django.core.exceptions import ImproperlyConfigured

from metrics_stream.conf import parse_settings

PUBSUB = "channels_redis.pubsub.RedisPubSubChannelLayer"
CORE = "channels_redis.core.RedisChannelLayer"
IN_MEMORY = "channels.layers.InMemoryChannelLayer"

# Of letters and digits these are 190 bits. What the documents and Django put in the place of a key is none.
MIN_KEY_LENGTH = 32
MIN_KEY_CHARACTERS = 5
PLACEHOLDERS = ("change-me", "changeme", "django-insecure", "put-fifty-random", "random-characters")

REDIS_HINT = (
    'CHANNEL_LAYERS = {"default": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", '
    '"CONFIG": {"hosts": ["redis://127.0.0.1:6379/0"]}}}'
)


@register(Tags.compatibility)
def check_overlay(**_: Any) -> list[CheckMessage]:
    """Find what METRICS_STREAM cannot hold."""
    overlay = getattr(settings, "METRICS_STREAM", {})
    try:
        if not isinstance(overlay, dict):
            raise ImproperlyConfigured(f"METRICS_STREAM is {overlay!r}; it must be a dict")
        parse_settings(overlay)
    except ImproperlyConfigured as error:
        hint = "Correct or remove it; METRICS_STREAM = {} takes every default."
        return [Error(str(error), hint=hint, id="metrics_stream.E001")]
    return []


@register(Tags.compatibility)
def check_channel_layer(**_: Any) -> list[CheckMessage]:
    """Find a channel layer that is missing, or the one that loses its connection when nothing happens."""
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
                f"The channel layer is {CORE}, whose receivers die after five idle seconds with current redis-py.",
                hint=REDIS_HINT,
                id="metrics_stream.W002",
            )
        ]
    return []


@register(Tags.compatibility)
def check_server(**_: Any) -> list[CheckMessage]:
    """Find settings with which no server answers a socket."""
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
                "daphne is not the first of INSTALLED_APPS; runserver would not answer WebSockets.",
                hint='INSTALLED_APPS = ["daphne", …]',
                id="metrics_stream.W001",
            )
        )
    return found


@register(Tags.security)
def check_secret_key(**_: Any) -> list[CheckMessage]:
    """Find a key that somebody could guess, and forge sessions with."""
    key = str(settings.SECRET_KEY)
    if settings.DEBUG or not (problem := _weakness(key)):
        return []
    return [
        Error(
            f"SECRET_KEY {problem}; whoever guesses it is whom they want to be.",
            hint="SECRET_KEY=\"$(python3 -c 'import secrets; print(secrets.token_urlsafe(50))')\"",
            id="metrics_stream.E004",
        )
    ]


@register(Tags.security)
def check_hosts(**_: Any) -> list[CheckMessage]:
    """Find that every host name is allowed: then pages of every site may open sockets, with the viewer's session."""
    if settings.DEBUG or "*" not in settings.ALLOWED_HOSTS:
        return []
    return [
        Error(
            "ALLOWED_HOSTS holds '*', with which pages of any site may open sockets here.",
            hint="ALLOWED_HOSTS=metrics.example.com,127.0.0.1",
            id="metrics_stream.E005",
        )
    ]


@register(Tags.compatibility, deploy=True)
def check_deployment(**_: Any) -> list[CheckMessage]:
    """Find a channel layer that serves a single process only."""
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
    """Return what is wrong with a key, without telling it."""
    if found := next((word for word in PLACEHOLDERS if word in key.lower()), None):
        return f"is a placeholder ({found!r} is in it)"
    if len(key) < MIN_KEY_LENGTH:
        return f"has {len(key)} characters; allowed: at least {MIN_KEY_LENGTH}, random ones"
    if len(set(key)) < MIN_KEY_CHARACTERS:
        return f"has {len(set(key))} different characters; allowed: random ones"
    return ""


def _backend() -> str | None:
    layers = getattr(settings, "CHANNEL_LAYERS", None) or {}
    backend: str | None = layers.get("default", {}).get("BACKEND")
    return backend
