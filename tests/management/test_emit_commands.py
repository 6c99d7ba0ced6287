"""The two commands that publish: what and how often they publish, how they end, and their errors."""

import io
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import pytest
from django.core.management import CommandError, call_command

from metrics_stream.broadcast import make_metric
from metrics_stream.collectors import pace
from metrics_stream.conf import get_settings
from metrics_stream.management.commands import emit_demo_metrics, emit_host_metrics

ROOT = Path(__file__).resolve().parents[2]

# A program starts in a second, but needs much longer on a busy machine.
PROGRAM_TIMEOUT_SECONDS = 60


class RecordingBroadcaster:
    """Takes the metrics that a Broadcaster would take, and keeps them."""

    made: list["RecordingBroadcaster"] = []
    dropped = 0
    queued = 0
    last_error: str | None = None

    def __init__(self, *, source: str | None = None) -> None:
        self.source = source
        self.metrics: list[tuple[str, Any]] = []
        self.runs: list[tuple[str, Any]] = []
        self.phases: list[str] = []
        self.made.append(self)

    @property
    def published(self) -> int:
        return len(self.metrics)

    def _take(self, metric_type: str, data: Any) -> None:
        make_metric(metric_type, data, source=self.source)  # raises what the real one would raise
        self.metrics.append((metric_type, data))

    def broadcast(self, metric_type: str, data: Any, *, windows: Any = None) -> None:
        self._take(metric_type, data)

    def broadcast_system_metrics(self, data: Any, *, units: Any = None) -> None:
        self._take("system", data)

    def broadcast_agent_metrics(self, data: Any) -> None:
        self._take("agent", data)

    def broadcast_business_metrics(self, data: Any) -> None:
        self._take("business", data)

    def broadcast_hero_metrics(self, data: Any) -> None:
        self._take("hero", data)

    def broadcast_presentation_data(self, data: Any, *, units: Any = None) -> None:
        self._take("presentation", data)

    @contextmanager
    def stress_test_run(self, name: str, **values: Any) -> Iterator[Any]:
        self.runs.append((name, values))
        yield SimpleNamespace(slug="demo-soak", phase=self.phases.append)

    def flush(self, timeout: float) -> bool:
        return self.last_error is None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[RecordingBroadcaster]:
    """Replace the Broadcaster by one that keeps metrics, and waits by nothing; return those that were made."""

    def ticks(interval: float, *, stop: pace.Stop, duration_seconds: float, first: int = 0) -> Any:
        return (n * interval for n in range(first, round(duration_seconds / interval) + 1))

    made: list[RecordingBroadcaster] = []
    monkeypatch.setattr(RecordingBroadcaster, "made", made)
    for command in (emit_demo_metrics, emit_host_metrics):
        monkeypatch.setattr(command, "Broadcaster", RecordingBroadcaster)
        monkeypatch.setattr(command, "ticks", ticks)
    return made


def test_demo_publishes_every_type_at_its_pace(recorded: list[RecordingBroadcaster]) -> None:
    output = io.StringIO()
    call_command("emit_demo_metrics", duration=10, rate=4, agents=3, source="lab", stdout=output)
    [stream] = recorded
    assert stream.source == "lab"
    published = Counter(metric_type for metric_type, _ in stream.metrics)
    # Nothing fails in the first seconds.
    assert 0 < published.pop("error") < 41
    assert published == {
        "system": 41, "agent": 41, "request": 41, "business": 11, "hero": 11, "presentation": 11,
    }  # fmt: skip
    assert all(len(data) == 3 for metric_type, data in stream.metrics if metric_type == "agent")
    first, *_, last = output.getvalue().splitlines()
    assert first == "demo 0:00, ramp: 6 metrics published, 0 dropped"
    assert last == f"demo ended: {len(stream.metrics)} metrics published, 0 dropped"


def test_slow_demo_publishes_everything_at_every_step(recorded: list[RecordingBroadcaster]) -> None:
    call_command("emit_demo_metrics", duration=10, rate=0.5, quiet=True)
    published = Counter(metric_type for metric_type, _ in recorded[0].metrics if metric_type != "error")
    assert published == dict.fromkeys(["system", "agent", "request", "business", "hero", "presentation"], 6)


def test_the_demo_is_recorded_with_its_phases(recorded: list[RecordingBroadcaster]) -> None:
    output = io.StringIO()
    call_command("emit_demo_metrics", duration=10, record="demo soak", seed=3, stdout=output)
    [stream] = recorded
    assert stream.runs == [("demo soak", {"tags": ["demo"], "parameters": {"seed": 3, "agents": 5, "rate": 2.0}})]
    assert stream.phases == ["ramp", "plateau", "spike", "recovery"]
    assert output.getvalue().splitlines()[0] == "recorded as demo-soak"


def test_demo_repeats_itself_for_the_same_seed(recorded: list[RecordingBroadcaster]) -> None:
    for seed in (7, "7", 8):
        call_command("emit_demo_metrics", seed=seed, duration=5, quiet=True)
    once, again, other = recorded
    assert once.metrics == again.metrics
    assert once.metrics != other.metrics


def test_host_publishes_this_machine(recorded: list[RecordingBroadcaster]) -> None:
    output = io.StringIO()
    call_command("emit_host_metrics", interval=0.5, duration=2, stdout=output)
    [stream] = recorded
    assert stream.source == f"{get_settings().source}-host", "a program that names no source has the setting's"
    assert [metric_type for metric_type, _ in stream.metrics] == ["system"] * 4
    assert all({"cpu_utilization", "memory_utilization"} <= set(data) for _, data in stream.metrics)
    assert re.match(r"host 0:00, cpu \d+%, memory \d+%: 1 metrics published, 0 dropped\n", output.getvalue())


