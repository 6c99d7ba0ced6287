"""Files that only their owner can read: what this project writes, and what an earlier version left open to others.

It needs only Python, since `dev.py` uses it before anything is installed.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

# What `collectstatic` writes; web servers read it as other users.
PUBLIC = "static"
PUBLIC_UMASK = 0o022
PRIVATE_UMASK = 0o077

# The database, and the files that SQLite makes beside it with the same permissions.
BESIDE_SQLITE = ("", "-wal", "-shm", "-journal")

_OTHERS = 0o077


def make_new_files_private() -> None:
    """Keep other users out of all files and folders that this process and its children make from now on."""
    os.umask(PUBLIC_UMASK if sys.argv[1:2] == ["collectstatic"] else PRIVATE_UMASK)


def protect(folder: Path, *files: Path) -> None:
    """Take `folder`, all that is in it, and `files` away from other users, and say once what was open to them.

    The static files in `folder` stay public, and so does a folder that holds nothing else. What belongs to another user
    stays as it is.
    """
    opened = [path for path in [*_content(folder), *files] if _close(path)]
    if opened:
        shown = ", ".join(map(str, opened[:5])) + (f" and {len(opened) - 5} more" if len(opened) > 5 else "")
        print(f"Other users of this machine could read {shown}; now only the owner can.", file=sys.stderr)


def sqlite_files(name: str) -> list[Path]:
    """Return the files that SQLite makes for the database `name`; some may not exist."""
    return [] if ":memory:" in name else [Path(f"{name}{suffix}") for suffix in BESIDE_SQLITE]


def _content(folder: Path) -> Iterator[Path]:
    """Yield what is in a folder and below it, without static files, and then the folder, if it holds anything else."""
    try:
        found = [entry for entry in os.scandir(folder) if entry.name != PUBLIC]
    except OSError:  # It does not exist, or belongs to somebody else.
        return
    for entry in found:
        yield Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
            for parent, folders, names in os.walk(entry.path):
                yield from (Path(parent, name) for name in [*folders, *names])
    if found:
        yield folder


def _close(path: Path) -> bool:
    """Take the permissions of other users away; return whether they had any."""
    with contextlib.suppress(OSError):
        status = path.lstat()
        mode = stat.S_IMODE(status.st_mode)
        # A link has no permissions of its own, and what it leads to may be meant for others.
        if mode & _OTHERS and not stat.S_ISLNK(status.st_mode):
            path.chmod(mode & ~_OTHERS)
            return True
    return False
