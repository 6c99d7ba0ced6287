"""`dev.py run`: the whole stack in the foreground."""

import argparse
import contextlib
import ipaddress
import os
import sys
from collections.abc import Mapping, Sequence

from devtools import paths
from devtools.addresses import bracketed, free_port, healthy, public_addresses, resolve
from devtools.children import Child
from devtools.output import fail, last_lines, say
from devtools.programs import call
from devtools.stack import Stack
from devtools.stack_file import stack_file
from devtools.valkey import NO_VALKEY, require_redis, socket_directory, start_valkey
from devtools.variables import allow_hosts, project_environment
from devtools.virtualenv import set_up


def run(options: argparse.Namespace) -> int:
    """Run the stack in the foreground; return its exit code when all of its processes have ended."""
    set_up()
    # Nothing here ends TLS, also where DEBUG is off.
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

        stack = Stack(environment)  # From here on signals are counted; they interrupt nothing.
        with socket_directory() as directory:
            try:
                if not environment.get("REDIS_URL") and not start_valkey(stack, directory / "valkey.sock"):
                    return 0
                write_stack({"pid": os.getpid(), "url": url, "redis_url": environment.get("REDIS_URL", "")})
                serve = [paths.PYTHON, paths.MANAGE, "serve", "--host", address, "--port", str(port)]
                server = Child("server", *serve, stop_seconds=12)
                if not stack.start(server, lambda: healthy(here, port)):
                    return 0
                announce(url, public, port)
                start_emitters(stack, f"{url}healthz", demo=options.demo)
                return stack.watch(server)
            finally:
                stack.stop()


def prepare(environment: Mapping[str, str]) -> None:
    """Bring database, defaults and administrator up to date; no step changes what exists."""
    steps = [["migrate", "--no-input"], ["seed_defaults"]]
    steps.append(["ensure_admin", "--password-file", str(paths.VAR / "admin-password")])
    if environment["DEBUG"].lower() not in ("true", "on", "ok", "y", "yes", "1"):  # as django-environ reads it
        steps.append(["collectstatic", "--no-input"])
    for step in steps:
        done = call([paths.PYTHON, paths.MANAGE, *step], environment)
        if done.returncode:
            say(last_lines(done.stdout), sys.stderr)
            fail(f"preparing the database failed (see above); alone it is: python3 dev.py manage {' '.join(step)}")


def announce(url: str, public: Sequence[str], port: int) -> None:
    """Print the addresses, the login and how to stop the stack."""
    say(f"\n  Dashboards  {url}\n  Console     {url}console/\n  Admin       {url}admin/")
    with contextlib.suppress(FileNotFoundError):
        password = (paths.VAR / "admin-password").read_text().strip()
        say(f"              login admin, password {password} (from var/admin-password)")
    say("  Publish     python3 dev.py manage shell (in a second terminal)\n  Stop        Ctrl-C\n")
    if public:
        say("Everybody who reaches this port can see the metrics:")
        say("\n".join(f"  http://{bracketed(address)}:{port}/" for address in public))


def start_emitters(stack: Stack, health_url: str, *, demo: bool) -> None:
    """Start the producers: this machine's own metrics and the simulated stress test."""
    if not stack.environment.get("REDIS_URL"):
        say(NO_VALKEY)
        return
    manage = (paths.PYTHON, paths.MANAGE)
    stack.start(Child("host", *manage, "emit_host_metrics", "--probe", health_url, "--rate", "5", "--quiet"))
    if demo:
        stack.start(Child("demo", *manage, "emit_demo_metrics", "--quiet"))
