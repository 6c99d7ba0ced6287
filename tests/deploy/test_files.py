"""What is in deploy/ agrees with the product and with docs/deployment.md."""

import inspect
import json
import os
import re
import secrets
import shlex
import signal
import subprocess
import sys
import tomllib
import urllib.request
from collections.abc import Callable
from functools import partial
from math import ceil
from threading import Event, Thread

import pytest
import uvicorn.config
import yaml
from django.core.management import get_commands, load_command_class
from packaging.specifiers import SpecifierSet

from metrics_stream.conf import StreamSettings
from metrics_stream.management.commands import serve
from project import redis_url
from tests.deploy.conftest import DEPLOY, find_program
from tests.deploy.conftest import SETTINGS as SETTINGS_MODULE
from tests.support.documents import SETTINGS, code_blocks, named, table
from tests.support.stack import ROOT, Stack, wait_until

PAGE = ROOT / "docs" / "deployment.md"
UNITS = sorted(DEPLOY.glob("*.service"))
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
DOCKERFILE = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")


def instructions(name: str) -> list[str]:
    """Return what follows an instruction of the Dockerfile, each time."""
    return re.findall(rf"^{name} +(.*)$", DOCKERFILE, re.MULTILINE)


def settings_of(unit: str) -> dict[str, str]:
    """Return the settings of a unit; of those that stand there twice, the last."""
    return dict(re.findall(r"^(\w+)=(.*)$", (DEPLOY / unit).read_text(), re.MULTILINE))


def started_commands() -> list[list[str]]:
    """Return every call of manage.py in the files, from the command's name on."""
    lines = [line for unit in UNITS for line in re.findall(r"^ExecStart=(.*)$", unit.read_text(), re.MULTILINE)]
    lines += [shlex.join(json.loads(found)) for found in instructions("CMD")]
    of_compose = COMPOSE["services"]["prepare"]["command"] + COMPOSE["services"]["daily"]["command"]
    lines += [part for each in of_compose for part in re.split("&&|;", each)]
    calls = [shlex.split(line) for line in lines if "manage.py" in line]
    return [call[call.index("manage.py") + 1 :] for call in calls]


def options_of_serve() -> list[dict[str, object]]:
    parser = load_command_class("metrics_stream", "serve").create_parser("manage.py", "serve")
    return [vars(parser.parse_args(call[1:])) for call in started_commands() if call[0] == "serve"]


def test_every_command_that_is_started_exists_with_its_options():
    calls = started_commands()
    daily = ["clearsessions", "axes_reset_logs", "axes_reset_failure_logs", "prune_history"]
    assert [call[0] for call in calls] == [
        *daily,
        *("emit_host_metrics", "serve", "serve", "migrate", "seed_defaults"),
        *daily,
    ]
    for name, *options in calls:
        load_command_class(get_commands()[name], name).create_parser("manage.py", name).parse_args(options)


def test_every_command_of_the_page_exists():
    text = PAGE.read_text()
    assert set(re.findall(r"python manage\.py (\w+)", text)) <= set(get_commands())
    assert all((ROOT / path).exists() for path in re.findall(r"\bdeploy/[\w.-]+", text))


def test_the_page_names_every_file():
    files = {path.name for path in DEPLOY.iterdir()}
    assert {name for row in table(PAGE, "Deployment", "file") for name in named([row])} == files


def test_proxies_and_checks_ask_the_port_on_which_the_server_listens():
    assert {options["port"] for options in options_of_serve()} == {8000}
    everything = "".join(path.read_text() for path in [*DEPLOY.iterdir(), PAGE])
    ports = set(re.findall(r"(?:127\.0\.0\.1|web):(\d+)", everything)) - {"6379"}
    assert (ports, instructions("EXPOSE")) == ({"8000"}, ["8000"])


def test_every_environment_variable_is_documented():
    documented = set(named(table(SETTINGS, "Environment", "variable")))
    # uvicorn reads this one itself.
    assert '"FORWARDED_ALLOW_IPS"' in inspect.getsource(uvicorn.config)
    documented.add("FORWARDED_ALLOW_IPS")
    of_files = set(COMPOSE["services"]["web"]["environment"])
    of_files |= set(re.findall(r"\b([A-Z_]+)=", " ".join(instructions("RUN"))))
    of_files |= {name for name in re.findall(r"\b([A-Z_]+)=", " ".join(instructions("ENV"))) if name in documented}
    of_page = set(re.findall(r"^([A-Z_]+)=", "".join(code_blocks(PAGE, "sh")), re.MULTILINE))
    assert len(of_page) == 7
    assert of_files | of_page <= documented


