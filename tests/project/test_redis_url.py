"""REDIS_URL: a plain Redis, the current master of sentinels, and TLS."""

import asyncio
import contextlib
import signal
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from channels_redis.utils import create_pool
from django.core.exceptions import ImproperlyConfigured
from redis.asyncio.sentinel import SentinelManagedSSLConnection

from metrics_stream.conf import get_settings
from metrics_stream.limits.places import Places
from metrics_stream.limits.shared import Claim, SharedBuckets
from project.redis_url import channel_layer_host
from tests.support.certificates import Authority
from tests.support.control import Control, Producer
from tests.support.redis_faults import layer_at
from tests.support.redis_process import RedisProcess
from tests.support.sentinels import Sentinels
from tests.support.stack import Stack, eventually, free_port

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
async def test_the_stream_follows_the_sentinels_to_another_master(tmp_path, how):
    with Sentinels(tmp_path, count=1, password=PASSWORD) as sentinels:
        # One of the sentinels does not exist.
        url = sentinels.url.replace(sentinels.addresses, f"127.0.0.1:{free_port()},{sentinels.addresses}")
        async with served(tmp_path, url) as stack:
            with Producer(stack) as producer:
                async with Control(stack) as control:
                    await control.catches_up()
                    sentinels.primary.signal(how)
                    async with Control(stack) as newcomer:
                        for client in (control, newcomer):
                            await client.catches_up(20)
                        # The producer is back before the hub; the next canary reveals the loss, at most a second later.
                        await eventually(lambda: control.gaps or not control.missing, 3)
                    assert sentinels.primary_port == sentinels.replica.port
                await asyncio.to_thread(producer.stop)


# --- TLS ---


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[RedisProcess]:
    (tmp_path / "redis").mkdir()
    with RedisProcess(tmp_path / "redis", password=PASSWORD) as running:
        yield running


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
async def test_tls_with_certificates_on_both_sides(plain, tmp_path):
    authority = Authority(tmp_path)
    redis_certificate, our_certificate = authority.issue("redis"), authority.issue("metrics-stream")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.certificate)
    context.load_cert_chain(*redis_certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    async with tls_before(plain.port, context) as port:
        url = f"rediss://:{ENCODED}@127.0.0.1:{port}/0?ssl_ca_certs={authority.certificate}"
        url += f"&ssl_certfile={our_certificate.certificate}&ssl_keyfile={our_certificate.key}"
        async with served(tmp_path, url) as stack:
            with Producer(stack) as producer:
                async with Control(stack) as control:
                    await control.assert_undisturbed()
                await asyncio.to_thread(producer.stop)


@pytest.mark.valkey
async def test_a_redis_that_another_authority_vouches_for_is_refused_with_the_reason(plain, tmp_path):
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "stranger")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*authority.issue("redis"))
    async with tls_before(plain.port, context) as port:
        url = f"rediss://:{ENCODED}@127.0.0.1:{port}/0?ssl_ca_certs={stranger.certificate}"
        async with served(tmp_path, url) as stack:
            reason = (
                f"could not make a channel: Error 1 connecting to 127.0.0.1:{port}. [SSL: CERTIFICATE_VERIFY_FAILED]"
            )
            await eventually(lambda: reason in stack.log.read_text(), 10)


# --- the TLS of Redis itself, which the Valkey of these tests lacks ---


def tls_options(authority: Authority) -> tuple[list[str], dict[str, str], str]:
    """Return options of a server, of a client of redis-py and of REDIS_URL, with which both show a certificate."""
    its, ours = authority.issue("redis"), authority.issue("metrics-stream")
    options = ["--tls-cert-file", str(its.certificate), "--tls-key-file", str(its.key)]
    options += [
        "--tls-ca-cert-file",
        str(authority.certificate),
        "--tls-auth-clients",
        "yes",
        "--tls-replication",
        "yes",
    ]
    files = {
        "ssl_ca_certs": str(authority.certificate),
        "ssl_certfile": str(ours.certificate),
        "ssl_keyfile": str(ours.key),
    }
    return options, files, "&".join(f"{name}={value}" for name, value in files.items())


async def test_every_use_of_redis_goes_over_its_own_tls(tmp_path, settings):
    options, files, query = tls_options(Authority(tmp_path))
    with RedisProcess(tmp_path, *options, flavour="redis", password=PASSWORD, **files) as server:
        url = f"{server.url}?{query}"
        async with served(tmp_path, url) as stack:
            with Producer(stack) as producer:
                async with Control(stack) as control:
                    await control.assert_undisturbed()
                await asyncio.to_thread(producer.stop)
        settings.CHANNEL_LAYERS = layer_at(url)
        buckets, places = SharedBuckets(get_settings()), Places(get_settings())
        assert await asyncio.to_thread(buckets.take, [Claim("tls", 1.0, 1.0, 2.0)]) == [0.0]
        assert await places.take({"user 1": 1}) is None
        assert server.command("HGET", places._own_key, "user 1") == b"1"
        buckets.close()
        await places._leave()
