"""The tags of `{% load metrics_stream %}`.

`module_script` loads a module script together with everything that it imports. A browser alone learns what a module
imports only when it has that module: a page whose modules import each other four deep takes four more round trips.
"""

from __future__ import annotations

import functools
import posixpath
import re
from pathlib import Path

from django.conf import settings
from django.contrib.staticfiles import finders
from django.template import Library
from django.templatetags.static import static
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from metrics_stream.access.grants import is_open

register = Library()
register.simple_tag(is_open)

# As modules here are written: each statement begins a line.
_IMPORTED = re.compile(r"""^(?:import|export)\s(?:[\w\s{},*$]*\sfrom\s)?\s*["'](\.{1,2}/[^"']+)["']""", re.MULTILINE)


@register.simple_tag
def module_script(path: str) -> SafeString:
    """Return the tags that run a static ES module, and before them those that fetch what it imports.

    `path` is as `{% static %}` takes it.
    """
    find = imported_modules if settings.DEBUG else _known_modules
    links = format_html_join("\n", '<link rel="modulepreload" href="{}">', ((static(item),) for item in find(path)))
    return format_html('{}\n<script type="module" src="{}"></script>', links, static(path))


def imported_modules(path: str) -> tuple[str, ...]:
    """Return the static paths of all that a module imports, directly or not, itself left out; near ones come first."""
    found = {path: None}
    waiting = [path]
    for module in waiting:
        for reference in _IMPORTED.findall(_text(module)):
            imported = posixpath.normpath(posixpath.join(posixpath.dirname(module), reference))
            if imported not in found:
                found[imported] = None
                waiting.append(imported)
    return tuple(found)[1:]


# In production static files stay as they are for as long as the process lives.
_known_modules = functools.cache(imported_modules)


def _text(path: str) -> str:
    found = finders.find(path)
    return Path(found).read_text() if isinstance(found, str) else ""
