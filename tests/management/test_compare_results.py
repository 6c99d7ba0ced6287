"""`manage.py compare_results`: what it prints, and its exit code."""

import io
import json
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command

from tests.core.formats.results.test_reading import FILES
from tests.support.recording import Recording, metric, start_run

pytestmark = pytest.mark.django_db

FIGURES = {
    "requests_total": 200,
    "requests_failed": 33,
    "avg_response_time_ms": 7.3,
    "max_response_time_ms": 22.4,
    "p95_response_time_ms": 21.6,
}


def record(**changes):
    """Record a run of 0.384 s with the figures of ab.txt."""
    run, recording = start_run(status="completed"), Recording("soak")
    recording.record(metric(0.3, FIGURES | changes))
    run.ended_at = run.started_at + timedelta(seconds=0.384)
    run.save(update_fields=["ended_at"])
    return recording.end(run)


def outcome(*arguments):
    """Return the exit code of the command and the words of the error."""
    try:
        call_command("compare_results", *arguments)
    except CommandError as error:
        return error.returncode, str(error)
    return 0, ""


AB = str(FILES / "ab.txt")


def test_equal_figures_are_told(capsys):
    record()
    assert outcome("soak", AB, "--tolerance", "1") == (0, "")
    printed = capsys.readouterr().out
    assert [line.split()[0] for line in printed.splitlines() if line.endswith(" equal")] == [
        *("requests", "failures", "failure", "rate", "duration", "mean", "p95", "max"),
    ]
    assert "ab prints times in whole ms" in printed
    assert "8 of " in printed
    assert " 0 differ" in printed


def test_the_exit_code_tells_a_difference_only_with_a_tolerance(capsys):
    record(requests_total=150)
    assert outcome("soak", AB) == (0, "")
    code, words = outcome("soak", AB, "--tolerance", "1", "--format", "ab")
    assert (code, words) == (1, "3 differ by more than 1 %")
    assert outcome("soak", AB, "--tolerance", "50") == (0, "")
    assert "differs" in capsys.readouterr().out


def test_json_is_for_programs(capsys):
    record()
    assert outcome("soak", AB, "--json", "--tolerance", "1")[0] == 0
    described = json.loads(capsys.readouterr().out)
    assert (described["run"], described["format"], described["equal"]) == ("soak", "ab", True)
    assert described["figures"][0]["difference"] == 0.0


def test_the_file_may_come_through_a_pipe(capsys, monkeypatch):
    record()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO((FILES / "ab.txt").read_bytes())))
    assert outcome("soak", "-") == (0, "")
    assert "requests" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing", AB], "unknown test run 'nothing'"),
        (["so\x00ak", "/nowhere"], "/nowhere: [Errno 2] No such file or directory"),
        (["soak", str(FILES)], "Is a directory"),
        (["soak", AB, "--tolerance", "-1"], "--tolerance is -1.0; allowed: a number from 0 to 100"),
        (["soak", AB, "--tolerance", "nan"], "--tolerance is nan; allowed"),
        (["soak", __file__], "of no known format"),
        (["soak", AB, "--format", "wrk"], "is it complete?"),
    ],
)
def test_what_cannot_be_compared_is_told_with_another_exit_code(arguments, words):
    record()
    code, message = outcome(*arguments)
    assert code == 2
    assert words in message


def test_a_run_without_such_figures_is_not_equal(capsys):
    run, recording = start_run(), Recording("soak")
    recording.record(metric(1))
    recording.end(run)
    code, message = outcome("soak", str(FILES / "ab.csv"), "--tolerance", "100")
    assert (code, message) == (2, "the run has none of the figures of the file")
