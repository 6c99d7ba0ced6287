"""Steps that run the code blocks of documents, and those of the README and of docs/producers.md."""

import ast
import json
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from metrics_stream.core.metrics.sketch import Sketch, decode_sketch
from tests.support.blocks import Block, Known, Workshop, ask_all, blocks_of
from tests.support.documents import DOCS, README, documents_in
from tests.support.stack import wait_until

Step = Callable[[Workshop, Block], None]


# --- what is only parsed ---


def parse(_: Workshop, block: Block) -> None:
    """Look whether a block is one of its language, without running it."""
    match block.language:
        case "sh":
            done = subprocess.run(["bash", "-n", "-c", block.code], capture_output=True, text=True, check=False)
            assert (done.returncode, done.stderr) == (0, ""), block
        case "python":
            ast.parse(block.code)
        case "yaml":
            assert yaml.safe_load(block.code)
        case _:
            raise AssertionError(f"{block}: nothing here parses {block.language!r}")


def only_parsed(reason: str) -> Step:
    """Return a step for a block that cannot run here."""
    assert reason
    return parse


NEEDS_ROOT = only_parsed("changes the machine: packages, users, systemd, nginx; its files are tested in tests/deploy/")
NEEDS_DOCKER = only_parsed("needs Docker; tests/deploy/test_files.py reads the files")
NEEDS_INDEX = only_parsed("installs packages; tests/examples/ runs the example beside a stand-in")
BACKUP = only_parsed("runs in tests/deploy/test_backup.py, which restores")
RECIPE = only_parsed("is a part of another project; its test is with the tests of such a project")
IN_LOAD_TOOLS = only_parsed("runs in tests/docs/test_load_tools.py where the tool is installed")
IN_BROWSER = only_parsed("runs in test_the_page_of_the_readme")


def starts_the_stack(reader: Workshop, block: Block) -> None:
    """The fixture has run it: the README's second form, which begins with a variable."""
    assert block.code.endswith("python3 dev.py run\n")
    assert get(reader, "/healthz") == b"ok"


