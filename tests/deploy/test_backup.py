"""The commands of docs/backup.md, run as they stand there: a restored installation shows the same figures."""

import gzip
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from websockets.sync.client import connect

from tests.support.blocks import ask_all, blocks_of
from tests.support.documents import DOCS
from tests.support.postgresql import find_binaries
from tests.support.redis_process import RedisProcess
from tests.support.stack import ROOT, Stack, wait_until

pytestmark = pytest.mark.valkey

# What the commands do on a machine with systemd and the users of the installation.
MACHINE = """
systemctl() { :; }
chown() { :; }
runuser() { shift 3; "$@"; }
install() { cp "${@: -2:1}" "${@: -1}"; }
redis-cli() { "$PYTHON" -c 'import os, redis; redis.Redis.from_url(os.environ["REDIS_URL"]).save()'; }
"""

MAKE = """
import json
from metrics_stream.models import AccessPolicy, AccessToken, Dashboard
AccessPolicy.objects.create(name="team", metric_types=["system"])
Dashboard.objects.filter(slug="operations").update(title="Our operations")
print(AccessToken.issue(name="k6", scopes=["publish", "runs"], metric_types=["all"])[1])
"""

DESTROY = """
from metrics_stream.models import AccessPolicy, AccessToken, Dashboard, TestRun
for model in (AccessPolicy, AccessToken, Dashboard, TestRun):
    model.objects.all().delete()
"""

TABLES = """
from django.core import serializers
from metrics_stream.models import AccessPolicy, AccessToken, ClientPreset, Dashboard, Panel, TestRun
for model in (AccessPolicy, AccessToken, ClientPreset, Dashboard, Panel, TestRun):
    print(serializers.serialize("json", model.objects.order_by("pk")))
"""


class Installation(Stack):
    """A stack with what people and programs have made, and the shell of its operator."""

    def prepare(self) -> None:
        for name in ("state", "backups", "srv", "redis"):
            (self.folder / name).mkdir(exist_ok=True)
        for name in (".venv", "manage.py"):
            (self.folder / "srv" / name).symlink_to(ROOT / name)
        (self.folder / "srv" / ".env").write_text("SECRET_KEY=x\n")
        self.manage("migrate", "--verbosity", "0")
        self.manage("seed_defaults", "--verbosity", "0")
        self.token = self.manage("shell", "-v", "0", code=MAKE).split()[-1]

    def operate(self, words: str, **environment: str) -> None:
        """Run the block of the page that has these words; the first, if Docker's has them too."""
        code = next(block.code for block in blocks_of(DOCS / "backup.md") if words in block.code)
        for path, own in {
            "/var/lib/metrics-stream": "state",
            "/var/backups/metrics-stream": "backups",
            "/var/lib/redis": "redis",
        }.items():
            code = code.replace(path, str(self.folder / own))
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", MACHINE + code],
            cwd=self.folder / "srv",
            env={**self.environment, "PYTHON": sys.executable, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def post(self, path: str, body: object) -> dict[str, object]:
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}{path}", data=json.dumps(body).encode(), headers=headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return dict(json.load(answer))

    def fetch(self, path: str) -> bytes:
        with urllib.request.urlopen(f"{self.url}{path}", timeout=10) as answer:
            return bytes(answer.read())

    def record(self) -> str:
        """Record a run of three metrics; return its slug."""
        slug = str(self.post("/api/runs/", {"name": "soak"})["slug"])
        for number in (1, 2, 3):
            metric = {"metric_type": "system", "data": {"throughput_tps": 100 + number}}
            assert self.post("/api/metrics/", metric) == {"accepted": 1}
        self.post(f"/api/runs/{slug}/stop/", {})
        wait_until(lambda: self.lines(slug) == 3, 15)
        return slug

    def lines(self, slug: str) -> int:
        return len(gzip.decompress(self.fetch(f"/runs/{slug}/export.ndjson.gz")).splitlines())

    def figures(self, slug: str) -> list[object]:
        """Return everything that the installation shows of what it has stored."""
        replies = ask_all(
            self.socket_url,
            [
                {"type": "subscribe", "metric_types": ["system"]},
                {"type": "replay", "run": slug, "speed": 60, "paused": True},
            ],
        )
        assert replies[1]["run"] == slug
        csv = self.fetch(f"/runs/{slug}/export.csv")
        packed = self.fetch(f"/runs/{slug}/export.ndjson.gz")
        assert b"Our operations" in self.fetch("/dashboards/operations/")
        tables = self.manage("shell", "-v", "0", code=TABLES)
        return [csv, gzip.decompress(packed), replies[1]["from"], replies[1]["until"], tables]


