"""Test runs that real programs start over HTTP at a real server, and the examples of the documents."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from metrics_stream.broadcast import RunError, stress_test_run
from tests.support.programs import PATCH, TOKEN, WITHOUT, example, in_thread, program
from tests.support.stack import ROOT, StackWithTokens, wait_until

# One process makes all tokens, since each process takes a second to start.
MAKE_TOKENS = """
import json
from metrics_stream.models import AccessToken

def make(name, *scopes, **values):
    return AccessToken.issue(name=name, scopes=list(scopes), metric_types=["all"], **values)[1]

tokens = {"both": make("both", "publish", "runs"), "publish": make("publish", "publish")}
print(json.dumps({**tokens, "narrow": make("narrow", "publish", "runs", sources=["mine", "other"])}))
"""


RUNS = """
import json
from metrics_stream.models import TestRun
from metrics_stream.runs.reader import rows

def instant(at):
    return at and at.timestamp()

print(json.dumps([
    {"slug": run.slug, "name": run.name, "status": run.status, "sources": run.sources, "notes": run.notes,
     "tags": run.tags, "target_tps": run.target_tps, "token": run.started_by and run.started_by.name,
     "alive_at": instant(run.alive_at), "ended_at": instant(run.ended_at),
     "recorded": run.recording_ended_at is not None,
     "numbers": [json.loads(bytes(metric.body))["data"].get("n") for metric in rows(run)]}
    for run in TestRun.objects.order_by("pk")
]))
"""


class Server(StackWithTokens):
    MAKE_TOKENS = MAKE_TOKENS

    def runs(self, name):
        """Return the runs of this name in the database."""
        found = json.loads(self.manage("shell", "--verbosity", "0", code=RUNS).splitlines()[-1])
        return [SimpleNamespace(**run) for run in found if run["name"] == name]


@pytest.fixture(scope="module")
def server(valkey_url, tmp_path_factory):
    # Two processes, which do not know the requests of each other.
    running = Server(tmp_path_factory.mktemp("runs"), valkey_url, workers=2)
    running.prepare()
    running.start()
    yield running
    running.stop()


IMPORTS = "from metrics_stream.broadcast import RunError, stress_test_run\n"


@pytest.mark.valkey
@pytest.mark.parametrize("start", [WITHOUT, PATCH + WITHOUT], ids=["plain", "patched by gevent"])
def test_a_program_without_django_starts_and_ends_a_run(server, start):
    name = f"bare {len(start)}"
    code = f"""
        with Broadcaster(source="recorded-{len(start)}", url=url, token=token) as stream:
            with stream.stress_test_run({name!r}, tags=["release 7"], target_tps=5, notes="mine") as run:
                print(run.slug, run.status, run.sources, run.started_at is not None)
                for n in range(100):
                    stream.broadcast_system_metrics({{"n": n}})
                stream.broadcast_system_metrics({{"n": -1}}, source="of another")
            print(run.status, run.ended_at is not None, stream.queued)
        assert "django" not in sys.modules and "redis" not in sys.modules
    """
    done = program(code, server, server.tokens["both"], start=start)
    [run] = server.runs(name)
    assert done.stdout.splitlines() == [
        f"{run.slug} running ['recorded-{len(start)}'] True",
        "completed True 0",
    ]
    assert (run.status, run.tags, run.target_tps, run.notes) == ("completed", ["release 7"], 5.0, "mine")
    assert (run.sources, run.token) == ([f"recorded-{len(start)}"], "both")
    wait_until(lambda: server.runs(name)[0].recorded, 20)
    assert server.runs(name)[0].numbers == [*range(100)]
    assert done.stderr == ""


@pytest.mark.valkey
@pytest.mark.parametrize(
    ("code", "status", "notes"),
    [
        ("raise ValueError('no such shop \\udcff')", "failed", "ValueError: no such shop ?"),
        ("raise SystemExit(2)", "failed", "SystemExit: 2"),
        ("raise SystemExit(0)", "completed", ""),
        ("signal.raise_signal(signal.SIGINT)", "cancelled", ""),
    ],
)
def test_a_run_ends_as_its_block_does(server, code, status, notes):
    name = code[-40:]
    code = f"""
        {IMPORTS}
        import signal

        # A program that a shell starts in the background ignores the signal.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            with stress_test_run({name!r}, sources=(), url=url, token=token):
                {code}
        except BaseException as error:
            print(type(error).__name__)
    """
    assert program(code, server, server.tokens["both"]).stdout.strip() in {
        *("ValueError", "SystemExit", "KeyboardInterrupt"),
    }
    [run] = server.runs(name)
    assert (run.status, run.notes) == (status, notes)


@pytest.mark.valkey
def test_blocks_of_asyncio_of_greenlets_and_of_forks(server):
    code = f"""
        {IMPORTS}
        import asyncio, threading

        async def test(name, end):
            async with stress_test_run(name, url=url, token=token):
                inside.set()
                await asyncio.sleep(end)

        async def main():
            global inside
            inside = asyncio.Event()
            await test("asyncio", 0)
            inside = asyncio.Event()
            task = asyncio.create_task(test("cancelled task", 60))
            await inside.wait()
            task.cancel()
            await asyncio.wait([task])

        asyncio.run(main())
        with stress_test_run("parent", url=url, token=token):
            child = os.fork()
            if child == 0:
                with stress_test_run("child", url=url, token=token):
                    pass
                sys.exit(0)
            assert os.waitpid(child, 0)[1] == 0
            print(json.dumps("alive"))
    """
    program(f"        import json\n{code}", server, server.tokens["both"])
    names = ("asyncio", "cancelled task", "parent", "child")
    assert [[run.status for run in server.runs(name)] for name in names] == [
        ["completed"],
        ["cancelled"],
        ["completed"],
        ["completed"],
    ]
    code = f"""
        {IMPORTS}
        import gevent

        def test(name, seconds):
            with stress_test_run(name, url=url, token=token):
                gevent.sleep(seconds)

        killed = gevent.spawn(test, "killed greenlet", 60)
        gevent.joinall([gevent.spawn(test, f"greenlet {{n}}", 0.2) for n in range(3)], raise_error=True)
        killed.kill()
    """
    program(code, server, server.tokens["both"], start=PATCH + WITHOUT)
    names = ("greenlet 0", "greenlet 1", "greenlet 2", "killed greenlet")
    assert [run.status for name in names for run in server.runs(name)] == [*["completed"] * 3, "cancelled"]


@pytest.mark.valkey
def test_a_run_that_the_token_may_not_start_is_an_error_before_the_test(server):
    code = f"""
        {IMPORTS}
        wrong = {{"sources": ["of others"]}}, {{"tags": "soak", "sources": ()}}, {{"target_tps": float("nan")}}
        for options in wrong:
            try:
                with stress_test_run("soak", url=url, token=token, **options):
                    raise AssertionError("a run that was not started")
            except RunError as error:
                print(error)
        with stress_test_run("of its own", sources=(), url=url, token=token) as run:
            print(run.sources)
    """
    lines = program(code, server, server.tokens["narrow"]).stdout.splitlines()
    said = f"{server.url}/api/runs/ answered 422: "
    assert lines == [
        f"{said}source 'of others' is not one of this token; allowed: mine, other",
        f'{said}tags is \'soak\'; allowed: a list of texts, such as ["one", "two"]',
        "the test run cannot be started; target_tps is nan; allowed: texts and finite numbers",
        "['mine', 'other']",
    ]
    with pytest.raises(RunError, match="answered 403: the token does not allow this request"):
        stress_test_run("soak", url=server.url, token=server.tokens["publish"]).__enter__()


@pytest.mark.valkey
def test_a_killed_program_no_longer_keeps_its_run_alive(server):
    code = f"""{WITHOUT}
{IMPORTS}
import os, time
with stress_test_run("killed", url={server.url!r}, token=os.environ["METRICS_TOKEN"]):
    print("started", flush=True)
    time.sleep(60)
