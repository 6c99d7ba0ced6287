"""A program that publishes at a fixed rate even when receivers do not keep up: `producer TRANSPORT KIND ADDRESS`.

It reads commands from its standard input: `publish RATE COUNT` publishes and then prints a report as JSON. `sent_at` is
the instant at which a metric was due, so a delay of the producer counts as age, too.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.payload import Source, schedule

TOPIC = "metrics"


class LineTransport:
    """One JSON text per line over TCP."""

    def __init__(self, address: str) -> None:
        host, port = address.split(":")
        self.socket = socket.create_connection((host, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def put(self, source: Source, sent_at: float) -> None:
        """Publish the next metric."""
        self.socket.sendall(source.next_json(sent_at) + b"\n")

    def finish(self) -> dict[str, Any]:
        """Wait until all metrics are handed over; return how many were lost."""
        return {}


class NatsTransport(LineTransport):
    """NATS's own protocol over TCP."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.socket.recv(65536)  # INFO
        self.socket.sendall(b'CONNECT {"verbose":false,"pedantic":false}\r\nPING\r\n')
        self.socket.recv(65536)  # PONG

    def put(self, source: Source, sent_at: float) -> None:
        """Publish the next metric."""
        body = source.next_json(sent_at)
        self.socket.sendall(b"PUB %s %d\r\n%s\r\n" % (TOPIC.encode(), len(body), body))


def mqtt_packet(kind: int, body: bytes) -> bytes:
    """Return an MQTT 3.1.1 packet: kind and flags in one byte, the length in groups of seven bits, the body."""
    length, header = len(body), bytearray([kind])
    while True:
        length, low = divmod(length, 128)
        header.append(low | (128 if length else 0))
        if not length:
            return bytes(header) + body


def mqtt_text(text: str) -> bytes:
    """Return a text as MQTT encodes it."""
    return struct.pack("!H", len(text)) + text.encode()


def mqtt_connect(client_id: str) -> bytes:
    """Return a CONNECT packet: clean session, no keep-alive."""
    return mqtt_packet(0x10, mqtt_text("MQTT") + b"\x04\x02\x00\x00" + mqtt_text(client_id))


class MqttTransport(LineTransport):
    """MQTT over TCP, quality of service 0."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.socket.sendall(mqtt_connect("producer"))
        self.socket.recv(65536)  # CONNACK

    def put(self, source: Source, sent_at: float) -> None:
        """Publish the next metric."""
        self.socket.sendall(mqtt_packet(0x30, mqtt_text(TOPIC) + source.next_json(sent_at)))


class StreamTransport:
    """metrics_stream's Broadcaster, on the channel layer of the environment."""

    def __init__(self, address: str) -> None:
        del address
        import django

        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
        django.setup()
        from metrics_stream.broadcast import Broadcaster

        self.stream = Broadcaster(source="bench")

    def put(self, source: Source, sent_at: float) -> None:
        """Publish the next metric."""
        self.stream.broadcast(*source.next(sent_at), sent_at)

    def finish(self) -> dict[str, Any]:
        """Wait until all metrics are handed over; return how many were lost."""
        self.stream.flush(timeout=10)
        return {"dropped": self.stream.dropped, "error": self.stream.last_error}


TRANSPORTS: dict[str, Callable[[str], Any]] = {
    "stream": StreamTransport,
    "lines": LineTransport,
    "nats": NatsTransport,
    "mqtt": MqttTransport,
}


def publish(transport: Any, source: Source, rate: float, count: int) -> dict[str, Any]:
    """Publish `count` metrics; return how many, and the greatest delay of one."""
    start, start_clock = time.time() + 0.01, time.monotonic() + 0.01
    late = 0.0
    for sent_at in schedule(rate, count, start):
        behind = time.monotonic() - start_clock - (sent_at - start)
        if behind < 0:
            time.sleep(-behind)
        late = max(late, behind)
        transport.put(source, sent_at)
    return {"published": count, "late_ms": round(1000 * late, 1), **transport.finish()}


def main(transport_name: str, kind: str, address: str = "") -> None:
    """Connect, then run commands until the input ends."""
    transport, source = TRANSPORTS[transport_name](address), Source(kind)
    print(json.dumps({"connected": True}), flush=True)
    for line in sys.stdin:
        _, rate, count = line.split()
        print(json.dumps(publish(transport, source, float(rate), int(count))), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
