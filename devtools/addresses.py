"""Addresses and ports that the server listens on."""

import contextlib
import errno
import http.client
import ipaddress
import json
import socket

from devtools.output import fail
from devtools.programs import ask

PORTS_TRIED = 50


def resolve(host: str) -> str:
    """Return the numeric address of a host, IPv4 before IPv6."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        fail(f"--host {host}: no such address; use 127.0.0.1 (for this machine only) or 0.0.0.0 (for all machines)")
    return str(min(found, key=lambda entry: entry[0] != socket.AF_INET)[4][0])


def free_port(address: str, wanted: int) -> int:  # noqa: RET503  fail() does not return.
    """Return the first port from `wanted` on that is free, any free port for 0."""
    for port in range(wanted, min(wanted + PORTS_TRIED, 65536)):
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
                probe.listen()
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    continue
                fail(f"cannot listen on {address} port {port} ({error.strerror}); choose another --host or --port")
            return int(probe.getsockname()[1])
    fail(f"the {PORTS_TRIED} ports from {wanted} on are all in use; choose another --port")


def bracketed(address: str) -> str:
    """Return an address as a URL spells it."""
    return f"[{address}]" if ":" in address else address


def public_addresses(address: str) -> list[str]:
    """Return the addresses at which other machines reach a server that listens on `address`."""
    code = "import json, psutil; print(json.dumps([a.address for n in psutil.net_if_addrs().values() for a in n]))"
    every = ipaddress.ip_address(address).is_unspecified
    found = []
    for text in json.loads(ask(code) or "[]") if every else [address]:
        with contextlib.suppress(ValueError):  # a hardware address
            candidate = ipaddress.ip_address(text)
            if not (candidate.is_loopback or candidate.is_link_local) and (":" in address or candidate.version == 4):
                found.append(text)
    return found


def healthy(address: str, port: int) -> bool:
    """Tell whether the server answers /healthz with 200."""
    connection = http.client.HTTPConnection(address, port, timeout=5)
    with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    return False
