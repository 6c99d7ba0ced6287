"""Origins of web pages, as browsers write them: scheme, host and port, and nothing else (RFC 6454)."""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv6Address
from typing import NamedTuple

_PORTS = {"http": 80, "https": 443}

_ORIGIN = re.compile(r"(https?)://([a-z0-9_.-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::([0-9]{1,5}))?", re.IGNORECASE)


class Origin(NamedTuple):
    """What two addresses have in common when a browser takes them for one site."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{self.host}{port}"


def parse_origin(text: str) -> Origin | None:
    """Return the origin that a text is, None for everything else, such as `null` or an address with a path."""
    if not (found := _ORIGIN.fullmatch(text)):
        return None
    scheme, host, port = found[1].lower(), found[2].lower(), int(found[3] or _PORTS[found[1].lower()])
    if not 0 < port <= 65_535:
        return None
    if host.startswith("["):
        try:
            host = f"[{IPv6Address(host[1:-1])}]"
        except AddressValueError:
            return None
    return Origin(scheme, host, port)