Make = Callable[..., Installation]


@pytest.fixture
def install(tmp_path: Path) -> Iterator[Make]:
    made: list[Installation] = []

    def make(redis_url: str, **environment: str) -> Installation:
        environment = {"DATABASE_URL": f"sqlite:///{tmp_path / 'state' / 'db.sqlite3'}", **environment}
        made.append(Installation(tmp_path, redis_url, **environment))
        return made[-1]

    yield make
    for installation in made:
        installation.stop()


def test_sqlite_shows_the_same_figures_after_a_restore(install: Make, valkey_url: str):
    installation = install(valkey_url, GROUP_PREFIX="backup-sqlite")
    installation.prepare()
    installation.start()
    slug = installation.record()
    before = installation.figures(slug)
    for _ in range(2):  # It can be repeated.
        installation.operate("python3 -c 'import sqlite3, sys")
    assert (installation.folder / "backups/db.sqlite3").stat().st_mode & 0o077 == 0
    installation.manage("shell", "-v", "0", code=DESTROY)
    (installation.folder / "srv" / ".env").unlink()
    installation.stop()
    installation.operate("systemctl stop metrics-stream\n")
    installation.start()
    assert installation.figures(slug) == before
    assert (installation.folder / "srv" / ".env").read_text() == "SECRET_KEY=x\n"
    assert installation.post("/api/metrics/", {"metric_type": "system", "data": {"n": 1}}) == {"accepted": 1}


def test_postgresql_shows_the_same_figures_after_a_restore(install: Make, valkey_url: str, postgresql_url: str):
    with psycopg.connect(postgresql_url, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS metrics")
        connection.execute("CREATE DATABASE metrics")
    url = urlsplit(postgresql_url)
    client = {
        **{"PGHOST": str(url.hostname), "PGPORT": str(url.port), "PGUSER": str(url.username)},
        **{"PGPASSWORD": str(url.password), "PATH": f"{find_binaries()}{os.pathsep}{os.environ['PATH']}"},
    }
    installation = install(
        valkey_url, GROUP_PREFIX="backup-postgresql", DATABASE_URL=postgresql_url.replace("/postgres", "/metrics")
    )
    installation.prepare()
    installation.start()
    slug = installation.record()
    before = installation.figures(slug)
    installation.operate("pg_dump", **client)
    installation.manage("shell", "-v", "0", code=DESTROY)
    installation.stop()
    installation.operate("pg_restore", **client)
    installation.manage("migrate", "--verbosity", "0")
    installation.start()
    assert installation.figures(slug) == before
    assert installation.post("/api/metrics/", {"metric_type": "system", "data": {"n": 1}}) == {"accepted": 1}


def test_the_recent_past_moves_to_another_redis(install: Make, tmp_path: Path):
    (tmp_path / "redis").mkdir()
    with RedisProcess(tmp_path / "redis") as first:
        installation = install(first.url)
        installation.prepare()
        installation.start()
        installation.record()
        installation.stop()
        installation.operate("redis-cli save")
    (tmp_path / "redis" / "dump.rdb").unlink()
    installation.operate("systemctl stop redis-server")
    with RedisProcess(tmp_path / "redis") as second:
        moved = install(second.url)
        moved.start()
        with connect(moved.socket_url) as socket:
            socket.send('{"type": "subscribe", "metric_types": ["system"]}')
            while (frame := json.loads(socket.recv(timeout=10)))["type"] != "metric_update":
                pass
        assert (frame["replayed"], frame["data"]["data"]) == (True, {"throughput_tps": 103})
        moved.stop()
