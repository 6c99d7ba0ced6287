"""Addresses and ports."""

import socket
import sys

import pytest

from devtools import addresses


def test_a_busy_port_gives_way_to_the_next() -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        wanted = busy.getsockname()[1]
        assert wanted < addresses.free_port("127.0.0.1", wanted) < wanted + addresses.PORTS_TRIED


def test_a_free_port_is_taken_and_zero_means_any() -> None:
    assert addresses.free_port("127.0.0.1", 0) > 0
    with socket.socket() as reserved:
        # Bound but not listening, it keeps the port from other processes, and on Linux it does not make the port busy.
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        if sys.platform != "linux":
            reserved.close()
        assert addresses.free_port("127.0.0.1", port) == port


def test_no_free_port_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "PORTS_TRIED", 1)
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        with pytest.raises(SystemExit, match="all in use; choose another --port"):
            addresses.free_port("127.0.0.1", busy.getsockname()[1])


def test_an_address_of_another_machine_is_an_error() -> None:
    with pytest.raises(SystemExit, match=r"cannot listen on 192\.0\.2\.77"):
        addresses.free_port("192.0.2.77", 8000)


def test_a_host_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(SystemExit, match="no such address"):
        addresses.resolve("no host at all")


def test_localhost_is_ipv4() -> None:
    assert addresses.resolve("localhost") == "127.0.0.1"
