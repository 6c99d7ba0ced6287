"""The peers: the Channels tutorial's way, the `websockets` library, NATS, mosquitto, and the floor."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from typing import Any

from benchmarks.load import Target
from benchmarks.native import BenchError, compiled
from benchmarks.producer import TOPIC, mqtt_connect, mqtt_packet, mqtt_text
from benchmarks.systems import InProcess, Producer, System


class Tutorial(InProcess):
    """Each consumer joins the group, as in the Channels tutorial."""

    name = "tutorial's way on daphne"
    application = "tutorial"
    server = "daphne"


class TutorialUvicorn(Tutorial):
    """The same on uvicorn."""

    name = "tutorial's way on uvicorn"
    server = "uvicorn"


class BatchServer(System):
    """A broadcast server on the `websockets` library that batches for each client."""

    name = "websockets, batch per client"

    def start(self) -> None:
        """Start the server and the producer."""
        compression = "deflate" if self.load.deflate else "plain"
        self.run(sys.executable, "-m", "benchmarks.batch_server", str(self.port), str(self.feed_port), compression)
        self.producer = Producer("lines", self.load.kind, f"127.0.0.1:{self.feed_port}")


class Nats(System):
    """nats-server over WebSocket."""

    name = "nats-server"

    @classmethod
    def missing(cls) -> str | None:
        """Return what must be installed first, or None."""
        return None if shutil.which("nats-server") else "not installed (Debian: apt install nats-server)"

    def start(self) -> None:
        """Start the server and the producer."""
        config = self.folder / f"nats-{self.port}.conf"
        compression = "true" if self.load.deflate else "false"
        config.write_text(
            f'listen: "127.0.0.1:{self.feed_port}"\nping_interval: "1h"\n'
            f'websocket {{ listen: "127.0.0.1:{self.port}", no_tls: true, compression: {compression} }}\n'
        )
        self.run(str(shutil.which("nats-server")), "-c", str(config))
        self.producer = Producer("nats", self.load.kind, f"127.0.0.1:{self.feed_port}")

    def target(self) -> Target:
        """Return how clients connect."""
        hello = f'CONNECT {{"verbose":false,"pedantic":false}}\r\nSUB {TOPIC} 1\r\nPING\r\n'
        # nats-server compresses only for clients that give up the context in both directions.
        offer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
        return Target(
            port=self.port,
            offer=offer if self.load.deflate else None,
            scripts=[f"hex:{hello.encode().hex()}"],
            ready="PONG",
            is_stream=True,
        )


class Mosquitto(System):
    """mosquitto over WebSocket; it knows no compression."""

    name = "mosquitto"

    @classmethod
    def missing(cls) -> str | None:
        """Return what must be installed first, or None."""
        return None if cls._program() else "not installed (Debian: apt install mosquitto)"

    @staticmethod
    def _program() -> str | None:
        return shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

    def start(self) -> None:
        """Start the server and the producer."""
        config = self.folder / f"mosquitto-{self.port}.conf"
        config.write_text(
            f"listener {self.feed_port} 127.0.0.1\nlistener {self.port} 127.0.0.1\nprotocol websockets\n"
            "allow_anonymous true\nmax_queued_messages 0\nset_tcp_nodelay true\nlog_type error\n"
        )
        self.run(str(self._program()), "-c", str(config))
        self.producer = Producer("mqtt", self.load.kind, f"127.0.0.1:{self.feed_port}")

    def target(self) -> Target:
        """Return how clients connect."""
        subscribe = mqtt_packet(0x82, b"\x00\x01" + mqtt_text(TOPIC) + b"\x00")
        return Target(
            port=self.port,
            offer=None,
            subprotocol="mqtt",
            scripts=[
                f"hex:{(mqtt_connect(f'client-{index}') + subscribe).hex()}" for index in range(self.load.clients)
            ],
            ready="\x03",  # the length of a SUBACK; CONNACK holds no such byte
            is_stream=True,
        )


class Floor(System):
    """A loop in C that only calls send(); see floor.c. `frame_bytes` is the size of a frame of metrics_stream."""

    name = "floor: send() alone"
    has_points = False
    frame_bytes = 1_000

    def start(self) -> None:
        """Start the program."""
        self.run(str(compiled("floor")), str(self.port))

    def target(self) -> Target:
        """Return how clients connect."""
        return Target(port=self.port, offer=None)

    def publish(self, rate: float, count: int) -> dict[str, Any]:
        """Send as many frames as metrics_stream: one per client and interval."""
        assert self.program is not None
        assert self.program.process.stdin is not None
        hertz = 1 / (self.load.interval_seconds or 1.0)
        frames = max(1, round(count / rate * hertz))
        log = self.program.log
        before = log.read_text()
        self.program.process.stdin.write(f"publish {hertz} {frames} {self.frame_bytes}\n".encode())
        self.program.process.stdin.flush()
        while (after := log.read_text()) == before:
            if self.program.process.poll() is not None:
                raise BenchError(f"floor ended: {after}")
            time.sleep(0.02)
        return {"published": frames, **json.loads(after.splitlines()[-1])}
