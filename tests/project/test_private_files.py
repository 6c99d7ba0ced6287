"""Everything that the project writes is for its owner alone, also what an earlier version left open."""

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from project import private_files
from tests.support.stack import ROOT


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.fixture
def var(tmp_path: Path) -> Path:
    """A folder as an earlier version left it with umask 002."""
    folder = tmp_path / "var"
    (folder / "static").mkdir(parents=True)
    (folder / "exports").mkdir()
    for name in ("db.sqlite3", "db.sqlite3-wal", "secret_key", "static/page.css", "exports/run.csv"):
        (folder / name).touch()
        (folder / name).chmod(0o664)
    (folder / "tool").touch(mode=0o775)
    for each in (folder, folder / "static", folder / "exports", folder / "tool"):
        each.chmod(0o775)
    outside = tmp_path / "outside"
    outside.touch()
    outside.chmod(0o644)
    (folder / "link").symlink_to(outside)
    return folder


def test_what_is_open_to_others_is_closed_and_said_once(var, capsys):
    private_files.protect(var)
    said = capsys.readouterr().err
    assert said.startswith("Other users of this machine could read ")
    assert said.endswith("and 2 more; now only the owner can.\n")
    assert {name: mode(var / name) for name in ("", "exports", "tool")} == {"": 0o700, "exports": 0o700, "tool": 0o700}
    for name in ("db.sqlite3", "db.sqlite3-wal", "secret_key", "exports/run.csv"):
        assert mode(var / name) == 0o600, name
    assert (mode(var / "static"), mode(var / "static/page.css")) == (0o775, 0o664)
    assert mode(var.parent / "outside") == 0o644
    private_files.protect(var)
    assert capsys.readouterr().err == ""


def test_a_folder_of_static_files_alone_stays_readable_for_the_web_server(tmp_path, capsys):
    (tmp_path / "var" / "static").mkdir(parents=True)
    (tmp_path / "var").chmod(0o755)
    private_files.protect(tmp_path / "var")
    private_files.protect(tmp_path / "missing")
    assert mode(tmp_path / "var") == 0o755
    assert capsys.readouterr().err == ""


def test_a_database_elsewhere_is_closed_too(tmp_path):
    path = tmp_path / "db.sqlite3"
    path.touch()
    path.chmod(0o640)
    private_files.protect(tmp_path / "var", *private_files.sqlite_files(str(path)))
    assert mode(path) == 0o600
    assert private_files.sqlite_files(":memory:") == []
    assert private_files.sqlite_files("file::memory:?cache=shared") == []


@pytest.fixture
def installation(tmp_path: Path) -> Path:
    """A copy of the project without a database."""
    for name in ("manage.py", "project", "metrics_stream", "templates"):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, tmp_path / name)
    return tmp_path


def test_commands_write_for_their_owner_whatever_the_umask_is(installation):
    environment = {"PATH": os.environ["PATH"], "DEBUG": "1"}

    def manage(*arguments: str) -> str:
        argv, shown = [sys.executable, "manage.py", *arguments], {"capture_output": True, "text": True}
        done = subprocess.run(argv, cwd=installation, env=environment, umask=0, check=False, **shown)
        assert done.returncode == 0, done.stderr
        return done.stderr

    var = installation / "var"
    assert manage("migrate", "--verbosity", "0") == ""
    manage("ensure_admin", "--password-file", "var/admin-password")
    manage("dumpdata", "auth.user", "--output", "var/backup.json")
    with sqlite3.connect(var / "db.sqlite3") as held:  # while it is open, SQLite keeps its other two files
        held.execute("SELECT 1 FROM django_session").fetchall()
        manage("seed_defaults")
        found = {path.name: mode(path) for path in var.iterdir()}
    held.close()
    assert {"db.sqlite3", "db.sqlite3-wal", "db.sqlite3-shm", "secret_key", "admin-password", "backup.json"} <= set(
        found
    )
    assert set(found.values()) == {0o600}
    assert mode(var) == 0o700

    var.chmod(0o755)
    (var / "db.sqlite3").chmod(0o644)
    assert "could read" in manage("check")
    assert manage("check") == ""
    assert (mode(var), mode(var / "db.sqlite3")) == (0o700, 0o600)


def test_static_files_are_for_every_web_server(installation):
    environment = {"PATH": os.environ["PATH"], "DEBUG": "0", "SECRET_KEY": "only-for-tests" * 4}
    argv = [sys.executable, "manage.py", "collectstatic", "--no-input", "--verbosity", "0"]
    subprocess.run(argv, cwd=installation, env=environment, umask=0o077, check=True)
    modes = {mode(path) for path in (installation / "var").rglob("*") if path.is_file()}
    folders = {mode(path) for path in (installation / "var").rglob("*") if path.is_dir()}
    assert (modes, folders, mode(installation / "var")) == ({0o644}, {0o755}, 0o755)
