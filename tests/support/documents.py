"""Read the documents of the project: sections, tables, code blocks, and what they name between backticks."""

import json
import re
from pathlib import Path
from typing import Any

import msgspec

ROOT = Path(__file__).resolve().parents[2]

README = ROOT / "README.md"
CHANGELOG = ROOT / "CHANGELOG.md"
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
DOCS = ROOT / "docs"
ARCHITECTURE = DOCS / "architecture.md"
PROTOCOL = DOCS / "protocol.md"
METRICS = DOCS / "metrics.md"
DASHBOARDS = DOCS / "dashboards.md"
SETTINGS = DOCS / "settings.md"
MONITORING = DOCS / "monitoring.md"
PRODUCERS = DOCS / "producers.md"
API = DOCS / "api.md"
PAGES = sorted([README, CHANGELOG, CONTRIBUTING, *DOCS.glob("*.md")])
STATIC = ROOT / "metrics_stream" / "static" / "metrics_stream"

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

Row = dict[str, str]


def section(page: Path, heading: str) -> str:
    """Return the text under a heading, up to the next heading."""
    found = re.search(rf"^#+ {re.escape(heading)}$\n(.*?)(?=^#+ |\Z)", prose(page), re.MULTILINE | re.DOTALL)
    assert found, f"{page.name} has no heading {heading!r}"
    return found[1]


def prose(page: Path) -> str:
    """Return a page without its code blocks."""
    return FENCE.sub("", page.read_text())


def one_line(page: Path) -> str:
    """Return the text of a page with single spaces, so that a phrase is found wherever its line breaks."""
    return " ".join(page.read_text().split())


def tables(text: str) -> list[list[Row]]:
    """Return the tables of a text, each a list of rows by column title."""
    found = []
    for block in re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE):
        head, _, *rows = [re.split(r"\s*\|\s*", line.strip().strip("|").strip(" ")) for line in block.splitlines()]
        found.append(
            [dict(zip(head, [cell.strip() for cell in [*row, *[""] * len(head)]], strict=False)) for row in rows]
        )
    return found


def table(page: Path, heading: str, column: str) -> list[Row]:
    """Return the table under `heading` whose first column is titled `column`."""
    found = [rows for rows in tables(section(page, heading)) if next(iter(rows[0])) == column]
    assert len(found) == 1, f"{page.name}, {heading!r}: {len(found)} tables begin with the column {column!r}"
    return found[0]


def names(cell: str) -> list[str]:
    """Return the texts between backticks."""
    return re.findall(r"`([^`]+)`", cell)


def named(rows: list[Row]) -> list[str]:
    """Return the names in the first column."""
    return [name for row in rows for name in names(next(iter(row.values())))]


def code_blocks(page: Path, language: str) -> list[str]:
    """Return the code blocks of a page in a language."""
    return [code for found, code in FENCE.findall(page.read_text()) if found == language]


def documents_in(code: str) -> list[Any]:
    """Return the JSON documents of a text, one after the other."""
    found, rest = [], code.strip()
    while rest:
        document, end = json.JSONDecoder().raw_decode(rest)
        found.append(document)
        rest = rest[end:].strip()
    return found


def json_documents() -> list[tuple[str, Any]]:
    """Return every JSON document of every page, with the name of the page."""
    return [(page.name, each) for page in PAGES for block in code_blocks(page, "json") for each in documents_in(block)]


def wire_keys(message: type[msgspec.Struct]) -> set[str]:
    """Return the keys of a message as they are in JSON."""
    return {field.encode_name for field in msgspec.structs.fields(message)}
