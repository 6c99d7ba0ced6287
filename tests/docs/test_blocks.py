"""Every code block of the README and of docs/ works, in the order in which it stands there.

A page is read from the top, in one terminal, by a reader whose stack runs as the README says. Blocks that need systemd,
Docker, a public domain or the package index are named here and are only parsed, by the program that they are for where
it is installed. A block that no test knows is a failure.
"""

import ast
import json
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from playwright.sync_api import Browser, Page
from websockets.sync.client import connect

from metrics_stream.core.metrics.sketch import Sketch, decode_sketch
from metrics_stream.observation.faults import FaultKind
from tests.browser.conftest import browser, chromium, playwright
from tests.deploy.conftest import find_program
from tests.support.blocks import Block, Known, Workshop, ask_all, blocks_of, matched
from tests.support.documents import DOCS, README, documents_in, names, table
from tests.support.stack import free_port, wait_until

__all__ = ["browser", "chromium", "playwright"]

pytestmark = pytest.mark.valkey

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
    Known("/alive/", with_k6(ends_completed)),
    Known("Sketch()", program("system", "load-4", p50_response_time_ms=12.5)),
    Known('"accuracy"', is_a_sketch),
    Known("k6 run --quiet", with_k6(command("system", "k6", requests_total=3, users=3))),
    Known("publish_lines.py", command("system", "other", throughput_tps=950.0)),
]

# --- docs/protocol.md ---


