"""The tags of `{% load metrics_stream %}`.

Tags for ES modules also link what a module imports, directly or not. Without these links a browser finds an import only
when it has loaded the importing module: a page whose modules import each other four deep takes four more round trips.
"""

from __future__ import annotations

import functools
import posixpath
import re
from collections.abc import Iterable
from pathlib import Path

from django.conf import settings
from django.contrib.staticfiles import finders
from django.shortcuts import resolve_url
from django.template import Library
from django.templatetags.static import static
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from metrics_stream.access.grants import is_open
from metrics_stream.models import Panel

register = Library()
register.simple_tag(is_open)


@register.simple_tag
def sign_in_address() -> str:
    """Return the address of the page for signing in, which may be one of the host's own."""
    return resolve_url(settings.LOGIN_URL)


# In this project each import statement begins a line.
_IMPORTED = re.compile(r"""^(?:import|export)\s(?:[\w\s{},*$]*\sfrom\s)?\s*["'](\.{1,2}/[^"']+)["']""", re.MULTILINE)


@register.simple_tag
def module_script(path: str) -> SafeString:
    """Return the tags that load a static ES module and its imports, and run it; `path` is as for `{% static %}`."""
    links = format_html_join("\n", '<link rel="modulepreload" href="{}">', ((static(item),) for item in _find(path)))
    return format_html('{}\n<script type="module" src="{}"></script>', links, static(path))


@register.simple_tag
def chart_styles(panels: Iterable[Panel]) -> SafeString:
    """Return the links to the style sheets of the panels' kinds."""
    paths = (f"metrics_stream/css/charts/{kind}.css" for kind in _kinds(panels))
    return format_html_join("\n", '<link rel="stylesheet" href="{}">', ((static(path),) for path in paths))


@register.simple_tag
def chart_modules(panels: Iterable[Panel]) -> SafeString:
    """Return the links that load the chart modules of the panels' kinds and their imports.

    `charts/kinds.js` finds the module of a kind by `data-chart`.
    """
    charts = {kind: f"metrics_stream/charts/{kind}.js" for kind in _kinds(panels)}
    imports = dict.fromkeys(item for path in charts.values() for item in _find(path))
    return format_html(
        "{}\n{}",
        format_html_join(
            "\n",
            '<link rel="modulepreload" href="{}" data-chart="{}">',
            ((static(path), kind) for kind, path in charts.items()),
        ),
        format_html_join("\n", '<link rel="modulepreload" href="{}">', ((static(item),) for item in imports)),
    )


def _kinds(panels: Iterable[Panel]) -> list[str]:
    return sorted({panel.kind for panel in panels})


def _find(path: str) -> tuple[str, ...]:
    return imported_modules(path) if settings.DEBUG else _known_modules(path)


def imported_modules(path: str) -> tuple[str, ...]:
    """Return the static paths of all direct and indirect imports of a module, near ones first, without itself."""
    found = {path: None}
    waiting = [path]
    for module in waiting:
        for reference in _IMPORTED.findall(_text(module)):
            imported = posixpath.normpath(posixpath.join(posixpath.dirname(module), reference))
            if imported not in found:
                found[imported] = None
                waiting.append(imported)
    return tuple(found)[1:]


# In production, static files do not change during the life of the process.
_known_modules = functools.cache(imported_modules)


def _text(path: str) -> str:
    found = finders.find(path)
    return Path(found).read_text() if isinstance(found, str) else ""
