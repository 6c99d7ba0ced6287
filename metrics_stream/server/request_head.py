"""The bounds of a request head, and what the server changes in one before the application reads it.

A head is the request line and the headers. The library for handshakes has the same bounds and no answer for heads that
exceed them, so they hold for every request.
"""

from __future__ import annotations

import re
from http import HTTPStatus

from metrics_stream.core.formatting import quote
from metrics_stream.server.refusals import Refusal

# The usual bounds of proxies. A line is a header with its name, or the target of the request line.
MAX_LINE_BYTES = 8_000
MAX_HEAD_BYTES = 32_768
MAX_HEADERS = 100

Headers = list[tuple[bytes, bytes]]

# RFC 9112, 3.2.2: the form of a target that names its server, as programs send it that take this one for a proxy.
_ABSOLUTE = re.compile(rb"https?://([^/?#@\s]+)(?:/([^#\s]*)|(\?[^#\s]*))?", re.IGNORECASE)

_WEB_SCHEMES = frozenset({"http", "https", "ws", "wss"})


class RefusedRequestError(Exception):
    """The server refuses a request; `status` and `str` of it are the answer, which ends the connection."""

    def __init__(self, status: HTTPStatus, reason: Refusal, text: str, **headers: str) -> None:
        super().__init__(text)
        self.status = status
        self.reason = reason
        self.headers = headers


def too_long_target() -> RefusedRequestError:
    """Return the refusal of a request whose address is too long."""
    text = f"the address of the request has more than {MAX_LINE_BYTES:,} bytes with its query"
    return RefusedRequestError(HTTPStatus.REQUEST_URI_TOO_LONG, Refusal.TARGET_TOO_LONG, text)


def too_large_head(what: str) -> RefusedRequestError:
    """Return the refusal of a request with too much in its head."""
    text = (
        f"the head of the request has {what}; allowed: {MAX_HEADERS} headers, each of {MAX_LINE_BYTES:,} bytes, "
        f"together {MAX_HEAD_BYTES:,} bytes"
    )
    return RefusedRequestError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, Refusal.HEAD_TOO_LARGE, text)


def malformed(text: str) -> RefusedRequestError:
    """Return the refusal of what is not a valid request."""
    return RefusedRequestError(HTTPStatus.BAD_REQUEST, Refusal.MALFORMED, text)


def check_hosts(version: str, headers: Headers) -> None:
    """Raise RefusedRequestError unless the request names its host once (RFC 9112, 3.2); HTTP/1.0 need not."""
    count = sum(name == b"host" for name, _ in headers)
    if count > 1 or (count == 0 and version == "1.1"):
        raise malformed(f"the request has {count} Host headers; allowed: 1")


def check_handshake(headers: Headers) -> None:
    """Raise RefusedRequestError for a handshake that announces a body: nobody would read it."""
    for name, value in headers:
        if name == b"transfer-encoding" or (name == b"content-length" and value.strip() != b"0"):
            raise malformed(
                f"the handshake of a WebSocket has a body ({name.decode()}: {quote(value.decode('latin-1'))}); "
                "allowed: none"
            )


def to_origin_form(target: bytes, headers: Headers) -> bytes:
    """Return the path and query of a target; the host that it names replaces that of the headers.

    Raises RefusedRequestError for other forms of targets, which are for proxies.
    """
    if target.startswith(b"/"):
        return target
    if not (found := _ABSOLUTE.fullmatch(target)):
        raise malformed("the address of the request is none of this server; allowed: /path or http://host/path")
    host, path, query = found.groups()
    headers[:] = [(b"host", host), *((name, value) for name, value in headers if name != b"host")]
    return b"/" + (path or b"") + (query or b"")


def normalize_proxy_headers(headers: Headers) -> None:
    """Write what proxies say about their client in the one spelling that uvicorn reads.

    The scheme is the first that `X-Forwarded-Proto` lists, the one which the client used, in any case of letters;
    without that header it comes from `Forwarded` (RFC 7239), `X-Forwarded-Scheme`, `X-Forwarded-Ssl` or
    `Front-End-Https`. Addresses come from `Forwarded` only without an `X-Forwarded-For`. Whether the peer is a proxy
    that may say so is for uvicorn to decide.
    """
    if not any(name.startswith((b"x-forwarded", b"forwarded", b"front-end-https")) for name, _ in headers):
        return
    scheme = _scheme_of(headers)
    addresses = [] if _joined(headers, b"x-forwarded-for") else _forwarded(headers, "for")
    if scheme is not None:
        headers[:] = [(name, value) for name, value in headers if name != b"x-forwarded-proto"]
        headers.append((b"x-forwarded-proto", scheme.encode()))
    if addresses:
        headers.append((b"x-forwarded-for", ", ".join(addresses).encode("latin-1")))


def _scheme_of(headers: Headers) -> str | None:
    listed = _joined(headers, b"x-forwarded-proto") or _joined(headers, b"x-forwarded-scheme")
    if not listed:
        listed = ",".join(_forwarded(headers, "proto"))
    if not listed:
        switches = (_joined(headers, b"x-forwarded-ssl"), _joined(headers, b"front-end-https"))
        return "https" if any(each.strip().lower() == "on" for each in switches) else None
    first = listed.partition(",")[0].strip().strip('"').lower()
    return first if first in _WEB_SCHEMES else None


def _joined(headers: Headers, wanted: bytes) -> str:
    return ",".join(value.decode("latin-1") for name, value in headers if name == wanted)


def _forwarded(headers: Headers, parameter: str) -> list[str]:
    """Return the values of a parameter of all elements of `Forwarded`, the client's first."""
    found = []
    for element in _joined(headers, b"forwarded").split(","):
        for pair in element.split(";"):
            name, _, value = pair.partition("=")
            if name.strip().lower() == parameter:
                found.append(value.strip().strip('"'))
    return found