def is_summed_up(reader: Workshop, block: Block) -> None:
    """Publish the metrics of the example, and compare the summary with the example's."""
    metrics = documents_in(blocks_with(DOCS / "protocol.md", '"requests_total": 8000, ').code)
    wanted = json.loads(block.code)
    source = "summed-up"
    token = make_token(reader, "publish")
    with connect(reader.socket_url) as socket:
        for message in (
            {"type": "set_batching", "mode": "aggregate"},
            {"type": "set_filters", "filters": {"sources": [source]}},
            {"type": "subscribe", "metric_types": ["system"]},
        ):
            socket.send(json.dumps(message))
        while json.loads(socket.recv(timeout=10))["type"] != "subscription_confirmed":
            pass
        request = urllib.request.Request(
            f"{reader.url}/api/metrics/",
            data=json.dumps([{**metric, "source": source} for metric in metrics]).encode(),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 202
        frame = json.loads(socket.recv(timeout=10))
    assert frame["data"] == {**wanted, "source": source}


def greets_a_program(reader: Workshop, block: Block) -> None:
    printed = reader.python(f"token = {make_token(reader, 'subscribe')!r}\n{block.code}")
    assert json.loads(printed)["type"] == "welcome"


PROTOCOL_BLOCKS = [
    Known('{"type": "subscribe", "metric_types"', sends),
    Known('"requests_total": 8000, ', lambda *_: None),  # published for the next
    Known('"summary"', is_summed_up),
    Known('{"type": "welcome"', shapes_of_messages),
    Known('{"type": "metric_batch"', shapes_of_messages),
    Known('{"type": "backfill"', shapes_of_messages),
    Known('{"type": "replay_state"', shapes_of_messages),
    Known("additional_headers", greets_a_program),
]

# --- the other pages ---


def answers_as_readyz(reader: Workshop, block: Block) -> None:
    answer, wanted = json.loads(get(reader, "/readyz")), json.loads(block.code)
    assert (set(answer), set(answer["checks"])) == (set(wanted), set(wanted["checks"]))


def are_lines_of_the_log(_: Workshop, block: Block) -> None:
    for line in block.code.splitlines():
        assert line.startswith('{"event": "fault publishing ')
        assert f'"fault": "{FaultKind.PUBLISHING}"' in line


def is_a_line_of_the_log(_: Workshop, block: Block) -> None:
    assert set(json.loads(block.code)) == {"event", "level", "logger", "client_id", "timestamp"}


def serves(reader: Workshop, block: Block) -> None:
    """Run an own installation: with a database of its own, without DEBUG."""
    reader.forget()
    *prepare, serve = block.code.splitlines()
    port = free_port()
    variables = {
        "SECRET_KEY": "only-for-tests-and-long-enough-not-to-be-refused-0123456789",
        "DATABASE_URL": f"sqlite:///{reader.folder / 'own.sqlite3'}",
        "ALLOWED_HOSTS": "127.0.0.1",
    }
    reader.shell("\n".join([*(f"export {name}={value}" for name, value in variables.items()), *prepare]))
    with reader.start(serve.replace("8000", str(port))) as running:
        try:
            wait_until(lambda: answers(f"http://127.0.0.1:{port}/healthz"), 20)
        finally:
            running.terminate()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False


def nginx_understands(reader: Workshop, block: Block) -> None:
    top, events = block.code.splitlines()
    (reader.folder / "nginx.conf").write_text(f"{top}\npid {reader.folder}/pid;\nevents {{ {events} }}\nhttp {{}}\n")
    argv = [find_program("nginx"), "-t", "-c", str(reader.folder / "nginx.conf"), "-e", "stderr"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def is_counted(reader: Workshop, block: Block) -> None:
    [process] = json.loads(reader.shell(block.code))
    rows = table(DOCS / "from-the-original.md", "Statistics", "in words")
    assert {name for row in rows for name in names(row["key"])} <= set(process)


def deletes_old_data(reader: Workshop, block: Block) -> None:
    reader.environment["DEBUG"] = "1"
    assert "nothing is older than the settings allow" in reader.shell(block.code)


def publishes_as_before(reader: Workshop, block: Block) -> None:
    reader.python(block.code)
    reader.listener.hears("system", "collector", throughput_tps=450.0, error_rate=0.002)
    reader.listener.hears("agent", "collector", agent_id="agent_1")
    reader.listener.hears("business", "collector", money_saved=98_000.0)


KNOWN: dict[str, list[Known]] = {
    "README.md": README_BLOCKS,
    "backup.md": [
        Known("VACUUM INTO", BACKUP),
        Known("rm -f /var/lib", BACKUP),
        Known("pg_dump", BACKUP),
        Known("pg_restore", BACKUP),
        Known("redis-cli save", BACKUP),
        Known("dump.rdb", BACKUP),
        Known("VACUUM INTO", NEEDS_DOCKER),
        Known("mv /data/restored", NEEDS_DOCKER),
        Known("clearsessions", deletes_old_data),
    ],
    "deployment.md": [
        Known("apt install python3", NEEDS_ROOT),
        Known("cp -r manage.py", NEEDS_ROOT),
        Known("SECRET_KEY=", only_parsed("tests/deploy/test_files.py checks a deployment with it")),
        Known("chmod 0640 .env", NEEDS_ROOT),
        Known("manage.py migrate", NEEDS_ROOT),
        Known("systemctl enable", NEEDS_ROOT),
        Known("certbot", NEEDS_ROOT),
        Known("worker_rlimit_nofile", nginx_understands),
        Known("apt install caddy", NEEDS_ROOT),
        Known("docker compose", NEEDS_DOCKER),
        Known("FORCE_SCRIPT_NAME", only_parsed("tests/deploy/test_below_a_path.py runs a site below a path")),
        Known("ACL SETUSER", lambda *_: None),  # tests/runtime/test_redis_watch.py gives a user these rights
        Known("systemctl reload", NEEDS_ROOT),
    ],
    "from-the-original.md": [
        Known("dev.py run", starts_the_stack),
        Known("RealTimeMetricsStreamer", lambda *_: None),  # the code of the original, which is not here
        Known("create_token", shell()),
        Known("class SystemMetrics", publishes_as_before),
        Known("new WebSocket", lambda *_: None),  # test_a_client_of_the_original
        Known("set_filters", sends),
        Known("stream_stats", is_counted),
    ],
    "monitoring.md": [
        Known('"ready": false', answers_as_readyz),
        Known("fault publishing begins", are_lines_of_the_log),
        Known("groups:", parse),
        Known('"client_id"', is_a_line_of_the_log),
    ],
    "producers.md": PRODUCERS_BLOCKS,
    "protocol.md": PROTOCOL_BLOCKS,
    "runs.md": [
        Known("start_run", shell()),
        Known("import csv", only_parsed("tests/views/test_exports.py restores an export with it")),
        Known("pandas", only_parsed("needs pandas, which the project does not")),
        Known("--dry-run", shell("nothing is older")),
    ],
    "settings.md": [
        Known("LANGUAGE_CODE", only_parsed("tests/project/test_environment.py has such a file")),
        Known("manage.py serve", serves),
        Known("# mysite/settings.py, at its end", RECIPE),
        Known("# mysite/urls.py", RECIPE),
        Known("# mysite/asgi.py", RECIPE),
        Known("# mysite/settings_with_options.py", RECIPE),
    ],
}
PAGES = {page.name: page for page in [README, *sorted(DOCS.glob("*.md"))]}


def test_every_block_is_known():
    for page in PAGES.values():
        matched(page, KNOWN.get(page.name, []))
    assert set(KNOWN) <= set(PAGES)


@pytest.mark.parametrize("page", sorted(KNOWN))
def test_a_page_works_from_top_to_bottom(reader: Workshop, page: str):
    for block, known in matched(PAGES[page], KNOWN[page]):
        try:
            known.step(reader, block)
        except Exception as error:
            error.add_note(f"in the block {block}")
            raise


# --- in the browser ---

# Every text that the page has shown, however short.
KEEP_OUTPUT = """
window.shown = [];
document.addEventListener("DOMContentLoaded", () => {
  const output = document.querySelector("output");
  const note = (list) => list.forEach(({ addedNodes }) => addedNodes.forEach((node) => shown.push(node.textContent)));
  if (output) new MutationObserver(note).observe(output, { childList: true });
});
"""
PUBLISH = """
from metrics_stream.broadcast import Broadcaster

with Broadcaster(source="my-test") as stream:
    stream.broadcast_hero_metrics({"money_saved": 123456})
    stream.broadcast_system_metrics({"throughput_tps": 123456})
"""


@contextmanager
def portal(reader: Workshop, script: str) -> Iterator[str]:
    """Serve the page of the README with a script, as the README says; yield its address."""
    reader.shell(blocks_with(README, "var/portal/index.html").code)
    (reader.root / "var/portal/watch.js").write_text(reader.own(script))
    with reader.start(blocks_with(README, "http.server").code) as running:
        url = f"http://127.0.0.1:{reader.portal_port}/"
        try:
            wait_until(lambda: answers(url), 10)
            yield url
        finally:
            running.terminate()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    opened = context.new_page()
    opened.add_init_script(KEEP_OUTPUT)
    yield opened
    context.close()


@pytest.mark.browser
@pytest.mark.parametrize("words", ["new WebSocket", "import { Connection }"])
def test_the_page_of_the_readme(reader: Workshop, page: Page, words: str):
    with portal(reader, blocks_with(README, words).code) as url:
        page.goto(url)
        page.wait_for_function("shown.length > 0")
        reader.paste(PUBLISH)
        page.wait_for_function("shown.includes('123456')", timeout=10_000)


@pytest.mark.browser
def test_a_client_of_the_original(reader: Workshop, page: Page):
    lines: list[str] = []
    page.on("console", lambda message: lines.append(message.text))
    script = blocks_with(DOCS / "from-the-original.md", "new WebSocket").code
    with portal(reader, script.replace('"Received:", data', "JSON.stringify(data)")) as url:
        page.goto(url)
        reader.paste(PUBLISH)

        def came(words: str) -> bool:
            page.wait_for_timeout(20)  # The lines come while Playwright waits.
            return any(words in line for line in lines)

        for words in ('"type":"welcome"', '"interval_seconds":2', '"throughput_tps":123456'):
            wait_until(lambda words=words: came(words), 10)
