"""REDIS_URL as the channel layer's configuration: one Redis or Valkey, or sentinels, with or without TLS."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

FORMS = (
    "redis://HOST:PORT/DB, unix:///PATH, redis+sentinel://HOST:PORT,HOST:PORT/MASTER/DB, "
    "and with TLS rediss:// and rediss+sentinel://"
)
SENTINEL_PORT = 26379

TLS_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
TLS_OPTIONS = (*TLS_FILES, "ssl_check_hostname")
SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")
BOOLEANS = {"true": True, "false": False}

# All calls of the channel layer have their own deadlines; these are for its work between two calls.
TIMES = {"socket_connect_timeout": 3, "health_check_interval": 15}
# A sentinel that does not answer must leave time for the next one within the deadline of one call; redis-py's defaults
# are ten attempts of five seconds.
SENTINEL_TIMES = {"socket_connect_timeout": 0.5, "socket_timeout": 0.5}


def channel_layer_host(url: str) -> dict[str, Any]:
    """Return the entry of `hosts` in the channel layer's CONFIG; raise ImproperlyConfigured for a bad URL."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise _wrong(url, "its host is malformed") from error
    base, _, kind = parts.scheme.partition("+")
    if base not in ("redis", "rediss", "unix") or kind not in ("", "sentinel") or (base == "unix" and kind):
        raise _wrong(url, f"{parts.scheme!r} is no scheme that is known")
    allowed = {"redis": (), "rediss": TLS_OPTIONS, "unix": ("db",)}[base] + (SENTINEL_OPTIONS if kind else ())
    options = _options(url, parts, allowed)
    if kind:
        return _sentinel_host(url, parts, options)
    if base == "unix" and not parts.path:
        raise _wrong(url, "it names no socket")
    if base != "unix":
        _single_host(url, parts)
    return {"address": url, **TIMES}


def _wrong(url: str, what: str) -> ImproperlyConfigured:
    """Return the error for a part of the URL, without passwords."""
    shown = re.sub(r"//.*@", "//***@", url.partition("?")[0])
    return ImproperlyConfigured(f"REDIS_URL={shown}: {what}; allowed: {FORMS}")


def _options(url: str, parts: SplitResult, allowed: tuple[str, ...]) -> dict[str, Any]:
    options: dict[str, Any] = dict(parse_qsl(parts.query, keep_blank_values=True))
    for name, value in options.items():
        if name not in allowed:
            names = ", ".join(allowed) or "none"
            raise _wrong(url, f"option {name!r} is unknown for {parts.scheme}:// (its options: {names})")
        if name in TLS_FILES and not Path(value).is_file():
            raise _wrong(url, f"{name} is {value!r}, which is no file")
        if name == "db":
            _database(url, value)
        if name == "ssl_check_hostname":
            if value not in BOOLEANS:
                raise _wrong(url, f"{name} is {value!r}; it must be true or false")
            options[name] = BOOLEANS[value]
    return options


def _single_host(url: str, parts: SplitResult) -> None:
    if "," in parts.netloc.rpartition("@")[2]:
        raise _wrong(url, "only sentinels can be several")
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        # Python's own message quotes a part of a password that has a slash in it.
        raise _wrong(url, "its port is no number from 1 to 65535; in a password, / is written %2F")
    if not parts.hostname:
        raise _wrong(url, "it names no host")
    _database(url, parts.path)


def _sentinel_host(url: str, parts: SplitResult, options: dict[str, Any]) -> dict[str, Any]:
    # Not above: most commands do not use Redis, and the import of redis-py takes time.
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    account, _, hosts = parts.netloc.rpartition("@")
    username, _, password = account.partition(":")
    master, _, database = parts.path.removeprefix("/").partition("/")
    if not master:
        raise _wrong(url, "it names no master")
    tls = {"ssl": True, **{name: options[name] for name in TLS_OPTIONS if name in options}}
    if parts.scheme != "rediss+sentinel":
        tls = {}
    of_sentinels = {name.removeprefix("sentinel_"): options[name] for name in SENTINEL_OPTIONS if name in options}
    of_master = {"username": unquote(username) or None, "password": unquote(password) or None}
    return {
        "sentinels": [_sentinel(url, host) for host in hosts.split(",")],
        "sentinel_kwargs": {**of_sentinels, **tls, **SENTINEL_TIMES, "retry": Retry(NoBackoff(), 0)},
        "master_name": unquote(master),
        "db": _database(url, database),
        **{name: value for name, value in of_master.items() if value is not None},
        **tls,
        **TIMES,
    }


def _sentinel(url: str, text: str) -> tuple[str, int]:
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::([0-9]+))?", text)
    if not found or not 0 < int(found[2] or SENTINEL_PORT) <= 65535:
        raise _wrong(url, f"{text!r} is no sentinel")
    return found[1].strip("[]"), int(found[2] or SENTINEL_PORT)


def _database(url: str, path: str) -> int:
    # redis-py silently uses 0 when the text is no number.
    text = path.removeprefix("/")
    if text and not re.fullmatch(r"[0-9]+", text):
        raise _wrong(url, f"{text!r} is no database; it must be a number")
    return int(text or 0)