def get(reader: Workshop, path: str, **headers: str) -> bytes:
    request = urllib.request.Request(f"{reader.url}{path}", headers=headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return bytes(answer.read())


# --- steps for many blocks ---


def pasted(metric_type: str, source: str, **data: Any) -> Step:
    """Return a step that pastes into `manage shell`, and hears a metric."""

    def step(reader: Workshop, block: Block) -> None:
        reader.paste(block.code)
        reader.listener.hears(metric_type, source, **data)

    return step


def program(metric_type: str, source: str, **data: Any) -> Step:
    """Return a step that runs Python, and hears a metric."""

    def step(reader: Workshop, block: Block) -> None:
        reader.python(block.code)
        reader.listener.hears(metric_type, source, **data)

    return step


def shell(*expected: str) -> Step:
    """Return a step that runs a block in the shell; what it prints has these words."""

    def step(reader: Workshop, block: Block) -> None:
        printed = reader.shell(block.code)
        for words in expected:
            assert re.search(words, printed), f"{block} printed {printed!r}"

    return step


def command(metric_type: str, source: str, **data: Any) -> Step:
    """Return a step that runs a block in the shell, and hears a metric."""

    def step(reader: Workshop, block: Block) -> None:
        reader.shell(block.code)
        reader.listener.hears(metric_type, source, **data)

    return step


def sends(reader: Workshop, block: Block) -> None:
    """Send every message of a block over a real WebSocket; none may be an error."""
    text = block.code
    if '"authenticate"' in text:
        text = re.sub(r"mst_\w+_…", make_token(reader, "subscribe"), text)
    if '"run"' in text:
        run = reader.paste(blocks_with(README, "stress_test_run").code).strip()
        text = re.sub(r"checkout-soak-\d+-\d+-\w+", run, text)
    for message, reply in zip(documents := documents_in(text), ask_all(reader.socket_url, documents), strict=True):
        assert reply["type"] != "error", (message, reply)


def make_token(reader: Workshop, *options: str) -> str:
    scopes = [word for option in options for word in ("--scope", option)]
    return reader.call("python3", "dev.py", "manage", "create_token", "a-test", *scopes, "--replace").strip()


def shapes_of_messages(_: Workshop, block: Block) -> None:
    """The messages of the server; tests/docs/test_protocol.py compares each with its class."""
    assert all(document["type"] for document in documents_in(block.code))


# --- README ---


def reports(reader: Workshop, block: Block) -> None:
    call = '\n\nimport asyncio\n\nasyncio.run(report([{"agent_id": "agent_1", "current_load": 0.4}]))\n'
    reader.paste(f"{block.code}{call}")
    wait_until(
        lambda: any(
            metric["data"] == [{"agent_id": "agent_1", "current_load": 0.4}] for metric in list(reader.listener.metrics)
        ),
        10,
    )


def saves_outside(reader: Workshop, block: Block) -> None:
    reader.environment["HOME"] = str(reader.folder)
    (reader.folder / "publish.py").write_text(block.code)


def receives(reader: Workshop, block: Block) -> None:
    """The program goes on for ever; it prints what is published meanwhile."""
    with reader.start(f"python3 -u -c {sh_quote(block.code)}") as running:
        try:
            assert "welcome" in running.stdout.readline()
            assert "subscription_confirmed" in running.stdout.readline()
            reader.paste(blocks_with(README, 'source="my-test"').code)
            line = next(line for line in running.stdout if line.startswith("my-test "))
            assert ast.literal_eval(line.removeprefix("my-test "))["money_saved"] == 98_000.0
        finally:
            running.kill()


def sh_quote(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def blocks_with(page: Path, words: str) -> Block:
    [found] = [block for block in blocks_of(page) if words in block.code]
    return found


def records(reader: Workshop, block: Block) -> None:
    slug = reader.paste(block.code).strip()
    assert slug.startswith("checkout-soak-")
    assert "Completed" in get(reader, f"/runs/{slug}/").decode()


def copies_the_client(reader: Workshop, block: Block) -> None:
    reader.shell(block.code)
    assert (reader.root / "var/portal/client/connection.js").is_file()
    assert 'src="watch.js"' in (reader.root / "var/portal/index.html").read_text()


README_BLOCKS = [
    Known("python3 dev.py run\n", starts_the_stack),
    Known("dev.py test", only_parsed("runs this test")),
    Known('source="my-test"', pasted("hero", "my-test", total_transactions=1250, money_saved=98_000.0)),
    Known("async def report", reports),
    Known("django.setup()", saves_outside),
    Known("~/publish.py", command("system", "load-generator-1", throughput_tps=950.0, error_rate=0.002)),
    Known("var/portal", copies_the_client),
    Known("ALLOWED_ORIGINS=", starts_the_stack),
    Known("new WebSocket", lambda *_: None),  # test_the_page_of_the_readme
    Known("http.server 9000", IN_BROWSER),
    Known("import { Connection }", lambda *_: None),  # test_the_page_of_the_readme
    Known("websockets.sync.client", receives),
    Known("stress_test_run", records),
]

# --- docs/producers.md ---

K6 = r"""#!/bin/sh
# A stand-in for k6: with --out it prints samples as k6 does, and the summary.
case "$*" in *json=*)
  for second in 00 01 02; do
    for metric in http_reqs:1 http_req_failed:0 http_req_duration:12.5 vus:3; do
      printf '{"type":"Point","metric":"%s","data":{"time":"2026-11-01T12:00:%s.5Z","value":%s,"tags":{}}}\n' \
        "${metric%%:*}" "$second" "${metric##*:}"
    done
  done;;
esac
"""


def with_k6(step: Step) -> Step:
    """Return a step that finds a program named k6."""

    def run(reader: Workshop, block: Block) -> None:
        reader.program("k6", K6)
        step(reader, block)

    return run


def in_node(reader: Workshop, block: Block) -> None:
    node = shutil.which("node")
    if node is None:  # JavaScript is not among what the project needs.
        return
    (reader.folder / "publish.mjs").write_text(block.code)
    assert reader.call(node, str(reader.folder / "publish.mjs")).startswith("202 ")
    reader.listener.hears("system", "node", throughput_tps=950)
    reader.listener.hears("agent", "node", agent_id="agent_1", current_load=0.4)


def names_the_wrong_one(reader: Workshop, block: Block) -> None:
    """Send what the answer is about: two metrics, the second of an unknown type, with a token for two types."""
    argv = ["create_token", "two-types", "--scope", "publish", "--metric-type", "system", "--metric-type", "agent"]
    token = reader.call("python3", "dev.py", "manage", *argv, "--replace").strip()
    metrics = [{"metric_type": "system", "data": {"n": 1}}, {"metric_type": "sytem", "data": {"n": 2}}]
    request = urllib.request.Request(
        f"{reader.url}/api/metrics/",
        data=json.dumps(metrics).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert (answer.status, json.load(answer)) == (207, json.loads(block.code))


def rotates(reader: Workshop, block: Block) -> None:
    before = reader.environment["METRICS_TOKEN"]
    listed = reader.shell(block.code)
    assert "load-generator-1" in listed
    assert "publish, runs" in listed
    assert before not in listed
    after = reader.environment["METRICS_TOKEN"]
    assert after != before
    publish = blocks_with(DOCS / "producers.md", '"source": "curl"').code
    for token in (before, after):
        reader.shell(f"METRICS_TOKEN={token}\n{publish}")
    reader.environment["METRICS_TOKEN"] = after


def ends_completed(reader: Workshop, block: Block) -> None:
    answer = json.loads(reader.shell(block.code))
    assert answer["status"] == "completed"
    assert "Completed" in get(reader, f"/runs/{answer['slug']}/").decode()


def starts_a_run(reader: Workshop, block: Block) -> None:
    slug = reader.python(block.code).strip()
    assert "Completed" in get(reader, f"/runs/{slug}/").decode()


def is_a_sketch(_: Workshop, block: Block) -> None:
    sketches = json.loads(f"{{{block.code}}}")["sketches"]
    sketch = Sketch()
    sketch.merge(decode_sketch(sketches["response_time_ms"]))
    assert (len(sketch), sketch.quantile(1.0)) == (4, 100.0)


PRODUCERS_BLOCKS = [
    Known("export REDIS_URL", shell()),
    Known("create_token", shell()),
    Known("rotate_token", rotates),
    Known("curl", command("system", "curl", throughput_tps=950)),
    Known("await fetch", in_node),
    Known('"accepted": 1', names_the_wrong_one),
    Known('source="load-2"', program("system", "load-2", throughput_tps=950.0)),
    Known("locust", NEEDS_INDEX),
    Known('source="load-3"', starts_a_run),
    Known("import stress_test_run", starts_a_run),
    Known("run.record(", starts_a_run),
    Known("/alive/", with_k6(ends_completed)),
    Known("Sketch()", program("system", "load-4", p50_response_time_ms=12.5)),
    Known('"accuracy"', is_a_sketch),
    Known("k6 run --quiet", with_k6(command("system", "k6", requests_total=3, users=3))),
    Known("export TARGET", IN_LOAD_TOOLS),
    Known("ab -n 500", IN_LOAD_TOOLS),
    Known("hey -n 500", IN_LOAD_TOOLS),
    Known("wrk --threads", IN_LOAD_TOOLS),
    Known("siege --concurrent", IN_LOAD_TOOLS),
    Known("autocannon --json", IN_LOAD_TOOLS),
    Known("artillery run", IN_LOAD_TOOLS),
    Known("publish_lines.py", command("system", "other", throughput_tps=950.0)),
]
