"""`dev.py audit` and `dev.py sbom`: known holes in what is locked, and the list of all that is delivered."""

import json
import os
import re
import sys
import uuid
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

from devtools import paths
from devtools.output import fail, last_lines, say
from devtools.programs import call
from devtools.virtualenv import NETWORK_SIGNS, fingerprint

LOCKS = ("requirements.txt", "requirements-dev.txt", "requirements-valkey.txt", "requirements-audit.txt")
# What is delivered; the other locks are for developers.
DELIVERED = ("requirements.txt", "requirements-valkey.txt")
TOOLS_LOCK = "requirements-audit.txt"

_PIN = re.compile(r"^([\w.-]+)(?:\[[\w,.-]+\])?==([^\s;\\]+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_VENDORED = re.compile(
    r"^\| `([^`]+)` \| (\S+) \(npm\) \| (\S+) \| ([^,|]+)[^|]*\|[^|]*\| `([0-9a-f]{64})` \|$", re.MULTILINE
)
_FOUND = re.compile(r"Found \d+ known")
_UNREACHABLE = re.compile(NETWORK_SIGNS.pattern + r"|ServiceError|HTTPError|Could not connect|ConnectionError")


def audit(arguments: Sequence[str]) -> int:
    """Look for known holes in every locked package; return 1 if there are any, 2 if some could not be checked."""
    tools = _install_tools()
    found = unchecked = 0
    for name in LOCKS:
        argv = [tools, "-m", "pip_audit", "--require-hashes", "--disable-pip", "--progress-spinner", "off"]
        done = call([*argv, "-r", str(paths.ROOT / name), *arguments])
        if done.returncode and not _FOUND.search(done.stdout):
            if _UNREACHABLE.search(done.stdout):
                say("dev.py: the service that knows the holes cannot be reached: NOTHING WAS CHECKED.", sys.stderr)
                return 2
            say(last_lines(done.stdout), sys.stderr)
            fail(f"pip-audit failed on {name} (its output is above)")
        say(f"--- {name}\n{last_lines(done.stdout, 200)}")
        unchecked += done.stdout.count("could not be audited")
        found = found or (1 if done.returncode else 0)
    if unchecked:
        say(f"dev.py: the service does not know {unchecked} of the packages, so these were NOT CHECKED.", sys.stderr)
    return found or (2 if unchecked else 0)


def _install_tools() -> str:
    """Return the Python of an environment of its own with the locked tools; nothing else of this project needs it."""
    folder, lock = paths.VAR / "audit-venv", paths.ROOT / TOOLS_LOCK
    python, stamp = str(folder / "bin" / "python"), folder / "lock"
    if stamp.exists() and stamp.read_text() == fingerprint(lock):
        return python
    paths.VAR.mkdir(mode=0o700, exist_ok=True)
    say("Installing the tools of the audit.", sys.stderr)
    done = call([getattr(sys, "_base_executable", sys.executable), "-m", "venv", "--clear", str(folder)])
    if not done.returncode:
        done = call([python, "-m", "pip", "install", "--quiet", "--require-hashes", "--no-input", "-r", str(lock)])
    if done.returncode:
        say(last_lines(done.stdout), sys.stderr)
        fail("the tools of the audit cannot be installed (see above), so NOTHING WAS CHECKED")
    stamp.write_text(fingerprint(lock))
    return python


def sbom(arguments: Sequence[str]) -> int:
    """Write the list of all delivered packages and vendored files as CycloneDX 1.6 to a file, without one to stdout."""
    if len(arguments) > 1:
        fail(f"sbom takes one file at most, and got {len(arguments)}: {' '.join(arguments)}")
    text = json.dumps(make_sbom(), indent=2)
    if arguments:
        with open(arguments[0], "w", encoding="utf-8") as file:
            file.write(f"{text}\n")
    else:
        say(text)
    return 0


def make_sbom() -> dict[str, Any]:
    """Return the document; the same locks and files give the same document."""
    project = (paths.ROOT / "pyproject.toml").read_text()
    versions = re.findall(r'^version = "([^"]+)"', project, re.MULTILINE)
    # Two locks may have the same package in the same version.
    by_name = {str(each["bom-ref"]): each for each in [*_packages(), *_vendored()]}
    components = [by_name[name] for name in sorted(by_name)]
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(components, sort_keys=True))
    root = {"type": "application", "bom-ref": "metrics-stream", "name": "metrics-stream", "version": versions[0]}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {"component": root},
        "components": components,
        "dependencies": [{"ref": "metrics-stream", "dependsOn": [each["bom-ref"] for each in components]}],
    }


def _packages() -> Iterator[dict[str, Any]]:
    for lock in DELIVERED:
        text = (paths.ROOT / lock).read_text().replace("\\\n", " ")
        for line in text.splitlines():
            if found := _PIN.match(line):
                name, version = re.sub(r"[-_.]+", "-", found[1]).lower(), found[2]
                purl = f"pkg:pypi/{name}@{quote(version)}"
                yield {
                    "type": "library",
                    "bom-ref": purl,
                    "name": name,
                    "version": version,
                    "purl": purl,
                    # The hashes are of the files that may be installed: one for each platform.
                    "externalReferences": [
                        {
                            "type": "distribution",
                            "url": f"https://pypi.org/project/{name}/{quote(version)}/",
                            "hashes": [{"alg": "SHA-256", "content": each} for each in sorted(_HASH.findall(line))],
                        }
                    ],
                }


def _vendored() -> Iterator[dict[str, Any]]:
    folder = os.path.join("metrics_stream", "static", "metrics_stream", "vendor")
    for file, package, version, licence, digest in _VENDORED.findall((paths.ROOT / folder / "README.md").read_text()):
        yield {
            "type": "library",
            "bom-ref": f"{folder}/{file}",
            "name": package,
            "version": version,
            "purl": f"pkg:npm/{package.lower()}@{version}",
            "licenses": [{"license": {"id": licence.strip()}}],
            "hashes": [{"alg": "SHA-256", "content": digest}],
            "properties": [{"name": "file", "value": f"{folder}/{file}"}],
        }
