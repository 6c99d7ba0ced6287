"""Every code block of the README and of docs/ works, in the order in which it stands there.

A page is read from the top, in one terminal, by a reader whose stack runs as the README says. Blocks that need systemd,
Docker, a public domain or the package index are named here and are only parsed, by the program that they are for where
it is installed. A block that no test knows is a failure.
"""

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page
from websockets.sync.client import connect

from metrics_stream.observation.faults import FaultKind
from tests.browser.conftest import browser, chromium, playwright
from tests.deploy.conftest import find_program
from tests.support.block_steps import (
    BACKUP,
    IN_LOAD_TOOLS,
    NEEDS_DOCKER,
    NEEDS_ROOT,
    PRODUCERS_BLOCKS,
    README_BLOCKS,
    RECIPE,
    blocks_with,
    get,
    make_token,
    only_parsed,
    parse,
    sends,
    shapes_of_messages,
    shell,
    starts_the_stack,
)
from tests.support.blocks import Block, Known, Workshop, matched
from tests.support.documents import DOCS, README, documents_in, names, table
from tests.support.stack import free_port, wait_until

__all__ = ["browser", "chromium", "playwright"]

pytestmark = pytest.mark.valkey

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


def publishes_a_queued_metric(reader: Workshop, block: Block) -> None:
    reader.python(block.code)
    reader.listener.hears("system", "collector", throughput_tps=451.0)


KNOWN: dict[str, list[Known]] = {
    "README.md": README_BLOCKS,
    "api.md": [
        Known("/api/v1/runs/", shell('"runs":')),
        Known("/api/v1/stream/", shell("event: welcome")),
        Known("new EventSource", lambda *_: None),  # tests/browser/test_api_docs.py reads a stream
        Known("/api/v1/dashboards/", shell()),
    ],
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
        Known("streamer.broadcast(metric)", publishes_a_queued_metric),
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
        Known("compare_results", IN_LOAD_TOOLS),
        Known("/compare/", IN_LOAD_TOOLS),
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
