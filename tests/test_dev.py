"""dev.py: its arguments, its set-up, its processes, and once the whole stack."""

import ast
import json
import os
import re
import runpy
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import dev

PROJECT_VARIABLES = (
    "DEBUG",
    "SECRET_KEY",
    "HTTPS_ONLY",
    "ALLOWED_HOSTS",
    "CSRF_TRUSTED_ORIGINS",
    "DATABASE_URL",
    "REDIS_URL",
)


def wait_for(condition: Callable[[], Any], seconds: float = 10.0) -> Any:
    """Return the first true value of `condition`."""
    give_up_at = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < give_up_at, "waited too long"
        threading.Event().wait(0.02)
    return value


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that dev.py takes for its checkout."""
    for name in ("var", ".venv"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(dev, "ROOT", tmp_path)
    monkeypatch.setattr(dev, "VAR", tmp_path / "var")
    monkeypatch.setattr(dev, "VENV", tmp_path / ".venv")
    return tmp_path


@pytest.fixture
def stack() -> Iterator[dev.Stack]:
    """A stack whose children and signal handlers are gone afterwards."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handlers = [signal.getsignal(number) for number in numbers]
    stack = dev.Stack(dict(os.environ))
    yield stack
    stack.stop()
    for number, handler in zip(numbers, handlers, strict=True):
        signal.signal(number, handler)


def python_child(code: str, **options: Any) -> dev.Child:
    return dev.Child("child", sys.executable, "-c", code, **options)


class TestArguments:
    def test_run_has_defaults_for_one_machine(self) -> None:
        assert vars(dev.parse(["run"])) == {"command": "run", "host": "127.0.0.1", "port": 8000, "demo": True}

    def test_run_takes_host_port_and_no_demo(self) -> None:
        options = dev.parse(["run", "--host", "::1", "--port", "0", "--no-demo"])
        assert vars(options) == {"command": "run", "host": "::1", "port": 0, "demo": False}

    @pytest.mark.parametrize("command", ["manage", "test", "faults", "bench", "lock"])
    @pytest.mark.parametrize("arguments", [[], ["--help"], ["shell", "-c", "print(1)", "--", "-x"]])
    def test_arguments_of_the_others_are_passed_on_untouched(self, command: str, arguments: list[str]) -> None:
        assert vars(dev.parse([command, *arguments])) == {"command": command, "arguments": arguments}

    @pytest.mark.parametrize("port", ["x", "-1", "65536", "8000.5", ""])
    def test_a_bad_port_is_named(self, port: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit, match="2"):
            dev.parse(["run", f"--port={port}"])
        assert f"{port!r} is no port" in capsys.readouterr().err