def test_host_with_a_probe_publishes_both_as_one_metric(recorded: list[RecordingBroadcaster]) -> None:
    output = io.StringIO()
    call_command("emit_host_metrics", duration=1, probe="http://127.0.0.1:9/", rate=100, stdout=output)
    [(_, data)] = recorded[0].metrics
    assert {"cpu_utilization", "requests_total", "queue_depth"} <= set(data)
    assert ", probe 0.0/s" in output.getvalue()


@pytest.mark.parametrize("command", ["emit_demo_metrics", "emit_host_metrics"])
def test_quiet_says_nothing(command: str, recorded: list[RecordingBroadcaster]) -> None:
    output = io.StringIO()
    call_command(command, duration=1, quiet=True, stdout=output)
    assert output.getvalue() == ""


@pytest.mark.parametrize("command", ["emit_demo_metrics", "emit_host_metrics"])
def test_what_keeps_metrics_from_leaving_is_said(
    command: str, recorded: list[RecordingBroadcaster], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RecordingBroadcaster, "last_error", "Redis is away")
    monkeypatch.setattr(RecordingBroadcaster, "queued", 12)
    output, errors = io.StringIO(), io.StringIO()
    call_command(command, duration=1, stdout=output, stderr=errors)
    assert ", not delivering: Redis is away\n" in output.getvalue()
    assert errors.getvalue() == "12 metrics could not be delivered: Redis is away\n"


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        ("emit_demo_metrics", ["--rate", "0"], "--rate is '0'; allowed: a number from 0.1 to 50"),
        ("emit_demo_metrics", ["--rate", "x"], "--rate is 'x'; allowed: a number from 0.1 to 50"),
        ("emit_demo_metrics", ["--agents", "0"], "the number of agents is '0'; allowed: a whole number from 1 to 200"),
        ("emit_demo_metrics", ["--seed", "1.5"], "the seed is '1.5'; allowed: a whole number from"),
        ("emit_demo_metrics", ["--duration", "-1"], "the duration is '-1'; allowed: a number from 0 to"),
        ("emit_host_metrics", ["--interval", "0"], "--interval is '0'; allowed: a number from 0.1 to 3600"),
        ("emit_host_metrics", ["--duration", "nan"], "--duration is 'nan'; allowed: a number from 0 to"),
        (
            "emit_host_metrics",
            ["--probe", "ftp://x/"],
            "the probe's URL is 'ftp://x/'; allowed: an http:// or https://",
        ),
        ("emit_host_metrics", ["--probe", "http://x/", "--rate", "0"], "the probe's rate is '0'; allowed: a number"),
    ],
)
def test_wrong_arguments_are_named(
    command: str, arguments: list[str], message: str, recorded: list[RecordingBroadcaster]
) -> None:
    with pytest.raises(CommandError) as raised:
        call_command(command, *arguments)
    assert str(raised.value).startswith(message)
    assert recorded == []


@pytest.mark.parametrize("command", ["emit_demo_metrics", "emit_host_metrics"])
def test_outside_the_server_the_in_memory_layer_is_refused_with_advice(command: str) -> None:
    with pytest.raises(CommandError, match="REDIS_URL"):
        call_command(command, duration=1)


# --- as programs ---


def start(redis_url: str, *arguments: str) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "project.settings",
        "SECRET_KEY": "only-for-tests",
        "DEBUG": "0",
        "REDIS_URL": redis_url,
        "PYTHONUNBUFFERED": "1",
    }
    return subprocess.Popen(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.valkey
def test_both_run_to_their_end_as_programs(valkey_url: str) -> None:
    demo = start(valkey_url, "emit_demo_metrics", "--duration", "0.5", "--rate", "10")
    host = start(valkey_url, "emit_host_metrics", "--duration", "0.5", "--interval", "0.1")
    for program, last in (
        (demo, "demo ended: 21 metrics published, 0 dropped"),
        (host, "host ended: 5 metrics published, 0 dropped"),
    ):
        output, errors = program.communicate(timeout=PROGRAM_TIMEOUT_SECONDS)
        assert (program.returncode, errors) == (0, "")
        assert output.splitlines()[-1] == last


@pytest.mark.valkey
def test_sigterm_and_ctrl_c_end_them_cleanly(valkey_url: str) -> None:
    demo = start(valkey_url, "emit_demo_metrics")
    host = start(valkey_url, "emit_host_metrics", "--interval", "0.1", "--probe", "http://127.0.0.1:9/")
    for program, number in ((demo, signal.SIGTERM), (host, signal.SIGINT)):
        assert program.stdout is not None
        program.stdout.readline()  # it runs
        program.send_signal(number)
    for program in (demo, host):
        output, errors = program.communicate(timeout=PROGRAM_TIMEOUT_SECONDS)
        assert (program.returncode, errors) == (0, "")
        assert re.search(r"(demo|host) ended: \d+ metrics published, 0 dropped\n$", output)


def test_without_a_shared_layer_the_program_says_so_in_one_line() -> None:
    program = start("", "emit_demo_metrics")
    output, errors = program.communicate(timeout=PROGRAM_TIMEOUT_SECONDS)
    assert program.returncode == 1
    assert output == ""
    assert errors.startswith("CommandError: the in-memory channel layer")
    assert "Traceback" not in errors
