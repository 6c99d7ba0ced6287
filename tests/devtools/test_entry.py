"""dev.py itself, as old and incomplete Pythons see it."""

import ast
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from devtools import virtualenv
from devtools.paths import ROOT


@pytest.mark.parametrize("version", [(3, 6, 15), (3, 8, 0), (3, 10, 13)])
def test_a_too_old_python_is_told_what_mends_it(version: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", version)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "dev.py"), run_name="__main__")
    line = str(ended.value)
    assert "\n" not in line
    assert f"this is {version[0]}.{version[1]}" in line
    assert "apt install python3" in line


def test_older_pythons_can_parse_the_file() -> None:
    ast.parse((ROOT / "dev.py").read_text(), feature_version=(3, 6))


def test_it_imports_nothing_that_must_be_installed() -> None:
    imported = set()
    of_project = (ROOT / "project/__init__.py", ROOT / "project/private_files.py")
    for path in (ROOT / "dev.py", *of_project, *(ROOT / "devtools").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(str(node.module).partition(".")[0])
    assert imported - sys.stdlib_module_names == {"devtools", "project"}


@pytest.mark.parametrize("module", ["ensurepip", "venv"])
def test_a_missing_part_of_python_is_named_in_one_line(module: str, tmp_path: Path) -> None:
    for name in ("dev.py", "requirements.txt", "requirements-valkey.txt"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("devtools", "project"):
        shutil.copytree(ROOT / name, tmp_path / name)
    code = (
        f"import runpy, sys; sys.modules[{module!r}] = None; sys.argv = ['dev.py', 'run']; "
        "runpy.run_path('dev.py', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines()[1:] == [f"dev.py: {virtualenv.NO_VENV}"]


@pytest.mark.parametrize("options", [[], ["-P"]])
def test_it_runs_from_any_folder(options: list[str], tmp_path: Path) -> None:
    command = [sys.executable, *options, str(ROOT / "dev.py"), "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "run the stack in the foreground" in done.stdout