def test_the_redis_options_of_the_page_are_those_of_the_code():
    documented = named(table(PAGE, "Redis: one, sentinels, TLS", "option"))
    assert documented == [*redis_url.TLS_OPTIONS, *redis_url.SENTINEL_OPTIONS, "db"]
    forms = {url.partition("://")[0] for url in named(table(PAGE, "Redis: one, sentinels, TLS", "`REDIS_URL`"))}
    assert forms == {"redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel"}


# --- the documented environment ---


def documented_environment() -> dict[str, str]:
    """Return what the page puts into .env."""
    [block] = [block for block in code_blocks(PAGE, "sh") if block.startswith("SECRET_KEY=")]
    return dict(line.split("=", 1) for line in block.splitlines())


CheckDeploy = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def check_deploy(tmp_path_factory: pytest.TempPathFactory) -> CheckDeploy:
    """Return a function that runs `check --deploy` with the documented environment and a good key, and changes.

    Static files are collected, as the page says.
    """
    folder = tmp_path_factory.mktemp("check")
    (folder / "deployed_settings.py").write_text(SETTINGS_MODULE.format(static=str(folder / "static")))
    base = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    base |= documented_environment() | {"SECRET_KEY": secrets.token_urlsafe(50), "DEBUG": "0"}
    base |= {"DJANGO_SETTINGS_MODULE": "deployed_settings", "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}

    def manage(*arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "manage.py", *arguments]
        environment = base | changes
        return subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60)

    before = manage("check", "--deploy")
    assert "(metrics_stream.W010)" in before.stderr
    assert "manage.py collectstatic --no-input" in before.stderr
    assert manage("collectstatic", "--no-input").returncode == 0
    return partial(manage, "check", "--deploy", "--fail-level", "DEBUG")


def test_nothing_is_wrong_with_the_documented_environment(check_deploy):
    done = check_deploy()
    assert (done.returncode, done.stdout) == (0, "System check identified no issues (1 silenced).\n"), done.stderr


@pytest.mark.parametrize(
    ("changes", "ids"),
    [
        ({"SECRET_KEY": documented_environment()["SECRET_KEY"]}, {"metrics_stream.E004", "security.W009"}),
        ({"ALLOWED_HOSTS": "*"}, {"metrics_stream.E005"}),
        ({"HSTS_SUBDOMAINS": "0"}, {"security.W005"}),
        ({"HTTPS_ONLY": "0"}, {"security.W004", "security.W008", "security.W010", "security.W016"}),
        ({"REDIS_URL": ""}, {"metrics_stream.W003"}),
        ({"ALLOWED_ORIGINS": "file://,null,portal.example.org"}, {"metrics_stream.E010"}),
        ({"FORCE_SCRIPT_NAME": "/admin"}, {"metrics_stream.E011"}),
    ],
    ids=lambda value: "-".join(sorted(value)),
)
def test_what_is_wrong_with_another_environment_is_found(check_deploy, changes, ids):
    done = check_deploy(**changes)
    assert done.returncode != 0
    assert set(re.findall(r"\((\w+\.\w\d+)\)", done.stderr)) == ids, done.stderr


def test_a_server_with_a_placeholder_for_a_key_does_not_start():
    settings = {"DJANGO_SETTINGS_MODULE": "project.settings", "DEBUG": "0", "REDIS_URL": ""}
    environment = {**os.environ, **documented_environment(), **settings}
    argv = [sys.executable, "manage.py", "serve", "--port", "1"]
    done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0
    assert "metrics_stream.E004" in done.stderr


# --- limits and times ---


def test_a_stop_has_the_time_and_a_worker_the_files_that_it_may_need():
    defaults = StreamSettings()
    stop_seconds = ceil(defaults.drain_seconds) + serve.GRACEFUL_SECONDS
    files = defaults.max_clients + serve.SPARE_CONNECTIONS + serve.SPARE_FILES
    unit, web = settings_of("metrics-stream.service"), COMPOSE["services"]["web"]
    [workers] = {options["workers"] for options in options_of_serve()}
    assert workers > 1
    # A reload that has begun replaces every worker before the stop begins.
    assert int(unit["TimeoutStopSec"]) > (workers + 1) * stop_seconds
    assert int(web["stop_grace_period"].removesuffix("s")) > stop_seconds
    assert int(unit["LimitNOFILE"]) >= files
    assert web["ulimits"]["nofile"] >= files


