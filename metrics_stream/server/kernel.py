"""What the kernel tells about a connection: how much the peer's machine has received, and what waits."""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
from asyncio import BaseTransport


def acknowledged_bytes(transport: BaseTransport) -> int:
    """Return how many bytes the peer's machine has acknowledged in total, 0 where the kernel does not tell."""
    connection = transport.get_extra_info("socket")
    try:
        # Linux, struct tcp_info: tcpi_bytes_acked stands at byte 120.
        return int(struct.unpack_from("Q", connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 128), 120)[0])
    except (OSError, AttributeError, struct.error):
        return 0


def unacknowledged_bytes(transport: BaseTransport) -> int:
    """Return how many bytes wait in the kernel: if they were not counted, a slow reader would look like none."""
    connection = transport.get_extra_info("socket")
    if connection is None or connection.fileno() < 0:  # the connection is lost already
        return 0
    try:
        return int(struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))[0])
    except OSError:  # this kind of socket does not tell
        return 0
