import logging
import os
import resource
import signal
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import uvicorn
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from metrics_stream.bus.bus import layer_is_shared
from metrics_stream.conf import StreamSettings, get_settings
from metrics_stream.runtime.workers import FOLDER_VARIABLE
from metrics_stream.server.supervisor import Supervisor, WorkerConfig

logger = logging.getLogger(__name__)

# How much longer than DRAIN_SECONDS a stop may take: clients answer the close, requests in progress end.
GRACEFUL_SECONDS = 6

# A worker that takes longer to start or to answer its parent is replaced.
WORKER_SECONDS = 30

# Connections of pages and programs in addition to MAX_CLIENTS; past them, new connections are answered 503.
SPARE_CONNECTIONS = 1_000
# Files that a process opens besides its connections, with a reserve; half of the limit where that is lower.
SPARE_FILES = 500

MAX_WORKERS = 64


class Command(BaseCommand):
    help = (
        "Serve pages and WebSockets with uvicorn, with the protocol classes, limits and timeouts of this application. "
        "Several workers need a channel layer between processes (REDIS_URL)."
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
                f"--workers {workers} needs a channel layer between processes, and the in-memory one serves a single "
                "process; set REDIS_URL, or omit --workers"
            )
        stream = get_settings()
        connections = _allow_connections(stream.max_clients + SPARE_CONNECTIONS)
        with _workers_folder() if workers > 1 else nullcontext():
            self._serve(host, port, workers, connections, stream)

    def _serve(self, host: str, port: int, workers: int, connections: int, stream: StreamSettings) -> None:
        if workers == 1:
            # Several workers are replaced one after the other; a single one stops, and systemd starts it again.
            signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
        module, _, name = str(settings.ASGI_APPLICATION).rpartition(".")
        options: dict[str, Any] = {
            "app": f"{module}:{name}",
            "host": host,
            "port": port,
            "lifespan": "on",
            "http": "metrics_stream.server.http:PatientHttpProtocol",
            "ws": "metrics_stream.server.websocket:StreamSocketProtocol",
            # Well above the application's limit, so that the application can answer a message that is too big.
            "ws_max_size": max(2**20, 2 * stream.max_message_bytes),
            "limit_concurrency": connections,
            "forwarded_allow_ips": getattr(settings, "FORWARDED_ALLOW_IPS", None),
            "timeout_graceful_shutdown": ceil(stream.drain_seconds) + GRACEFUL_SECONDS,
            # Django's LOGGING formats the messages of uvicorn too.
            "log_config": None,
            "log_level": "warning",
            "access_log": False,
        }
        if workers == 1:
            uvicorn.run(**options)
        else:
            # A long timeout, since a worker that starts slowly on a busy machine does not hang.
            config = WorkerConfig(**options, workers=workers, timeout_worker_healthcheck=WORKER_SECONDS)
            Supervisor(config, sockets=[config.bind_socket()]).run()


@contextmanager
def _workers_folder() -> Iterator[None]:
    """Give the workers a folder through which they share their counters; in memory where the system has that."""
    shared_memory = Path("/dev/shm")  # noqa: S108  mkdtemp makes the folder 0700
    with TemporaryDirectory(prefix="metrics-stream-", dir=shared_memory if shared_memory.is_dir() else None) as folder:
        os.environ[FOLDER_VARIABLE] = folder
        yield


def _allow_connections(wanted: int) -> int:
    """Let this process and its workers open files for `wanted` connections; return how many the system allows.

    A server at its limit of files accepts no connection and gives no reason, so it must refuse connections before that.
    """
    files = _allow_files(wanted + SPARE_FILES)
    allowed = min(wanted, files - min(SPARE_FILES, files // 2))
    if allowed < wanted:
        logger.warning(
            "this process may open %d files, fewer than MAX_CLIENTS needs (%d), so past %d connections new ones are "
            "answered 503; raise the limit (systemd: LimitNOFILE=%d) or lower MAX_CLIENTS",
            *(files, wanted + SPARE_FILES, allowed, wanted + SPARE_FILES),
        )
    return allowed


def _allow_files(wanted: int) -> int:
    """Let this process and its workers open `wanted` files, or as many as the system allows; return how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        except (OSError, ValueError):  # A sandbox may forbid it.
            allowed = soft
    return allowed
