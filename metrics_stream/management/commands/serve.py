"""Serve pages and sockets for real use."""

from argparse import ArgumentParser
from typing import Any

import uvicorn
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from metrics_stream.bus import layer_is_shared
from metrics_stream.conf import get_settings

# Clients get their close codes and the application its disconnects within this time after SIGTERM.
GRACEFUL_SECONDS = 10

MAX_WORKERS = 64


class Command(BaseCommand):
    help = (
        "Serve pages and sockets with uvicorn: the protocol class, the limits and the timeouts that this application "
        "is made for. Several workers need a channel layer that joins processes (REDIS_URL)."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
        parser.add_argument("--port", type=int, default=8000, help="port to listen on (default 8000)")
        parser.add_argument("--workers", type=int, default=1, help="server processes (default 1)")

    def handle(self, *args: Any, host: str, port: int, workers: int, **options: Any) -> None:
        if not 1 <= port <= 65_535:
            raise CommandError(f"--port is {port}; it must be 1 to 65535")
        if not 1 <= workers <= MAX_WORKERS:
            raise CommandError(f"--workers is {workers}; it must be 1 to {MAX_WORKERS}")
        if workers > 1 and not layer_is_shared():
            raise CommandError(
                f"--workers {workers} needs a channel layer that joins processes, and the in-memory one serves a "
                "single process; set REDIS_URL, or leave --workers out"
            )
        module, _, name = str(settings.ASGI_APPLICATION).rpartition(".")
        uvicorn.run(
            f"{module}:{name}",
            host=host,
            port=port,
            workers=workers,
            lifespan="on",
            ws="metrics_stream.socket_protocol:StreamSocketProtocol",
            # Well above the protocol's own limit, so that the application can answer a message that is too big.
            ws_max_size=max(2**20, 2 * get_settings().max_message_bytes),
            timeout_graceful_shutdown=GRACEFUL_SECONDS,
            log_level="warning",
            access_log=False,
        )
