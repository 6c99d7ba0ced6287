"""`dev.py sbom` and `dev.py audit`."""

import hashlib
import json
import re
import subprocess
from pathlib import Path

import pytest

from devtools import audit, paths
from devtools.paths import ROOT


def test_the_sbom_has_every_locked_package_and_every_vendored_file() -> None:
    document = audit.make_sbom()
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    assert document == audit.make_sbom()
    components = {each["bom-ref"]: each for each in document["components"]}
    assert len(components) == len(document["components"])
    pins = set()
    for lock in audit.DELIVERED:
        pins |= set(re.findall(r"^([\w.-]+)(?:\[.*?\])?==(\S+)", (ROOT / lock).read_text(), re.MULTILINE))
    assert len(pins) > 30
    packages = {(each["name"], each["version"]) for each in components.values() if "pypi" in each["purl"]}
    assert packages == {(name.lower().replace("_", "-").replace(".", "-"), version) for name, version in pins}
    assert all(
        reference["hashes"]
        for each in components.values()
        if "pypi" in each["purl"]
        for reference in each["externalReferences"]
    )
    vendored = [each for each in components.values() if each["purl"].startswith("pkg:npm/")]
    assert {each["name"] for each in vendored} == {"uPlot"}
    folder = ROOT / "metrics_stream/static/metrics_stream/vendor"
    assert {Path(each["bom-ref"]).name for each in vendored} == {path.name for path in folder.iterdir()} - {"README.md"}
    for each in vendored:
        [digest] = each["hashes"]
        assert digest["content"] == hashlib.sha256((ROOT / each["bom-ref"]).read_bytes()).hexdigest()


def test_it_is_written_to_a_file_or_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert audit.sbom([str(tmp_path / "sbom.json")]) == 0
    assert audit.sbom([]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "sbom.json").read_text())
    with pytest.raises(SystemExit, match="one file at most"):
        audit.sbom(["a", "b"])


@pytest.mark.parametrize(
    ("output", "code", "expected"),
    [
        ("No known vulnerabilities found", 0, 0),
        ("Found 2 known vulnerabilities in 1 package", 1, 1),
        ("No known vulnerabilities found\npip  Dependency not found on PyPI and could not be audited: pip (26)", 0, 2),
        ("requests.exceptions.ConnectionError: Max retries exceeded", 1, 2),
    ],
)
def test_holes_and_a_missing_network_are_told_apart(
    checkout: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    output: str,
    code: int,
    expected: int,
) -> None:
    monkeypatch.setattr(audit, "_install_tools", lambda: "python")
    monkeypatch.setattr(audit, "call", lambda argv: subprocess.CompletedProcess(argv, code, output))
    assert audit.audit([]) == expected
    assert ("CHECKED" in capsys.readouterr().err) == (expected == 2)


def test_the_tools_are_installed_with_hashes_and_only_once(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []

    def call(argv: list[str]) -> subprocess.CompletedProcess[str]:
        calls.append(argv)
        (paths.VAR / "audit-venv").mkdir(exist_ok=True)
        return subprocess.CompletedProcess(argv, 0, "")

    monkeypatch.setattr(audit, "call", call)
    (checkout / audit.TOOLS_LOCK).write_text("pip-audit==1")
    assert audit._install_tools() == audit._install_tools()
    assert len(calls) == 2
    assert "--require-hashes" in calls[1]