class TestPython:
    @pytest.mark.parametrize("version", [(3, 6, 15), (3, 8, 0), (3, 10, 13)])
    def test_a_too_old_python_is_told_what_mends_it(
        self, version: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "version_info", version)
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(dev.ROOT / "dev.py"), run_name="__main__")
        line = str(ended.value)
        assert "\n" not in line
        assert f"this is {version[0]}.{version[1]}" in line
        assert "apt install python3" in line

    def test_older_pythons_can_parse_the_file(self) -> None:
        ast.parse((dev.ROOT / "dev.py").read_text(), feature_version=(3, 8))

    @pytest.mark.parametrize("module", ["ensurepip", "venv"])
    def test_a_missing_part_of_python_is_named_in_one_line(self, module: str, tmp_path: Path) -> None:
        for name in ("dev.py", "requirements.txt", "requirements-valkey.txt"):
            shutil.copy(dev.ROOT / name, tmp_path)
        code = (
            f"import runpy, sys; sys.modules[{module!r}] = None; sys.argv = ['dev.py', 'run']; "
            "runpy.run_path('dev.py', run_name='__main__')"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert done.stdout == ""
        assert done.stderr.splitlines()[1:] == [f"dev.py: {dev.NO_VENV}"]


class TestPip:
    """The real pip, against a package index that does not answer and one that is empty."""

    @pytest.fixture(autouse=True)
    def no_other_index(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(dev, "PYTHON", sys.executable)
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX"):
            monkeypatch.delenv(name, raising=False)

    @pytest.fixture
    def lock(self, tmp_path: Path) -> str:
        (tmp_path / "lock.txt").write_text(f"no-such-package==1.0 --hash=sha256:{'0' * 64}\n")
        return str(tmp_path / "lock.txt")

    def test_no_network_is_told_apart_from_a_missing_package(self, lock: str, monkeypatch: pytest.MonkeyPatch) -> None:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))  # bound, but nobody listens
            monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{closed.getsockname()[1]}/simple")
            with pytest.raises(SystemExit, match="cannot reach the package index"):
                dev.pip_install("--require-hashes", "-r", lock)

    def test_a_missing_package_is_returned_for_the_caller_to_judge(
        self, lock: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PIP_INDEX_URL", tmp_path.as_uri())
        assert "No matching distribution found" in dev.pip_install("--require-hashes", "-r", lock)

    def test_another_failure_shows_what_pip_said(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "lock.txt").write_text("not a requirement\n")
        with pytest.raises(SystemExit, match="pip failed"):
            dev.pip_install("-r", str(tmp_path / "lock.txt"))
        assert "Invalid requirement" in capsys.readouterr().err


class TestSetUp:
    """When something is installed; pip itself is left out."""

    @pytest.fixture
    def installed(self, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        for name in ("requirements.txt", "requirements-dev.txt", "requirements-valkey.txt"):
            (checkout / name).write_text(f"# {name}\n")
        installed: list[str] = []

        def pip_install(*options: str) -> str:
            installed.append(Path(options[-1]).name)
            return ""

        monkeypatch.setattr(dev, "venv_works", lambda: True)
        monkeypatch.setattr(dev, "pip_install", pip_install)
        return installed

    def test_the_same_locks_are_installed_once(self, installed: list[str]) -> None:
        dev.set_up()
        dev.set_up()
        assert installed == ["requirements.txt", "requirements-valkey.txt"]

    def test_a_changed_lock_is_installed_again(self, installed: list[str], checkout: Path) -> None:
        dev.set_up()
        installed.clear()
        (checkout / "requirements.txt").write_text("django==5.2\n")
        dev.set_up()
        assert installed == ["requirements.txt"]

    def test_another_python_installs_again(self, installed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        dev.set_up()
        installed.clear()
        monkeypatch.setattr(sys.implementation, "cache_tag", "cpython-399")
        dev.set_up()
        assert installed == ["requirements.txt", "requirements-valkey.txt"]

    def test_the_development_lock_covers_the_other(self, installed: list[str]) -> None:
        dev.set_up(development=True)
        dev.set_up()
        assert installed == ["requirements-dev.txt", "requirements-valkey.txt"]

    def test_an_interrupted_installation_is_repeated(
        self, installed: list[str], checkout: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        dev.set_up()
        (checkout / "requirements.txt").write_text("django==5.2\n")

        def interrupted(*options: str) -> str:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(dev, "pip_install", interrupted)
            with pytest.raises(KeyboardInterrupt):
                dev.set_up()
        # Even the old lock is no longer thought installed: pip may have replaced half of it.
        (checkout / "requirements.txt").write_text("# requirements.txt\n")
        installed.clear()
        dev.set_up()
        assert installed == ["requirements.txt"]

    def test_a_platform_without_valkey_goes_on_without_it(
        self, installed: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            dev, "pip_install", lambda *options: "ERROR: No matching" if "--only-binary" in options else ""
        )
        dev.set_up()
        assert dev.read_stamp()["valkey"] == "no wheel"

    def test_a_broken_stamp_counts_as_none(self, checkout: Path) -> None:
        (checkout / ".venv" / "locks.json").write_text("{")
        assert dev.read_stamp() == {}

    def test_a_virtual_environment_without_pip_does_not_work(
        self, checkout: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(dev, "PYTHON", str(checkout / ".venv" / "bin" / "python"))
        assert not dev.venv_works()
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(checkout / ".venv")], check=True)
        assert not dev.venv_works()


class TestLocks:
    def test_the_development_lock_has_every_version_of_the_other(self) -> None:
        def pins(name: str) -> set[str]:
            return set(re.findall(r"^[\w.\[\]-]+==\S+", (dev.ROOT / name).read_text(), re.MULTILINE))

        assert pins("requirements.txt") - pins("requirements-dev.txt") == set()

    @pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt", "requirements-valkey.txt"])
    def test_a_lock_names_the_command_that_makes_it_and_no_index(self, name: str) -> None:
        text = (dev.ROOT / name).read_text()
        assert text.splitlines()[1] == "#    python3 dev.py lock"
        assert "://" not in text

    def test_lock_compiles_each_with_the_uv_on_the_path(
        self, checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        uv = checkout / "uv"
        uv.write_text('#!/bin/sh\necho "$@" >>calls\n')
        uv.chmod(0o755)
        monkeypatch.setenv("PATH", str(checkout), prepend=os.pathsep)
        monkeypatch.chdir(checkout)
        assert dev.lock(["--upgrade"]) == 0
        calls = (checkout / "calls").read_text().splitlines()
        assert [call.split()[:5] for call in calls] == [
            ["pip", "compile", f"{name}.in", "-o", f"{name}.txt"]
            for name in ("requirements", "requirements-dev", "requirements-valkey")
        ]
        assert [("-c requirements.txt" in call, "--upgrade" in call) for call in calls] == [
            (False, True),
            (True, True),
            (False, True),
        ]


class TestTestCommand:
    def test_everything_runs_even_when_something_fails_and_pytest_runs_last(
        self, checkout: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        python = checkout / "python"
        python.write_text('#!/bin/sh\necho "ran $2"\ntest "$2" != mypy\n')
        python.chmod(0o755)
        monkeypatch.setattr(dev, "PYTHON", str(python))
        monkeypatch.setattr(dev, "set_up", lambda *, development: None)
        monkeypatch.chdir(checkout)
        assert dev.test([]) == 1
        lines = capfd.readouterr().out.splitlines()
        assert sum(line.startswith("ran ") for line in lines) == 9
        assert lines[-3] == "ran pytest"
        assert lines[-2].startswith("ok: ruff check, ruff format, import-linter")
        assert lines[-1] == "FAILED: mypy"

    def test_continuous_integration_calls_it(self) -> None:
        script = dev.ROOT / ".ci" / "run"
        assert os.access(script, os.X_OK)
        assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
        assert "REQUIRE_BROWSER=1 REQUIRE_VALKEY=1" in script.read_text()


class TestAddress:
    def test_a_busy_port_gives_way_to_the_next(self) -> None:
        with socket.socket() as busy:
            busy.bind(("127.0.0.1", 0))
            busy.listen()
            wanted = busy.getsockname()[1]
            assert wanted < dev.free_port("127.0.0.1", wanted) < wanted + dev.PORTS_TRIED

    def test_a_free_port_is_taken_and_zero_means_any(self) -> None:
        port = dev.free_port("127.0.0.1", 0)
        assert port > 0
        assert dev.free_port("127.0.0.1", port) == port

    def test_no_free_port_is_an_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(dev, "PORTS_TRIED", 1)
        with socket.socket() as busy:
            busy.bind(("127.0.0.1", 0))
            busy.listen()
            with pytest.raises(SystemExit, match="all in use; choose another --port"):
                dev.free_port("127.0.0.1", busy.getsockname()[1])

    def test_an_address_of_another_machine_is_an_error(self) -> None:
        with pytest.raises(SystemExit, match=r"cannot listen on 192\.0\.2\.77"):
            dev.free_port("192.0.2.77", 8000)

    def test_a_host_that_does_not_exist_is_an_error(self) -> None:
        with pytest.raises(SystemExit, match="no such address"):
            dev.resolve("no host at all")

    def test_localhost_is_ipv4(self) -> None:
        assert dev.resolve("localhost") == "127.0.0.1"

    def test_loopback_leaves_the_allowed_hosts_to_django(self) -> None:
        environment: dict[str, str] = {}
        dev.allow_hosts(environment, "127.0.0.1", [])
        assert environment == {}

    def test_allowed_hosts_of_the_user_stay_and_the_probe_is_let_in(self) -> None:
        environment = {"ALLOWED_HOSTS": "metrics.example.org"}
        dev.allow_hosts(environment, "127.0.0.1", [])
        assert environment["ALLOWED_HOSTS"].startswith("metrics.example.org,localhost,127.0.0.1,")

    def test_a_public_address_is_allowed_with_the_names_of_the_machine(self) -> None:
        environment: dict[str, str] = {}
        dev.allow_hosts(environment, "0.0.0.0", ["192.0.2.7", "2001:db8::7"])
        allowed = environment["ALLOWED_HOSTS"].split(",")
        assert {"127.0.0.1", "192.0.2.7", "[2001:db8::7]", socket.gethostname()} <= set(allowed)


class TestRedis:
    def test_a_redis_that_is_away_is_an_error_without_its_password(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(dev, "PYTHON", sys.executable)
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{closed.getsockname()[1]}"
            with pytest.raises(SystemExit) as ended:
                dev.require_redis({**os.environ, "REDIS_URL": f"redis://user:secret@{address}/0"})
        assert str(ended.value).startswith(f"dev.py: REDIS_URL=redis://***@{address}/0 does not answer (")
        assert "\n" not in str(ended.value)

    def test_an_url_that_is_none_is_an_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(dev, "PYTHON", sys.executable)
        with pytest.raises(SystemExit, match="REDIS_URL=nonsense: .* allowed: redis://"):
            dev.require_redis({**os.environ, "REDIS_URL": "nonsense"})


@pytest.mark.usefixtures("checkout")
class TestStackFile:
    def test_no_file_means_no_stack(self) -> None:
        assert dev.read_stack() is None

    def test_a_running_stack_is_found_and_gone_afterwards(self) -> None:
        with dev.stack_file() as write:
            assert dev.read_stack() == {}
            write({"pid": 1, "url": "http://127.0.0.1:1/", "redis_url": ""})
            assert dev.read_stack() == {"pid": 1, "url": "http://127.0.0.1:1/", "redis_url": ""}
            assert stat.S_IMODE((dev.VAR / "stack.json").stat().st_mode) == 0o600
        assert dev.read_stack() is None
        assert not (dev.VAR / "stack.json").exists()

    def test_a_second_stack_is_refused_and_leaves_the_first_alone(self) -> None:
        with dev.stack_file() as write:
            write({"url": "http://127.0.0.1:1/"})
            with pytest.raises(SystemExit, match="runs already"), dev.stack_file():
                pytest.fail("two stacks")
            assert dev.read_stack() == {"url": "http://127.0.0.1:1/"}

    def test_what_a_killed_stack_left_is_ignored_and_swept(self) -> None:
        left = Path(tempfile.mkdtemp(prefix="metrics-stream-"))
        (left / "valkey.sock").touch()
        stale = {"pid": os.getpid(), "url": "http://x/", "redis_url": f"unix://{left}/valkey.sock"}
        (dev.VAR / "stack.json").write_text(json.dumps(stale))
        assert dev.read_stack() is None
        with dev.stack_file():
            assert not left.exists()

    @pytest.mark.parametrize("content", ["", "[]", "{", "{}", '{"redis_url": 1}', '{"redis_url": "redis://host/0"}'])
    def test_a_stale_file_of_any_content_is_ignored(self, content: str) -> None:
        (dev.VAR / "stack.json").write_text(content)
        with dev.stack_file():
            assert dev.read_stack() == {}


class TestChildren:
    def test_lines_are_told_behind_the_name(self, stack: dev.Stack, capsys: pytest.CaptureFixture[str]) -> None:
        child = python_child("print('one'); print(); print('two')")
        stack.start(child)
        wait_for(lambda: child.exit_code() is not None)
        child.reader.join()
        assert capsys.readouterr().out == " child | one\n child | two\n"

    def test_the_end_of_the_server_ends_the_stack_with_its_exit_code(
        self, stack: dev.Stack, capsys: pytest.CaptureFixture[str]
    ) -> None:
        server = python_child("import sys; sys.exit(7)")
        stack.start(server)
        assert stack.watch(server) == 7
        assert "child : ended by itself (exit code 7)" in capsys.readouterr().out

    def test_a_server_that_dies_while_it_starts_is_an_error_with_its_last_words(
        self, stack: dev.Stack, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit, match="3"):
            stack.start(python_child("print('why'); raise SystemExit(3)", silent=True), lambda: False)
        assert capsys.readouterr().out == " child | why\n child : ended while it started (exit code 3)\n"

    def test_a_dead_child_is_started_again_after_growing_waits(
        self, stack: dev.Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(dev, "RESTART_SECONDS", (0.0, 0.01))
        child = python_child("import sys; sys.exit(5)")
        stack.start(child)

        def three_times() -> bool:
            child.keep_alive(stack.environment)
            return child.failures == 3

        wait_for(three_times)
        assert capsys.readouterr().out.splitlines() == [
            f" child : ended (exit code 5); starts again in {wait} s" for wait in ("0", "0.01", "0.01")
        ]

    def test_stopping_goes_from_the_last_to_the_first(
        self, stack: dev.Stack, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for name in ("first", "second"):
            code = (
                "import signal, sys; signal.signal(15, lambda *_: sys.exit(print('bye'))); print('up'); signal.pause()"
            )
            child = dev.Child(name, sys.executable, "-c", code)
            stack.start(child)
        output = ""

        def both_up() -> bool:
            nonlocal output
            output += capsys.readouterr().out
            return output.count("up") == 2

        wait_for(both_up)
        stack.stop()
        assert capsys.readouterr().out == "second | bye\n first | bye\n"

    def test_a_child_that_ignores_sigterm_is_killed_after_its_time(
        self, stack: dev.Stack, capsys: pytest.CaptureFixture[str]
    ) -> None:
        child = python_child(
            "import signal; signal.signal(15, signal.SIG_IGN); print('up'); signal.pause()", stop_seconds=0.1
        )
        stack.start(child)
        wait_for(lambda: "up" in capsys.readouterr().out)
        stack.stop()
        assert child.process.returncode == -signal.SIGKILL

    def test_a_second_signal_kills_at_once(self, stack: dev.Stack, capsys: pytest.CaptureFixture[str]) -> None:
        child = python_child(
            "import signal; signal.signal(15, signal.SIG_IGN); print('up'); signal.pause()", stop_seconds=60
        )
        stack.start(child)
        wait_for(lambda: "up" in capsys.readouterr().out)
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        stack.stop()
        assert child.process.returncode == -signal.SIGKILL

    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's death")
    def test_children_of_a_killed_stack_end(self) -> None:
        code = (
            "import os, sys, time, dev; child = dev.Child('x', sys.executable, '-c', 'import time; time.sleep(60)');"
            "child.start(os.environ); print(child.process.pid, flush=True); time.sleep(60)"
        )
        with subprocess.Popen([sys.executable, "-c", code], cwd=dev.ROOT, stdout=subprocess.PIPE, text=True) as parent:
            assert parent.stdout is not None
            child = psutil.Process(int(parent.stdout.readline()))
            # Before the child has asked for it the kernel would not tell it; then it notices by itself.
            parent.kill()
        wait_for(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


class TestEnvironment:
    def test_the_example_names_every_variable_that_the_settings_read(self) -> None:
        settings = (dev.ROOT / "project" / "settings.py").read_text()
        read = re.findall(r"\benv(?:\.\w+)?\(\s*\"([A-Z_]+)\"", settings)
        example = re.findall(r"^#?([A-Z_]+)=", (dev.ROOT / ".env.example").read_text(), re.MULTILINE)
        assert example == list(dict.fromkeys(example))
        assert set(example) == set(read)

    def test_env_file_adds_to_the_environment_and_debug_comes_last(
        self, checkout: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(dev, "PYTHON", sys.executable)
        monkeypatch.setenv("LOG_LEVEL", "ERROR")
        for name in ("DEBUG", "ALLOWED_HOSTS"):
            monkeypatch.delenv(name, raising=False)
        (checkout / ".env").write_text("LOG_LEVEL=DEBUG\nALLOWED_HOSTS='a.example,b.example'\n")
        environment = dev.project_environment()
        assert environment["LOG_LEVEL"] == "ERROR"
        assert environment["ALLOWED_HOSTS"] == "a.example,b.example"
        assert environment["DEBUG"] == "1"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the checkout without a database, with this checkout's .venv."""
    stamp = dev.read_stamp()
    names = ("requirements.txt", "requirements-valkey.txt")
    if any(stamp.get(name) != dev.fingerprint(dev.ROOT / name) for name in names):
        pytest.skip("needs the .venv that dev.py makes: python3 dev.py test")
    ignored = shutil.ignore_patterns(".venv", ".git", "var", ".env", "tests", "*_cache", "__pycache__", ".hypothesis")
    shutil.copytree(dev.ROOT, tmp_path / "copy", ignore=ignored)
    (tmp_path / "copy" / ".venv").symlink_to(dev.VENV)
    return tmp_path / "copy"


@pytest.fixture
def bare_environment() -> Iterator[dict[str, str]]:
    """The environment of a person: nothing of the project set, and a folder of its own for temporary files."""
    ours = {*PROJECT_VARIABLES, "DJANGO_SETTINGS_MODULE"}
    with tempfile.TemporaryDirectory(prefix="t") as folder:
        yield {name: value for name, value in os.environ.items() if name not in ours} | {"TMPDIR": folder}


@pytest.mark.valkey
def test_the_stack_runs_is_joined_and_leaves_nothing(
    copy: Path, tmp_path: Path, bare_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if dev.read_stamp().get("valkey") != "installed":
        assert "REQUIRE_VALKEY" not in os.environ
        pytest.skip("needs the embedded Valkey, which has no wheel for this platform")
    monkeypatch.setattr(dev, "VAR", copy / "var")

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(copy / "dev.py"), *arguments]
        return subprocess.run(command, cwd=tmp_path, env=bare_environment, capture_output=True, text=True, check=False)

    with socket.socket() as busy, (tmp_path / "output").open("w+") as output:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        wanted = busy.getsockname()[1]
        stack = subprocess.Popen(
            [sys.executable, str(copy / "dev.py"), "run", "--port", str(wanted)],
            cwd=tmp_path,
            env=bare_environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:

            def said() -> str:
                output.seek(0)
                return output.read()

            def up() -> bool:
                assert stack.poll() is None, said()
                return "Stop  " in said()

            wait_for(up, seconds=60)
            running = dev.read_stack()
            assert running is not None
            port = int(running["url"].rstrip("/").rpartition(":")[2])
            assert port > wanted
            assert f"Port {wanted} is in use, so this is port {port}." in said()
            assert dev.healthy("127.0.0.1", port)
            assert running["pid"] == stack.pid

            wait_for(lambda: len(psutil.Process(stack.pid).children()) == 4)
            children = psutil.Process(stack.pid).children(recursive=True)

            password_file = copy / "var" / "admin-password"
            assert stat.S_IMODE(password_file.stat().st_mode) == 0o600
            assert f"login admin, password {password_file.read_text().strip()} " in said()

            second = call("run")
            assert (second.returncode, second.stdout) == (1, "")
            assert f"runs already: {running['url']}" in second.stderr

            joined = call(
                "manage", "shell", "-v", "0", "-c", "from django.conf import settings as s; print(s.REDIS_URL)"
            )
            assert (joined.stdout, joined.stderr) == (f"{running['redis_url']}\n", "")
            socket_path = Path(running["redis_url"].removeprefix("unix://"))
            assert dev.valkey_answers(socket_path)
            assert socket_path.is_relative_to(bare_environment["TMPDIR"])
            assert stat.S_IMODE(socket_path.parent.stat().st_mode) == 0o700

            stack.terminate()
            assert stack.wait(timeout=20) == 0, said()
            assert said().endswith("Stopping.\n")
            assert " : ended" not in said()
            assert [child for child in children if child.is_running()] == []
            assert os.listdir(bare_environment["TMPDIR"]) == []
            assert not (copy / "var" / "stack.json").exists()
        finally:
            stack.kill()
            stack.wait()
