"""The shipped proxy configurations, run by the real programs in front of a real server."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets

from tests.conftest import skip_or_fail
from tests.support.certificates import Authority, Certificate
from tests.support.stack import ROOT, Stack, free_port, wait_until

DEPLOY = ROOT / "deploy"
HOST = "metrics.example.com"

SETTINGS = """
from project.settings import *
STATIC_ROOT = {static!r}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
"""

# The commands of docs/deployment.md, in one process since each takes seconds to start.
PREPARE = """
from django.core.management import call_command
call_command("migrate", verbosity=0)
call_command("seed_defaults", verbosity=0)
call_command("ensure_admin", "--password-file", {password!r})
call_command("collectstatic", interactive=False, verbosity=0)
"""

# What a site file stands in on a Debian machine, as far as the site needs it, for any user.
NGINX = """
{user}
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
    include /etc/nginx/mime.types;
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/site.conf;
}}
"""

CADDY = """
{{
	admin off
	http_port {http}
	https_port {https}
	storage file_system {folder}
}}
"""


REQUIRED_BY = {"nginx": "REQUIRE_NGINX", "caddy": "REQUIRE_CADDY", "systemd-analyze": "REQUIRE_SYSTEMD"}


def find_program(name: str) -> str:
    """Return the path of nginx, caddy or systemd-analyze, also where only root has it in PATH."""
    path = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if path is None:
        skip_or_fail(REQUIRED_BY[name], f"there is no {name}; on Debian: apt install {name.partition('-')[0]}")
    return str(path)


class Named(httpx.HTTPTransport):
    """Asks for the certificate of the host name, whatever the address is."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.extensions = {**request.extensions, "sni_hostname": HOST}
        return super().handle_request(request)


class Proxy:
    """A proxy that runs a shipped configuration, and clients for it, each on an address of this machine."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        self.folder = folder
        self.http, self.https = free_port(), free_port()
        self.origin = f"https://{HOST}:{self.https}"
        self.tls = authority.context()
        self.log = folder / "proxy.log"
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, *argv: str) -> None:
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(argv, stdout=log, stderr=log)
        wait_until(self._answers, 10)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()
        try:
            with self.client() as client:
                client.get("/healthz")
        except httpx.TransportError:
            return False
        return True

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)

    def client(self, source: str = "127.0.0.1", **options: Any) -> httpx.Client:
        return httpx.Client(
            base_url=f"https://127.0.0.1:{self.https}",
            headers={"Host": f"{HOST}:{self.https}"},
            transport=Named(local_address=source, verify=self.tls),
            timeout=10,
            **options,
        )

    def socket(self, source: str = "127.0.0.1", **options: Any) -> websockets.connect:
        return websockets.connect(
            f"wss://{HOST}:{self.https}/ws/metrics/",
            host="127.0.0.1",
            ssl=self.tls,
            local_addr=(source, 0),
            **options,
        )


@pytest.fixture(scope="package")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="package")
def certificate(authority: Authority) -> Certificate:
    return authority.issue("site", HOST)


@pytest.fixture(scope="package")
def stack(valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The server as it is deployed: without DEBUG, its static files collected."""
    folder = tmp_path_factory.mktemp("stack")
    (folder / "deployed_settings.py").write_text(SETTINGS.format(static=str(folder / "static")))
    stack = Stack(
        folder,
        valkey_url,
        GROUP_PREFIX="deploy",
        DEBUG="0",
        ANONYMOUS_READ="1",
        HTTPS_ONLY="1",
        HSTS_SUBDOMAINS="1",
        ALLOWED_HOSTS=f"{HOST},127.0.0.1",
        DJANGO_SETTINGS_MODULE="deployed_settings",
        PYTHONPATH=f"{folder}{os.pathsep}{ROOT}",
    )
    stack.manage("shell", "-v", "0", code=PREPARE.format(password=str(folder / "password")))
    stack.start()
    yield stack
    stack.stop()


def substituted(text: str, changes: dict[str, str]) -> str:
    """Return a shipped file with what a person changes in it; every change must find its place."""
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


RunProxy = Callable[..., Proxy]


@pytest.fixture(scope="package")
def run_nginx(
    stack: Stack, authority: Authority, certificate: Certificate, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunProxy]:
    """A maker of running nginx; its arguments are further changes of the site file, old to new."""
    made: list[Proxy] = []

    def run(changes: dict[str, str] | None = None) -> Proxy:
        nginx = find_program("nginx")
        proxy = Proxy(tmp_path_factory.mktemp("nginx"), authority)
        made.append(proxy)
        site = re.sub(r"^ *listen \[::\].*\n", "", (DEPLOY / "nginx.conf").read_text(), flags=re.MULTILINE)
        own = {
            "listen 80;": f"listen 127.0.0.1:{proxy.http};",
            "listen 443 ": f"listen 127.0.0.1:{proxy.https} ",
            "server 127.0.0.1:8000;": f"server 127.0.0.1:{stack.port};",
            "/etc/letsencrypt/live/metrics.example.com/fullchain.pem": str(certificate.certificate),
            "/etc/letsencrypt/live/metrics.example.com/privkey.pem": str(certificate.key),
            "root /srv/metrics-stream/var;": f"root {stack.folder};",
            "root /var/www/html;": f"root {proxy.folder};",
        }
        (proxy.folder / "site.conf").write_text(substituted(site, own | (changes or {})))
        # Root's nginx serves as another user, who may not enter the folders of a test.
        user = "user root;" if os.geteuid() == 0 else ""
        main = proxy.folder / "nginx.conf"
        main.write_text(NGINX.format(folder=proxy.folder, user=user))
        arguments = ("-p", str(proxy.folder), "-c", str(main), "-e", str(proxy.log))
        checked = subprocess.run([nginx, "-t", *arguments], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr
        proxy.run(nginx, *arguments)
        return proxy

    yield run
    for proxy in made:
        proxy.stop()


@pytest.fixture(scope="package")
def nginx(run_nginx: RunProxy) -> Proxy:
    """An nginx with the site file as it is, but for names, ports and folders."""
    return run_nginx()


@pytest.fixture(scope="package")
def caddy(
    stack: Stack, authority: Authority, certificate: Certificate, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    """A Caddy with the shipped file as it is, but for names, ports and folders."""
    program = find_program("caddy")
    proxy = Proxy(tmp_path_factory.mktemp("caddy"), authority)
    changes = {
        "{$SITE:metrics.example.com} {": f"{HOST} {{\n\ttls {certificate.certificate} {certificate.key}",
        "{$UPSTREAM:127.0.0.1:8000}": f"127.0.0.1:{stack.port}",
        "{$STATIC:/srv/metrics-stream/var}": str(stack.folder),
    }
    site = substituted((DEPLOY / "Caddyfile").read_text(), changes)
    config = proxy.folder / "Caddyfile"
    config.write_text(CADDY.format(http=proxy.http, https=proxy.https, folder=proxy.folder) + site)
    proxy.run(program, "run", "--adapter", "caddyfile", "--config", str(config))
    yield proxy
    proxy.stop()


@pytest.fixture(params=["nginx", "caddy"])
def proxy(request: pytest.FixtureRequest) -> Proxy:
    """Each of the proxies in turn."""
    found: Proxy = request.getfixturevalue(request.param)
    return found
