"""System checks: `manage.py check` finds misconfigurations and prints a hint that can be pasted.

| id | what it finds |
|---|---|
| metrics_stream.E001 | METRICS_STREAM has an unknown key or a bad value |
| metrics_stream.E002 | CHANNEL_LAYERS has no `default` |
| metrics_stream.E003 | ASGI_APPLICATION is not set |
| metrics_stream.E004 | SECRET_KEY can be guessed, outside DEBUG |
| metrics_stream.E005 | ALLOWED_HOSTS holds `*`, outside DEBUG |
| metrics_stream.E010 | ALLOWED_ORIGINS has an entry that is no origin |
| metrics_stream.E011 | FORCE_SCRIPT_NAME is no path, or one of the site itself |
| metrics_stream.W001 | daphne is not first in INSTALLED_APPS, so `runserver` serves no WebSockets |
| metrics_stream.W002 | the channel layer is channels_redis.core, which stops receiving when idle |
| metrics_stream.W003 | the in-memory channel layer in a deployment (only with `check --deploy`) |
| metrics_stream.W010 | static files are not collected, outside DEBUG |
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.staticfiles.storage import staticfiles_storage
from django.core.checks import CheckMessage, Error, Tags, Warning, register  # noqa: A004  Django's own name
from django.core.exceptions import ImproperlyConfigured
from django.urls import URLResolver, get_resolver

from metrics_stream.conf import find_overlay, parse_settings
from metrics_stream.core.formatting import quote
from metrics_stream.core.origins import parse_origin

CORE = "channels_redis.core.RedisChannelLayer"
IN_MEMORY = "channels.layers.InMemoryChannelLayer"

# 32 random letters and digits are 190 bits. The placeholders of the documents and of Django are not secret.
MIN_KEY_LENGTH = 32
MIN_KEY_CHARACTERS = 5
PLACEHOLDERS = ("change-me", "changeme", "django-insecure", "put-fifty-random", "random-characters")

_ROOT_PATH = re.compile(r"(?:/[A-Za-z0-9_.~-]+)+")

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


@register(Tags.security)
def check_origins(**_: Any) -> list[CheckMessage]:
    """Find entries of ALLOWED_ORIGINS that no page of a browser can have, such as `null`, which would be any page."""
    found = [item for item in _origins() if parse_origin(str(item)) is None]
    return [
        Error(
            f"ALLOWED_ORIGINS contains {quote(item)}, which is no origin; allowed: scheme://host[:port], with http or "
            "https.",
            hint="ALLOWED_ORIGINS=https://portal.example.org,https://portal.example.org:8443",
            id="metrics_stream.E010",
        )
        for item in found
    ]


@register(Tags.compatibility)
def check_root_path(**_: Any) -> list[CheckMessage]:
    """Find a root path with which addresses would be ambiguous."""
    root = settings.FORCE_SCRIPT_NAME
    if not root:
        return []
    if not _ROOT_PATH.fullmatch(root):
        problem = "is no path; allowed: / and a name, without / at the end"
    elif root.split("/")[1] in (own := sorted(_first_parts())):
        # A proxy may take the root path off the address or leave it on, and the server must know which it did.
        problem = f"begins like addresses of the site itself; allowed: anything but {', '.join(own)}"
    else:
        return []
    return [
        Error(
            f"FORCE_SCRIPT_NAME is {quote(root)}, which {problem}.",
            hint="FORCE_SCRIPT_NAME=/metrics-stream",
            id="metrics_stream.E011",
        )
    ]


@register(Tags.compatibility)
def check_static_files(**_: Any) -> list[CheckMessage]:
    """Find files of this app that `collectstatic` has not collected, so that pages would have no styles and scripts."""
    names = getattr(staticfiles_storage, "hashed_files", None)
    if settings.DEBUG or names is None:
        return []
    folder = Path(__file__).parent / "static"
    own = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    missing = [name for name in own if name not in names]
    if not missing:
        return []
    return [
        Warning(
            f"{len(missing)} of {len(own)} static files are not collected, such as {quote(min(missing))}; pages have "
            "no styles and scripts.",
            hint="manage.py collectstatic --no-input",
            id="metrics_stream.W010",
        )
    ]


def _first_parts() -> set[str]:
    """Return the first part of every path of the site."""
    parts = {"static", "ws"}
    for item in get_resolver().url_patterns:
        inner = item.url_patterns if isinstance(item, URLResolver) and not str(item.pattern) else [item]
        parts |= {str(each.pattern).lstrip("^").split("/")[0] for each in inner}
    return parts - {""}


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


def _origins() -> list[Any]:
    try:
        origins = find_overlay().get("ALLOWED_ORIGINS", [])
    except ImproperlyConfigured:  # check_overlay reports it
        return []
    return list(origins) if isinstance(origins, list | tuple) else []


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
