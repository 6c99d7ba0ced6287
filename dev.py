#!/usr/bin/env python3
"""Set up, run and check metrics_stream with nothing but Python 3.11+; devtools/ does the work."""

# An old Python must get as far as the message below, so this file uses only syntax that Python 3.0 has.
import os
import sys

if sys.version_info < (3, 11):  # noqa: UP036  An older Python does get here.
    sys.exit(
        "dev.py: needs Python 3.11 or newer, this is {}.{}; install one (Debian 12, Ubuntu 24.04 or newer: "
        "apt install python3 python3-venv) and call dev.py with it".format(*sys.version_info[:2])
    )
if os.name != "posix":
    sys.exit("dev.py: runs on Linux and macOS; on Windows install WSL (wsl --install) and call dev.py inside it")

# With -P, or when another program runs this file, Python does not look for modules in its folder.
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

from devtools.commands import main  # Only now: older Pythons cannot parse it.

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
