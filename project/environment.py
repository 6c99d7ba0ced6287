"""Variables of the environment, by type: a value that is not allowed is an error that names it."""

from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured

from metrics_stream.conf import BOOLEANS


class StrictEnv(environ.Env):  # type: ignore[misc]  # the library is untyped
    """The library's reader; it would take a text that is no boolean for False."""

    def bool(self, var: str, default: Any = environ.Env.NOTSET) -> Any:
        """Return the boolean, or the default if the variable is not set."""
        text = self.str(var, default="").strip().lower()
        if not text:
            return default
        if text not in BOOLEANS:
            raise ImproperlyConfigured(f"{var}={text}: allowed: 1 or 0, true or false, yes or no, on or off")
        return BOOLEANS[text]

    def int(self, var: str, default: Any = environ.Env.NOTSET) -> Any:
        """Return the whole number, 0 or above, or the default if the variable is not set."""
        text = self.str(var, default="").strip()
        if not text:
            return default
        if not (text.isascii() and text.isdecimal()):
            raise ImproperlyConfigured(f"{var}={text}: allowed: a whole number, 0 or above 0")
        return int(text)
