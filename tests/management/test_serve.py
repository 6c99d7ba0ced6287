import asyncio
import contextlib
import subprocess
import sys

import pytest
import websockets
from django.core.management import CommandError, call_command

from tests.support.stack import ROOT, Stack, eventually


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"workers": 2}, "needs a channel layer between processes.*set REDIS_URL"),
        ({"workers": 0}, "--workers is 0; it must be 1 to 64"),
        ({"port": 70_000}, "--port is 70000; it must be 1 to 65535"),
    ],
)
def test_what_cannot_be_served_is_refused_with_what_is_allowed(options, words):
    with pytest.raises(CommandError, match=words):
        call_command("serve", **options)


async def test_where_few_files_may_be_open_the_server_refuses_before_they_run_out(tmp_path):
    stack = Stack(tmp_path, "")
    command = f"ulimit -n 100; exec {sys.executable} manage.py serve --port {stack.port}"
    with stack.log.open("wb") as log:
        stack.server = subprocess.Popen(
            ["/bin/sh", "-c", command], cwd=ROOT, env=stack.environment, stdout=log, stderr=log
        )
    try:
        await eventually(stack.answers, 30, every_seconds=0.1)
        async with contextlib.AsyncExitStack() as opened:

            async def ask(path):
                reader, writer = await asyncio.open_connection("127.0.0.1", stack.port)
                opened.callback(writer.close)
                writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
                return int((await asyncio.wait_for(reader.readuntil(b"\r\n"), 10)).split()[1])

            for _ in range(60):
                # They give way to those that ask.
                _, silent = await asyncio.open_connection("127.0.0.1", stack.port)
                opened.callback(silent.close)
            # One place in ten is for pages and programs.
            for _ in range(45):
                await opened.enter_async_context(websockets.connect(stack.socket_url, proxy=None))
            for _ in range(20):
                with pytest.raises(websockets.InvalidStatus, match="503"):
                    await websockets.connect(stack.socket_url, proxy=None)
                assert await ask("/healthz") == 200
    finally:
        stack.stop()
    log_text = stack.log.read_text()
    assert "may open 100 files" in log_text
    assert "past 50 connections new ones are answered 503" in log_text
    assert "Too many open files" not in log_text
