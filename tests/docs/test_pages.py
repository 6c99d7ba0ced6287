"""Links lead somewhere, examples compile, and no page loads anything from another host."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.documents import PAGES, ROOT, STATIC, code_blocks, names, prose

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub makes of a page's headings."""
    titles = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_images_lead_somewhere(page):
    for target in LINK.findall(prose(page)):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(found), f"{page.name}: {target}"


def test_python_blocks_compile():
    for page in PAGES:
        for block in code_blocks(page, "python"):
            ast.parse(block, filename=page.name)


def test_vendored_files_have_their_notices():
    notices = (STATIC / "vendor/README.md").read_text()
    vendored = {path.name for path in (STATIC / "vendor").iterdir()} - {"README.md"}
    assert set(names("".join(re.findall(r"^\| (`[^`]+`)", notices, re.MULTILINE)))) == vendored
    assert {path for path in vendored if path.endswith("LICENSE")}


def own_front_end_files() -> Iterator[Path]:
    folders = [ROOT / "templates", ROOT / "project" / "templates", ROOT / "metrics_stream" / "static"]
    for path in sorted(path for folder in folders for path in folder.rglob("*")):
        if path.suffix in {".html", ".js", ".css", ".svg"} and "vendor" not in path.parts:
            yield path


# What a page may hold of other hosts: names of XML formats, which nothing loads, and links that a person clicks.
HARMLESS = re.compile(r"https?://www\.w3\.org/(2000/svg|1999/xlink|1999/xhtml)|<a\b[^>]*\bhref=\"https?://[^\"]*\"")
FOREIGN = re.compile(r"https?://[\w.-]|(?:src|href|srcset|action)\s*=\s*[\"']//|url\(\s*[\"']?//|from\s+[\"']//")


def test_no_page_loads_anything_from_another_host():
    files = list(own_front_end_files())
    assert len(files) > 20
    for path in files:
        text = re.sub(r"^\s*(//|\*|/\*).*$", "", path.read_text(), flags=re.MULTILINE)
        found = FOREIGN.search(HARMLESS.sub("", text))
        assert not found, f"{path.relative_to(ROOT)}: {found[0]}"