# --- systemd ---


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_systemd_understands_the_units(unit, tmp_path):
    analyze = find_program("systemd-analyze")
    text = unit.read_text()
    here = tmp_path / unit.name
    here.write_text(text.replace("/srv/metrics-stream/.venv/bin/python", sys.executable))
    done = subprocess.run([analyze, "verify", here], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.replace(str(tmp_path), "")) == (0, "")
    assert "/srv/metrics-stream/.venv/bin/python" in text


def test_systemd_understands_the_timer(tmp_path):
    analyze = find_program("systemd-analyze")
    [timer] = DEPLOY.glob("*.timer")
    for path in (timer, timer.with_suffix(".service")):
        here = tmp_path / path.name
        here.write_text(path.read_text().replace("/srv/metrics-stream/.venv/bin/python", sys.executable))
    done = subprocess.run([analyze, "verify", tmp_path / timer.name], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.replace(str(tmp_path), "")) == (0, "")
    [when] = re.findall(r"^OnCalendar=(.*)$", timer.read_text(), re.MULTILINE)
    done = subprocess.run([analyze, "calendar", when], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.valkey
def test_reload_replaces_every_worker_and_no_request_fails(valkey_url, tmp_path):
    [how] = re.findall(r"kill -(\w+) \$MAINPID", settings_of("metrics-stream.service")["ExecReload"])
    stack = Stack(tmp_path, valkey_url, workers=2)
    stack.start()
    failures: list[Exception] = []
    answers, ended = [], Event()

    def ask() -> None:
        while not ended.wait(0.02):
            try:
                with urllib.request.urlopen(f"{stack.url}/healthz", timeout=5) as answer:
                    answers.append(answer.status)
            except OSError as error:
                failures.append(error)

    asking = Thread(target=ask)
    asking.start()
    try:
        before = stack.worker_pids()
        stack.server.send_signal(signal.Signals[f"SIG{how}"])
        wait_until(lambda: len(stack.worker_pids()) == 2 and not stack.worker_pids() & before, 30)
    finally:
        ended.set()
        asking.join()
        stack.stop()
    assert len(answers) > 20
    assert failures == []


# --- Docker ---


def test_the_image_has_a_python_that_the_project_allows():
    allowed = SpecifierSet(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"])
    versions = re.findall(r"^FROM python:([0-9.]+)-slim", DOCKERFILE, re.MULTILINE)
    assert len(versions) == len(instructions("FROM")) == 2
    assert all(version in allowed for version in versions)


def test_the_image_is_made_of_what_its_context_has():
    let_in = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    copied = [line.split()[0] for line in instructions("COPY") if not line.startswith("--from")]
    assert sorted(copied) == sorted(let_in)
    assert all((ROOT / name).exists() for name in copied)
    [copy] = [line for line in code_blocks(PAGE, "sh")[1].splitlines() if line.startswith("cp -r")]
    assert sorted(copy.split()[2:-1]) == sorted(copied)


def test_the_image_serves_as_an_ordinary_user_from_locked_requirements():
    assert instructions("USER") == ["metrics-stream"]
    assert "--require-hashes" in DOCKERFILE
    [check] = instructions("HEALTHCHECK")
    assert "/healthz" in check
    assert isinstance(json.loads(check.partition("CMD ")[2]), list)


def test_only_the_proxy_can_be_reached_from_outside():
    services = COMPOSE["services"]
    assert [name for name, service in services.items() if "ports" in service] == ["proxy"]
    images = {service["image"] for service in services.values()} - {"metrics-stream"}
    assert all(re.search(r":\d+\.\d+", image) for image in images), images
    assert services["web"]["depends_on"]["prepare"] == {"condition": "service_completed_successfully"}


# --- the proxies ---


def test_caddy_understands_its_file_and_finds_it_tidy():
    caddy, file = find_program("caddy"), DEPLOY / "Caddyfile"
    argv = [caddy, "validate", "--adapter", "caddyfile", "--config", str(file)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    tidy = subprocess.run([caddy, "fmt", str(file)], capture_output=True, text=True, check=True)
    assert tidy.stdout == file.read_text()


def test_both_proxies_show_the_same_page_when_the_server_is_away():
    pages = [
        re.findall(r"<!doctype html>.*</html>", (DEPLOY / name).read_text()) for name in ("nginx.conf", "Caddyfile")
    ]
    assert len(pages[0]) == 1
    assert [page.replace('<meta charset="utf-8">', "") for page in pages[0]] == pages[1]
