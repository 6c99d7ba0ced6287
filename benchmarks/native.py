"""The C programs of this folder, compiled at their first use."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
SOURCES = ("load_client.c", "points.h", "floor.c")


class BenchError(Exception):
    """A requirement of a benchmark is missing or does not work; the message says what to do."""


def compiled(name: str) -> Path:
    """Return the path of the program compiled from `name`.c; it stays under var/ until a source changes."""
    content = b"".join((FOLDER / source).read_bytes() for source in SOURCES)
    target = FOLDER.parent / "var" / "benchmarks" / f"{name}-{hashlib.sha256(content).hexdigest()[:16]}"
    if target.exists():
        return target
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise BenchError("there is no C compiler; install one (Debian, Ubuntu: apt install gcc libc6-dev zlib1g-dev)")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        program = Path(folder) / name
        libraries = ["-lz", "-lm"] if name == "load_client" else []
        done = subprocess.run(
            [compiler, "-O2", "-Wall", "-o", str(program), str(FOLDER / f"{name}.c"), *libraries],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            if "zlib.h" in done.stderr or "-lz" in done.stderr:
                raise BenchError(
                    "the headers of zlib are missing; install them (Debian, Ubuntu: apt install zlib1g-dev)"
                )
            if "sys/epoll.h" in done.stderr:
                raise BenchError("the load client needs epoll, so the benchmarks run on Linux only")
            raise BenchError(f"{name}.c does not compile:\n{done.stderr.strip()}")
        program.replace(target)
    return target
