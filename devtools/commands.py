"""The command line of dev.py.

`run` starts the whole stack in the foreground, `manage` runs manage.py against it, `test` runs all checks of CI,
`faults` the tests that break things for minutes, `bench` the benchmarks, `lock` recompiles the locks, `audit`
looks for known holes in them, `sbom` lists what is delivered. Each command
first makes .venv from the locks, unless it is up to date.
"""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from devtools import paths
from devtools.audit import audit, sbom
from devtools.bench import bench
from devtools.checks import faults, test
from devtools.lock import lock
from devtools.output import fail, say
from devtools.run import run
from devtools.stack_file import read_stack
from devtools.variables import project_environment
from devtools.virtualenv import set_up


def manage(arguments: Sequence[str]) -> NoReturn:
    """Become manage.py, with the Redis of the running stack when there is one."""
    set_up()
    environment = project_environment()
    shared = (read_stack() or {}).get("redis_url")
    if shared and not environment.get("REDIS_URL"):
        environment["REDIS_URL"] = shared
    os.execve(paths.PYTHON, [paths.PYTHON, paths.MANAGE, *arguments], environment)


FORWARDED: Mapping[str, Callable[[Sequence[str]], int]] = {
    "manage": manage,
    "test": test,
    "faults": faults,
    "bench": bench,
    "lock": lock,
    "audit": audit,
    "sbom": sbom,
}


FORWARDED_HELP: Mapping[str, str] = {
    "manage": "run manage.py with the given arguments, on the Redis of the running stack (its commands: manage help)",
    "test": "run all checks of CI; with arguments run only pytest, with these, for example: test tests/hub -k slow",
    "faults": "run the tests that break things for minutes; arguments go to pytest",
    "bench": "measure speed against peers (bench --list names the scenarios), or against a commit (--against COMMIT)",
    "lock": "recompile requirements*.txt; arguments go to uv, for example: lock --upgrade",
    "audit": "look for known holes in all locked packages; arguments go to pip-audit",
    "sbom": "write what is delivered as CycloneDX, to the given file or to stdout",
}


def asks_for_help(argv: Sequence[str]) -> bool:
    """Tell whether the arguments ask for the help of dev.py itself."""
    command, *arguments = argv
    if command == "manage":  # Each command of manage.py has help of its own.
        arguments = arguments[:1]
    return "--help" in arguments or "-h" in arguments


def port_number(text: str) -> int:
    """Return a TCP port, 0 for any free one."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; allowed: 0 (any free one) to 65535")
    return int(text)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Return the command with its options; a command of FORWARDED gets all that follows it, options too.

    A request for help prints help and ends, and does nothing else. `manage COMMAND --help` is for manage.py.
    """
    parser = argparse.ArgumentParser(prog="dev.py", description="Set up, run and check metrics_stream.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    runner = commands.add_parser("run", help="run the stack in the foreground (see: dev.py run --help)")
    runner.add_argument("--host", default="127.0.0.1", help="address to listen on, 0.0.0.0 for all (%(default)s)")
    runner.add_argument("--port", default=8000, type=port_number, help="if busy, the next free one (%(default)s)")
    runner.add_argument("--no-demo", dest="demo", action="store_false", help="leave out the simulated stress test")
    for name, words in FORWARDED_HELP.items():
        commands.add_parser(name, help=words, description=words, usage=f"dev.py {name} [ARGUMENT …]")
    if argv and argv[0] in FORWARDED and not asks_for_help(argv):
        return argparse.Namespace(command=argv[0], arguments=argv[1:])
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    """Run one command; return its exit code."""
    options = parse(argv)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            # By default the end of dev.py would leave pip running; an exception ends pip first.
            signal.signal(number, lambda number, frame: sys.exit(128 + number))
    try:
        if options.command == "run":
            return run(options)
        return FORWARDED[options.command](options.arguments)
    except KeyboardInterrupt:
        say("\nInterrupted.", sys.stderr)
        return 130
    except OSError as error:
        fail(str(error))
