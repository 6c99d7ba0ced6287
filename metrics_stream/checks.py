"""System checks: `manage.py check` finds misconfigurations and prints a hint that can be pasted.

| id | what it finds |
|---|---|
| metrics_stream.E001 | METRICS_STREAM has an unknown key or a bad value |
| metrics_stream.E002 | CHANNEL_LAYERS has no `default` |
| metrics_stream.E003 | ASGI_APPLICATION is not set, or names no module |
| metrics_stream.E004 | SECRET_KEY can be guessed, outside DEBUG |
| metrics_stream.E005 | ALLOWED_HOSTS holds `*`, outside DEBUG |
| metrics_stream.E010 | ALLOWED_ORIGINS has an entry that is no origin |
| metrics_stream.E011 | FORCE_SCRIPT_NAME is no path, or one of the site itself |
| metrics_stream.E020 | INSTALLED_APPS lacks an app that is needed |
| metrics_stream.E021 | MIDDLEWARE lacks a middleware that is needed |
| metrics_stream.E022 | TEMPLATES lacks a context processor that is needed |
| metrics_stream.E023 | the templates are not found |
| metrics_stream.W001 | daphne is not first in INSTALLED_APPS, so `runserver` serves no WebSockets |
| metrics_stream.W002 | the channel layer is channels_redis.core, which stops receiving when idle |
| metrics_stream.W003 | the in-memory channel layer in a deployment (only with `check --deploy`) |
| metrics_stream.W010 | static files are not collected, outside DEBUG |
| metrics_stream.W020 | the module of ASGI_APPLICATION does not name metrics_stream, so it serves no WebSocket |
| metrics_stream.W021 | nothing in MIDDLEWARE serves static files, outside DEBUG |
| metrics_stream.W022 | `metrics_stream.urls` is not included, so there are no pages |
| metrics_stream.W023 | LOGIN_URL leads nowhere |
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.staticfiles.storage import staticfiles_storage
from django.core.checks import CheckMessage, Error, Tags, Warning, register  # noqa: A004  Django's own name
from django.core.exceptions import ImproperlyConfigured
from django.shortcuts import resolve_url
from django.template import TemplateDoesNotExist
from django.template.loader import get_template
from django.urls import NoReverseMatch, Resolver404, URLResolver, get_resolver, get_script_prefix, resolve, reverse
from django.utils.module_loading import import_string

from metrics_stream.conf import find_overlay, parse_settings
from metrics_stream.core.formatting import quote
from metrics_stream.core.origins import parse_origin

CORE = "channels_redis.core.RedisChannelLayer"
IN_MEMORY = "channels.layers.InMemoryChannelLayer"

# 32 random letters and digits are 190 bits. The placeholders of the documents and of Django are not secret.
MIN_KEY_LENGTH = 32
MIN_KEY_CHARACTERS = 5
PLACEHOLDERS = ("change-me", "changeme", "django-insecure", "put-fifty-random", "random-characters")

NEEDED_APPS = tuple(f"django.contrib.{name}" for name in ("auth", "contenttypes", "sessions", "staticfiles"))
NEEDED_MIDDLEWARE = (
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
)
NEEDED_PROCESSORS = (
    "django.template.context_processors.request",
    "django.contrib.auth.context_processors.auth",
)

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
    application = getattr(settings, "ASGI_APPLICATION", None)
    source = _source_of(application.rpartition(".")[0]) if application else None
    if source is None:
        problem = f"is {quote(application)}, and there is no such module" if application else "is not set"
        found.append(
            Error(
                f"ASGI_APPLICATION {problem}; runserver and serve would not answer WebSockets.",
                hint='ASGI_APPLICATION = "project.asgi.application"',
                id="metrics_stream.E003",
            )
        )
    elif "metrics_stream" not in source:
        found.append(
            Warning(
                f"The module of ASGI_APPLICATION, {quote(application)}, does not name metrics_stream; the WebSocket "
                "is not served.",
                hint="from metrics_stream.routing import stream_application, then "
                "application = stream_application(get_asgi_application())",
                id="metrics_stream.W020",
            )
        )
    if next(iter(apps.get_app_configs())).name != "daphne":
        found.append(
            Warning(
                "daphne is not the first entry of INSTALLED_APPS; runserver would not answer WebSockets.",
                hint='INSTALLED_APPS = ["daphne", …]',
                id="metrics_stream.W001",
            )
        )
    return found


@register(Tags.compatibility)
def check_project(**_: Any) -> list[CheckMessage]:
    """Find apps and middleware that a project lacks."""
    found: list[CheckMessage] = [
        Error(
            f"{app!r} is not in INSTALLED_APPS; metrics_stream needs it.",
            hint=f'INSTALLED_APPS = [*INSTALLED_APPS, "{app}"]',
            id="metrics_stream.E020",
        )
        for app in NEEDED_APPS
        if not apps.is_installed(app)
    ]
    found += [
        Error(
            f"{middleware!r} is not in MIDDLEWARE; pages of metrics_stream need it.",
            hint=f'MIDDLEWARE = [*MIDDLEWARE, "{middleware}"], in the order of Django\'s documentation',
            id="metrics_stream.E021",
        )
        for middleware in NEEDED_MIDDLEWARE
        if not _has_middleware(middleware)
    ]
    serves_files = any(entry.partition(".")[0] in ("servestatic", "whitenoise") for entry in settings.MIDDLEWARE)
    if not settings.DEBUG and not serves_files and str(settings.STATIC_URL).startswith("/"):
        found.append(
            Warning(
                "No middleware serves static files; unless another server does, pages have no styles and scripts.",
                hint='MIDDLEWARE.insert(1, "servestatic.middleware.ServeStaticMiddleware"), or '
                'SILENCED_SYSTEM_CHECKS = ["metrics_stream.W021"]',
                id="metrics_stream.W021",
            )
        )
    return found


@register(Tags.templates)
def check_templates(**_: Any) -> list[CheckMessage]:
    """Find that pages cannot be drawn: templates or context processors are missing."""
    try:
        get_template("metrics_stream/base.html")
    except (TemplateDoesNotExist, ImproperlyConfigured):
        return [
            Error(
                "The templates of metrics_stream are not found.",
                hint="from metrics_stream.conf import templates_folder, then "
                'TEMPLATES[0]["DIRS"] = [*TEMPLATES[0]["DIRS"], templates_folder()]',
                id="metrics_stream.E023",
            )
        ]
    options: list[Any] = [engine.get("OPTIONS", {}) for engine in settings.TEMPLATES]
    named = [name for each in options for name in each.get("context_processors", [])]
    return [
        Error(
            f"{name!r} is not among the context processors; templates of metrics_stream need it.",
            hint=f'TEMPLATES[0]["OPTIONS"]["context_processors"] += ["{name}"]',
            id="metrics_stream.E022",
        )
        for name in NEEDED_PROCESSORS
        if name not in named
    ]


@register(Tags.urls)
def check_addresses(**_: Any) -> list[CheckMessage]:
    """Find that there are no pages, or none for signing in."""
    try:
        reverse("metrics_stream:index")
    except NoReverseMatch:
        return [
            Warning(
                "metrics_stream.urls is not included, so there are no dashboards and no HTTP API.",
                hint='urlpatterns = [*urlpatterns, path("load/", include("metrics_stream.urls"))]',
                id="metrics_stream.W022",
            )
        ]
    try:
        address = resolve_url(settings.LOGIN_URL)
        if address.startswith("/"):
            resolve(f"/{address.removeprefix(get_script_prefix())}")
    except (NoReverseMatch, Resolver404):
        return [
            Warning(
                f"LOGIN_URL is {quote(str(settings.LOGIN_URL))}, which leads nowhere, and viewers are sent there.",
                hint='LOGIN_URL = "metrics_stream:login"',
                id="metrics_stream.W023",
            )
        ]
    return []


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


def _has_middleware(wanted: str) -> bool:
    """Return whether a middleware or a class that is made from it is in use."""
    base = import_string(wanted)
    for entry in settings.MIDDLEWARE:
        try:
            found = import_string(entry)
        except ImportError:  # Django reports it
            continue
        if isinstance(found, type) and issubclass(found, base):
            return True
    return False


def _source_of(module: str) -> str | None:
    """Return the text of a module without importing it, since that would start what it serves; None without one."""
    try:
        spec = find_spec(module) if module else None
    except (ImportError, ValueError):
        return None
    return None if spec is None or spec.origin is None else Path(spec.origin).read_text(errors="replace")


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
