"""Modules, files and classes that the documents name exist; the order of imports is that of the contract."""

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.support.documents import (
    ARCHITECTURE,
    CHANGELOG,
    CONTRIBUTING,
    DOCS,
    FENCE,
    README,
    ROOT,
    STATIC,
    named,
    names,
    prose,
    table,
    tables,
)

PACKAGE = ROOT / "metrics_stream"
PAGES = [README, CONTRIBUTING, ROOT / "benchmarks" / "README.md", *sorted(DOCS.glob("*.md"))]

# A document may leave out the part of a path that its reader knows.
BASES = [ROOT, PACKAGE, PACKAGE / "management", STATIC]

FILE = re.compile(r"\w[\w.<>/-]*(?:\.(?:py|js|css|lua|html|svg|md)|/)")
DOTTED = re.compile(r"(?<![\w./-])(?:metrics_stream|project)(?:\.[A-Za-z_]\w*)+(?::\w+)?")
CHECK_ID = re.compile(r"metrics_stream\.[EW]\d{3}")
IMPORT = re.compile(r"^\s*from ((?:metrics_stream|project)[\w.]*) import (.+)$", re.MULTILINE)
STATIC_FILE = re.compile(r"/static/(metrics_stream/[\w./-]+)")
CLASS = re.compile(r"([A-Z][a-z]+\w*)(?:\.\w+(?:\(.*\))?)?")

# Made by dev.py and by the benchmarks, or by the reader.
GENERATED = ("var/", "local_settings.py", "mysite/")


def unknown_files(text: str) -> Iterator[str]:
    """Yield the paths between backticks that lead to no file or folder; `<kind>` stands for any name."""
    for name in names(text):
        if FILE.fullmatch(name) and not name.startswith(GENERATED) and not is_file(name):
            yield name


def is_file(name: str) -> bool:
    pattern = re.sub(r"<\w+>", "*", name).rstrip("/")
    return any(next(base.glob(pattern), None) is not None for base in BASES)


def unknown_modules(text: str) -> Iterator[str]:
    """Yield the dotted names that are neither a module nor a name that a module defines or imports."""
    found = [name for name in DOTTED.findall(text) if not CHECK_ID.fullmatch(name)]
    for module, imported in IMPORT.findall(text):
        found += [f"{module}:{name.strip()}" for name in imported.split(",")]
    for name in found:
        dotted, _, attribute = name.partition(":")
        parts = [*dotted.split("."), *([attribute] if attribute else [])]
        if not is_module(parts) and not is_in_module(parts[:-1], parts[-1]):
            yield name


def is_module(parts: list[str]) -> bool:
    path = ROOT.joinpath(*parts)
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def is_in_module(parts: list[str], name: str) -> bool:
    path = ROOT.joinpath(*parts)
    return any(name in names_in(file) for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file())


@cache
def names_in(file: Path) -> frozenset[str]:
    """Return what a module defines or imports, without importing it."""
    found: set[str] = set()
    for node in ast.parse(file.read_text()).body:
        match node:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                found.add(node.name)
            case ast.Import() | ast.ImportFrom():
                found.update(alias.asname or alias.name for alias in node.names)
            case ast.Assign():
                found.update(target.id for target in node.targets if isinstance(target, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                found.add(name)
    return frozenset(found)


@cache
def classes() -> frozenset[str]:
    """Return the names of all classes of the package."""
    text = "".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    return frozenset(re.findall(r"^class (\w+)", text, re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_and_modules_that_a_document_names_exist(page: Path):
    text = page.read_text()
    assert list(unknown_files(prose(page))) == []
    assert list(unknown_modules(text)) == []
    blocks = "".join(code for _, code in FENCE.findall(text))
    assert [path for path in STATIC_FILE.findall(blocks) if not (STATIC.parent / path).exists()] == []


def test_new_paths_in_the_changelog_exist():
    rows = [row for rows in tables(prose(CHANGELOG).replace("\n  |", "\n|")) for row in rows if "now" in row]
    assert len(rows) > 5
    assert [name for row in rows for name in unknown_modules(row["now"])] == []


def test_classes_that_the_architecture_names_exist():
    mentioned = {found[1] for name in names(prose(ARCHITECTURE)) if (found := CLASS.fullmatch(name))}
    assert {"Broadcaster", "Hub", "PreparedMessage"} <= mentioned
    assert mentioned - classes() == set()


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("`hub/hubs.py` and `hubs/`", ["hub/hubs.py", "hubs/"]),
        ("`metrics_stream/conf.py`, `core/`, `client/format.js`, `var/stack.json`, `charts/<kind>.js`", []),
        ("`charts/<kind>.py`", ["charts/<kind>.py"]),
        ("`/metrics/`, `dev.py run`, `nginx.conf`, `Dockerfile`", []),
    ],
)
def test_unknown_files_are_found(text, unknown):
    assert list(unknown_files(text)) == unknown


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("`metrics_stream.conf`, `metrics_stream.conf.StreamSettings`, `metrics_stream.E001`", []),
        ("`metrics_stream.confs`", ["metrics_stream.confs"]),
        ("`metrics_stream.conf:StreamSetting`", ["metrics_stream.conf:StreamSetting"]),
        ("from metrics_stream.broadcast import Broadcaster, Sketches", ["metrics_stream.broadcast:Sketches"]),
    ],
)
def test_unknown_modules_are_found(text, unknown):
    assert list(unknown_modules(text)) == unknown


def test_order_of_imports_is_that_of_import_linter():
    rows = table(ARCHITECTURE, "Packages and imports", "layer")
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    [layers] = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    documented = [sorted(names(row["packages and modules"])) for row in rows]
    assert documented == [sorted(layer.replace("|", " ").split()) for layer in layers]


def test_every_package_and_module_at_the_top_is_in_both_tables():
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    described = table(ARCHITECTURE, "Packages and imports", "package")
    assert {name.rstrip("/") for name in named(described)} == packages
    layers = table(ARCHITECTURE, "Packages and imports", "layer")
    assert {name for row in layers for name in names(row["packages and modules"])} == packages | modules
