"""Programs on other machines: real processes with little installed, and a server that gives prepared answers."""

import asyncio
import json
import os
import subprocess
import sys
import textwrap
import zlib

from metrics_stream.broadcast import Broadcaster
from tests.support.documents import FENCE, PRODUCERS
from tests.support.stack import ROOT, free_port

TOKEN = "mst_0badcafe_" + "5ec2e7" * 10

# A machine of a stress test need not have these packages: here their import fails.
WITHOUT = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"django", "channels", "channels_redis", "redis", "asgiref", "httpx", "psutil"}:
            raise ImportError(f"{name} is not installed here")

sys.meta_path.insert(0, Blocked())
"""
PATCH = "from gevent import monkey; monkey.patch_all()\n"


def program(code, server, token, *, start=WITHOUT):
    """Run a program to its end, and return what it printed and logged."""
    head = "import logging; logging.basicConfig(format='%(levelname)s %(message)s')\n"
    head += "from metrics_stream.broadcast import Broadcaster, BroadcastError\n"
    head += f"import os; url, token = {server.url!r}, os.environ['METRICS_TOKEN']\n"
    done = subprocess.run(
        [sys.executable, "-c", start + head + textwrap.dedent(code)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "METRICS_TOKEN": token},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert token not in done.stdout + done.stderr
    return done


def example(word, language=None):
    """Return the code block of docs/producers.md that contains a word."""
    blocks = [(tag, code) for tag, code in FENCE.findall(PRODUCERS.read_text()) if tag and word in code]
    [found] = [code for tag, code in blocks if language in (None, tag)]
    return found


async def in_thread(work, *arguments, **options):
    return await asyncio.get_running_loop().run_in_executor(None, lambda: work(*arguments, **options))


class Answers:
    """A server that gives prepared answers, one for each request, and keeps the requests; None ends the connection."""

    def __init__(self, *answers, usual=None, tls=None):
        self.answers = list(answers)
        self.usual = usual or answer(202, {"accepted": 1})
        """The answer after all others were given."""
        self.requests = []
        self.paths = []
        self.connections = 0
        self.tls = tls

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", free_port(), ssl=self.tls)
        port = self.server.sockets[0].getsockname()[1]
        self.url = f"http{'s' if self.tls else ''}://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_):
        self.server.close()
        await self.server.wait_closed()

    async def serve(self, reader, writer):
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                headers = dict(line.split(": ", 1) for line in head.splitlines()[1:] if line)
                body = await reader.readexactly(int(headers["Content-Length"]))
                packed = headers.get("Content-Encoding") == "gzip"
                self.requests.append((headers, zlib.decompress(body, wbits=31) if packed else body))
                self.paths.append(head.split()[1])
                given = self.answers.pop(0) if self.answers else self.usual
                if given is None:
                    return
                writer.write(given)
                await writer.drain()
                if given.endswith(CUT):
                    return
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()


CUT = b"\r\n\r\ncut"


def answer(status, content, *headers):
    body = json.dumps(content).encode()
    return "\r\n".join([f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers, "", ""]).encode() + body


def accept(count):
    """Return the answer of a server that accepts so many metrics."""
    return answer(202, {"accepted": count})


async def publish_one(server, **options):
    """Publish one metric and return the closed Broadcaster."""
    stream = Broadcaster(url=server.url, token=TOKEN, **options)
    stream.broadcast_system_metrics({"n": 1})
    await in_thread(stream.close, 10)
    return stream


def messages(log):
    """Return the messages of a log."""
    return [record.getMessage() for record in log.records]
