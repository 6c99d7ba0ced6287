"""What a visitor shows: a token, the session of a browser, or nothing; read from headers, not yet resolved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie

from django.conf import settings as django_settings

from metrics_stream.core.errors import AccessRefusedError
from metrics_stream.core.protocol.codes import CloseCode, ErrorCode
from metrics_stream.limits.guesses import guesses_of_process
from metrics_stream.models import AccessToken

BEARER = "bearer "


@dataclass(frozen=True, slots=True)
class Anybody:
    """Nothing was shown."""


@dataclass(frozen=True, slots=True)
class BrowserSession:
    """The session cookie of a browser."""

    key: str


@dataclass(frozen=True, slots=True)
class ProgramToken:
    """An access token, by its id."""

    pk: int


Credential = Anybody | BrowserSession | ProgramToken


def forbidden(message: str) -> AccessRefusedError:
    """Return the error for a credential that gives no access, or no longer does."""
    return AccessRefusedError(CloseCode.FORBIDDEN, ErrorCode.FORBIDDEN, message)


def expired(message: str) -> AccessRefusedError:
    """Return the error for a credential whose time is over."""
    return AccessRefusedError(CloseCode.AUTHENTICATION_EXPIRED, ErrorCode.EXPIRED, message)


def credential_of(headers: Mapping[str, str], *, may_have_session: bool, address: str = "") -> Credential:
    """Return the credential in headers, whose names are in lower case; raise AccessRefusedError for an unknown token.

    Session cookies are ignored unless `may_have_session`. `address` is where they come from: unknown tokens count as
    guesses of it, and too many raise TooManyGuessesError.
    """
    authorization = headers.get("authorization", "")
    if authorization.lower().startswith(BEARER):
        return _find_token(authorization[len(BEARER) :].strip(), address)
    if authorization:
        raise forbidden("the header Authorization is of another kind; allowed: Bearer and a token")
    key = _read_cookie(headers.get("cookie", ""), django_settings.SESSION_COOKIE_NAME)
    return BrowserSession(key) if may_have_session and key else Anybody()


def _find_token(text: str, address: str) -> ProgramToken:
    token = guesses_of_process().find(text, address, AccessToken.find, AccessToken.name_possible)
    if token is None:
        raise forbidden("the token is unknown; a token looks like mst_…, and an admin makes it")
    return ProgramToken(token.pk)


def _read_cookie(header: str, name: str) -> str:
    try:
        morsel = SimpleCookie(header).get(name)
    except CookieError:
        return ""
    return "" if morsel is None else morsel.value