"""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "METRICS_TOKEN": server.tokens["both"]}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "started\n"
    first = server.runs("killed")[0].alive_at
    wait_until(lambda: server.runs("killed")[0].alive_at > first, 20)
    process.kill()
    process.communicate()
    # tests/runs/test_recorder.py tests that the run fails a minute later, with its own clock.
    last = server.runs("killed")[0].alive_at
    time.sleep(6)
    [run] = server.runs("killed")
    assert (run.status, run.alive_at) == ("running", last)


@pytest.mark.valkey
def test_the_end_of_a_run_is_stored_after_an_outage_of_the_server(valkey_url, server, tmp_path):
    away = Server(tmp_path, valkey_url, DATABASE_URL=server.environment["DATABASE_URL"])
    away.start()
    with stress_test_run("patient", url=away.url, token=server.tokens["both"]) as run:
        away.stop(signal.SIGKILL)
        # The block ends before the server accepts connections.
        coming = threading.Timer(1.0, away.launch)
        coming.start()
    coming.join()
    assert run.status == "completed"
    [kept] = server.runs("patient")
    assert kept.status == "completed"
    away.stop()


@pytest.mark.valkey
async def test_two_processes_start_a_run_once(server):
    code = """
        import json, threading, urllib.request

        def start(answers):
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", "Idempotency-Key": "1"}
            request = urllib.request.Request(url + "/api/runs/", data=b'{"name": "once"}', headers=headers)
            with urllib.request.urlopen(request) as answer:
                answers.append((json.load(answer)["slug"], answer.status))

        answers = []
        threads = [threading.Thread(target=start, args=[answers]) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(json.dumps(answers))
    """
    answers = json.loads((await in_thread(program, code, server, server.tokens["both"])).stdout)
    [run] = await in_thread(server.runs, "once")
    assert answers == [[run.slug, 201]] * 8


@pytest.mark.valkey
@pytest.mark.parametrize(("code", "status"), [("true", "completed"), ("false", "failed")])
def test_the_example_for_shells_records_a_test(server, code, status, tmp_path):
    script = f"k6() {{ {code}; }}\n" + example("/api/runs/").replace("checkout soak", f"shell {code}")
    environment = {"PATH": os.environ["PATH"], "METRICS_URL": server.url, "METRICS_TOKEN": server.tokens["both"]}
    done = subprocess.run(
        ["sh", "-c", script], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=True
    )
    [run] = server.runs(f"shell {code}")
    assert (run.status, run.tags) == (status, ["release-42"])
    assert json.loads(done.stdout)["status"] == status
    assert done.stderr == ""


@pytest.mark.valkey
@pytest.mark.parametrize(
    ("word", "sources"),
    [("stream.stress_test_run", ["load-3"]), ("import stress_test_run", [socket.gethostname()])],
    ids=["Broadcaster", "function"],
)
def test_the_examples_in_python_record_a_test(server, word, sources):
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "METRICS_URL": server.url}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT + example(word).replace("checkout soak", word)],
        env={**environment, "METRICS_TOKEN": server.tokens["both"]},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    [run] = server.runs(word)
    assert (done.stdout.strip(), done.stderr) == (run.slug, "")
    assert (run.status, run.sources) == ("completed", sources)


@pytest.mark.valkey
def test_a_patched_program_without_uvloop_gets_an_error(server):
    code = f"""
        {IMPORTS}
        sys.modules["uvloop"] = None
        try:
            stress_test_run("soak", url=url, token=token)
        except RunError as error:
            print(error)
    """
    assert "pip install uvloop" in program(code, server, TOKEN, start=PATCH + WITHOUT).stdout
