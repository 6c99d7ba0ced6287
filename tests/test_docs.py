"""The documentation as a contract: what README and docs/ list is what the code has, in both directions."""

import ast
import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
import websockets
from django.core.management import BaseCommand, get_commands, load_command_class
from django.urls import get_resolver

from metrics_stream import checks
from metrics_stream.api import requests as http_entrance
from metrics_stream.broadcast import broadcaster as broadcast
from metrics_stream.bus.publication import MAX_BATCH_BYTES
from metrics_stream.conf import StreamSettings
from metrics_stream.core.formats import native as submission
from metrics_stream.core.formats import runs as run_requests
from metrics_stream.core.metrics.catalogue import BUILTIN_TYPES
from metrics_stream.core.protocol import codes, messages
from metrics_stream.core.protocol import parsing as protocol
from metrics_stream.defaults.dashboards import DASHBOARD_SEEDS
from metrics_stream.defaults.presets import preset_seeds
from metrics_stream.models import ClientPreset, Dashboard, Panel
from metrics_stream.models.validators import OPTIONS
from metrics_stream.runtime.runtime import stop_runtime
from metrics_stream.views import prometheus as exposition
from metrics_stream.views import readiness
from tests.support.stack import ROOT, Stack

README = ROOT / "README.md"
DOCS = ROOT / "docs"
PROTOCOL = DOCS / "protocol.md"
METRICS = DOCS / "metrics.md"
DASHBOARDS = DOCS / "dashboards.md"
SETTINGS = DOCS / "settings.md"
MONITORING = DOCS / "monitoring.md"
PRODUCERS = DOCS / "producers.md"
PAGES = sorted([README, ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *DOCS.glob("*.md")])
STATIC = ROOT / "metrics_stream" / "static" / "metrics_stream"

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")

Row = dict[str, str]


# --- reading the documents ---


def section(page: Path, heading: str) -> str:
    """Return what stands under a heading, up to the next one."""
    found = re.search(rf"^#+ {re.escape(heading)}$\n(.*?)(?=^#+ |\Z)", prose(page), re.MULTILINE | re.DOTALL)
    assert found, f"{page.name} has no heading {heading!r}"
    return found[1]


def prose(page: Path) -> str:
    """Return a page without its code blocks."""
    return FENCE.sub("", page.read_text())


def tables(text: str) -> list[list[Row]]:
    """Return the tables of a text, each a list of rows by column title."""
    found = []
    for block in re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE):
        head, _, *rows = [re.split(r"\s*\|\s*", line.strip().strip("|").strip(" ")) for line in block.splitlines()]
        found.append(
            [dict(zip(head, [cell.strip() for cell in [*row, *[""] * len(head)]], strict=False)) for row in rows]
        )
    return found


def table(page: Path, heading: str, column: str) -> list[Row]:
    """Return the table under `heading` whose first column is titled `column`."""
    found = [rows for rows in tables(section(page, heading)) if next(iter(rows[0])) == column]
    assert len(found) == 1, f"{page.name}, {heading!r}: {len(found)} tables begin with the column {column!r}"
    return found[0]


def names(cell: str) -> list[str]:
    """Return what stands between backticks."""
    return re.findall(r"`([^`]+)`", cell)


def named(rows: list[Row]) -> list[str]:
    """Return the names in the first column."""
    return [name for row in rows for name in names(next(iter(row.values())))]


def code_blocks(page: Path, language: str) -> list[str]:
    return [code for found, code in FENCE.findall(page.read_text()) if found == language]


def json_documents() -> list[tuple[str, Any]]:
    """Return every JSON document of every page, with the name of the page."""
    found = []
    for page in PAGES:
        for block in code_blocks(page, "json"):
            rest = block.strip()
            while rest:
                document, end = json.JSONDecoder().raw_decode(rest)
                found.append((page.name, document))
                rest = rest[end:].strip()
    return found


def wire_keys(message: type[msgspec.Struct]) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(message)}


# --- the protocol ---


@pytest.mark.parametrize(
    ("heading", "classes"),
    [
        ("From the client to the server", messages.CLIENT_MESSAGES),
        ("From the server to the client", messages.SERVER_MESSAGES),
    ],
)
def test_every_message_and_its_keys(heading, classes):
    documented = {names(row["`type`"])[0]: set(names(row["keys"])) for row in table(PROTOCOL, heading, "`type`")}
    assert documented == {messages.message_name(message): wire_keys(message) for message in classes}


def test_replies_are_server_messages():
    replies = {
        name for row in table(PROTOCOL, "From the client to the server", "`type`") for name in names(row["reply"])
    }
    assert replies == {
        messages.message_name(message)
        for message in messages.SERVER_MESSAGES
        if issubclass(message, messages.Reply) and message is not messages.Error
    }


def test_filters_and_modes():
    assert named(table(PROTOCOL, "Filters", "filter")) == list(messages.Filters.__struct_fields__)
    assert named(table(PROTOCOL, "Modes", "mode")) == list(get_args(messages.Mode))
    assert list(get_args(messages.Mode)) == ClientPreset.Mode.values


def test_error_codes_close_codes_and_gap_reasons():
    assert named(table(PROTOCOL, "Error codes", "code")) == [str(code) for code in codes.ErrorCode]
    assert [int(row["code"]) for row in table(PROTOCOL, "Close codes", "code")] == [int(c) for c in codes.CloseCode]
    assert named(table(PROTOCOL, "Gap reasons", "reason")) == [str(reason) for reason in codes.GapReason]


def test_close_codes_that_errors_announce():
    announced = re.findall(r"`(\w+)` \| followed by close (\d+)", PROTOCOL.read_text())
    assert {int(code) for _, code in announced} == {int(code) for code in codes.CloseCode}
    in_code = re.findall(
        r"= \"(\w+)\"  # followed by close (\d+)", (ROOT / "metrics_stream/core/protocol/codes.py").read_text()
    )
    assert announced == in_code


def test_limits():
    settings = StreamSettings()
    limits = {row["limit"]: row["value"] for row in table(PROTOCOL, "Limits", "limit")}
    assert limits == {
        "size of a message": f"{settings.max_message_bytes:,} bytes",
        "messages": f"{settings.messages_per_second:g} a second on average, {settings.message_burst} at once",
        "errors": "the fifth within a minute",
        "values in one filter": f"{settings.max_filter_terms:,}, each of at most {messages.MAX_TERM_LENGTH} characters",
        "`interval_seconds`": between(messages.INTERVAL_SECONDS),
        "`batch_size`": between(messages.BATCH_SIZE),
        "`batch_timeout_seconds`": between(messages.BATCH_TIMEOUT_SECONDS),
        "`backfill_seconds`": between(messages.BACKFILL_SECONDS),
        "`max_points`": f"{between(messages.MAX_POINTS)}; {messages.DEFAULT_MAX_POINTS} when it is left out",
        "`speed`": between(messages.SPEED),
    }
    assert settings.max_errors_per_minute == 5
    assert str(messages.MAX_REF_NUMBER) in PROTOCOL.read_text()
    assert f"at most {messages.MAX_REF_LENGTH} characters" in PROTOCOL.read_text()


def between(bounds: tuple[float, float]) -> str:
    return f"{bounds[0]:g} to {bounds[1]:,g}"


def test_json_examples_are_real_messages():
    servers = {messages.message_name(message): message for message in messages.SERVER_MESSAGES}
    clients = {messages.message_name(message) for message in messages.CLIENT_MESSAGES}
    seen = set()
    for page, document in json_documents():
        kind = document["type"]
        seen.add(kind)
        if kind in clients:
            protocol.parse(json.dumps(document))
            continue
        assert kind in servers, f"{page}: {document}"
        assert set(document) - {"type"} <= wire_keys(servers[kind]), f"{page}: {document}"
        msgspec.convert(with_raw_metrics(document), servers[kind])
    assert seen == clients | set(servers)


def with_raw_metrics(document: dict[str, Any]) -> dict[str, Any]:
    """Return a message whose metrics are checked and then put aside, as the structs hold them as bytes."""
    if document["type"] not in {"metric_update", "metric_batch"}:
        return document
    metrics = document["data"] if document["type"] == "metric_batch" else [document["data"]]
    assert document.get("count", 1) == len(metrics)
    for metric in metrics:
        assert [key for key in metric if key != "run"] == ["metric_type", "timestamp", "source", "data"]
        known = next(item for item in BUILTIN_TYPES if item.slug == metric["metric_type"])
        for entry in metric["data"] if known.has_entries else [metric["data"]]:
            assert all(known.field(name) for name in entry)
    raws = [msgspec.Raw(msgspec.json.encode(metric)) for metric in metrics]
    return {**document, "data": raws if document["type"] == "metric_batch" else raws[0]}


def test_the_welcome_example_has_the_defaults():
    [welcome] = [document for _, document in json_documents() if document["type"] == "welcome"]
    settings = StreamSettings()
    assert welcome["protocol"] == messages.VERSION
    assert welcome["metric_types"] == list(settings.catalogue().slugs)
    limits = messages.Limits(
        message_bytes=settings.max_message_bytes,
        messages_per_second=settings.messages_per_second,
        message_burst=settings.message_burst,
        errors_per_minute=settings.max_errors_per_minute,
        filter_terms=settings.max_filter_terms,
        history_seconds=settings.history_seconds,
    )
    assert welcome["limits"] == json.loads(msgspec.json.encode(limits))
    assert set(welcome["subscription"]) == wire_keys(messages.Subscription)


# --- metrics and the helper ---


def test_every_metric_type_and_field():
    headings = re.findall(r"^## `(\w+)`: (.+)$", METRICS.read_text(), re.MULTILINE)
    assert headings == [(item.slug, item.label) for item in BUILTIN_TYPES]
    for item in BUILTIN_TYPES:
        rows = table(METRICS, f"`{item.slug}`: {item.label}", "field")
        documented = [(*names(row["field"]), row["label"], row["unit"], row["bounds"]) for row in rows]
        assert documented == [
            (field.name, field.label, f"`{field.unit}`" if field.unit else field.kind, bounds(field))
            for field in item.fields
        ]


def bounds(field: Any) -> str:
    if field.minimum is None:
        return ""
    return f"{field.minimum:g} or more" if field.maximum is None else f"{field.minimum:g} to {field.maximum:g}"


def test_every_unit():
    documented = named(table(METRICS, "Metric types and their fields", "unit"))
    suffixes = re.search(r"SUFFIXES = new Map\((.*?)\);", (STATIC / "client/format.js").read_text(), re.DOTALL)
    assert documented == re.findall(r'\["([^"]+)", "[^"]*"\]', suffixes[1])
    assert {field.unit for item in BUILTIN_TYPES for field in item.fields} - {""} <= set(documented)


def test_every_function_of_the_helper():
    documented = named(
        [{"name": row["function and method"]} for row in table(METRICS, "What the helper takes", "function and method")]
    )
    functions = [name for name in vars(broadcast) if name.startswith("broadcast")]
    assert sorted(documented) == sorted(functions)
    assert all(hasattr(broadcast.Broadcaster, name) for name in documented)
    assert MAX_BATCH_BYTES > StreamSettings().max_metric_bytes == 256 * 1024


# --- presets, dashboards, panels ---


def test_preset_fields_and_their_defaults():
    columns = {field.name: field for field in ClientPreset._meta.get_fields() if field.name not in {"id", "dashboards"}}
    rows = table(DASHBOARDS, "Presets", "field")
    assert sorted(named(rows)) == sorted(columns)
    defaults = {names(row["field"])[0]: row["default"] for row in rows}
    for name in ("interval_seconds", "batch_size", "batch_timeout_seconds", "mode"):
        assert defaults[name] == str(columns[name].default)


def test_seeded_presets_and_dashboards():
    assert named(table(DASHBOARDS, "Presets", "preset")) == [columns["slug"] for columns in preset_seeds()]
    assert named(table(DASHBOARDS, "Dashboards", "dashboard")) == [item.slug for item in DASHBOARD_SEEDS]
    titles = ", ".join(item.title for item in DASHBOARD_SEEDS)
    assert titles in prose(README).replace("\n", " ")


def test_panel_kinds_with_their_fields_and_options():
    words = {(1, None): "1 or more", (1, 1): "exactly 1", (0, None): "any number", (0, 1): "0 or 1", (0, 0): "none"}
    rows = table(DASHBOARDS, "Panels", "kind")
    assert {names(row["kind"])[0]: (row["fields"], tuple(names(row["options"]))) for row in rows} == {
        kind: (words[Panel.FIELDS_OF_KIND[kind]], Panel.OPTIONS_OF_KIND.get(kind, ())) for kind in Panel.Kind.values
    }


def test_panel_options_and_columns():
    rows = table(DASHBOARDS, "Panels", "option")
    assert {names(row["option"])[0]: row["allowed"] for row in rows} == {key: OPTIONS[key][0] for key in OPTIONS}
    columns = table(DASHBOARDS, "Panels", "column")
    assert all(Panel._meta.get_field(name) for name in named(columns))
    sizes = next(row["meaning"] for row in columns if row["column"] == "`size`")
    assert names(sizes) == Panel.Size.values
    assert set(Dashboard.Kind.values) <= set(names(section(DASHBOARDS, "Dashboards")))


# --- settings, environment, commands, checks, addresses ---


def test_every_setting_and_its_default():
    documented = {names(row["key"])[0]: row["default"] for row in table(SETTINGS, "METRICS_STREAM", "key")}
    assert list(documented) == [field.name.upper() for field in dataclass_fields(StreamSettings)]
    settings = StreamSettings()
    for key, cell in documented.items():
        value = getattr(settings, key.lower())
        if key == "SOURCE":
            assert cell == "host name"
        elif key == "EXTRA_METRIC_TYPES":
            assert (cell, value) == ("`{}`", ())
        else:
            assert cell == f"`{value if isinstance(value, str) else format(value, '.15g')}`"


def test_every_environment_variable():
    documented = set(named(table(SETTINGS, "Environment", "variable")))
    in_settings = set(re.findall(r'env\.\w+\("(\w+)"', (ROOT / "project/settings.py").read_text()))
    in_example = set(re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    tests = "".join(path.read_text() for path in sorted((ROOT / "tests").rglob("*.py")))
    of_tests = set(re.findall(r'"(REQUIRE_\w+)"', tests))
    in_settings.add("DATABASE_URL")
    assert in_example == in_settings
    assert documented == in_settings | of_tests
    in_ci = set(re.findall(r"REQUIRE_\w+", (ROOT / ".ci/run").read_text()))
    assert in_ci == of_tests - {"REQUIRE_POSTGRESQL"}


def test_every_command_and_its_options():
    own = sorted(name for name, app in get_commands().items() if app == "metrics_stream")
    assert sorted(re.findall(r"^### (\w+)$", SETTINGS.read_text(), re.MULTILINE)) == own
    of_django = BaseCommand().create_parser("manage.py", "any")
    shared = {option for action in of_django._actions for option in action.option_strings} | {"--skip-checks"}
    for name in own:
        parser = load_command_class("metrics_stream", name).create_parser("manage.py", name)
        actions = [action for action in parser._actions if set(action.option_strings) - shared]
        rows = table(SETTINGS, name, "option") if actions else []
        assert named(rows) == [action.option_strings[0] for action in actions], name
        for row, action in zip(rows, actions, strict=True):
            if action.default not in (None, False, []):
                shown = action.default if isinstance(action.default, str) else f"{action.default:g}"
                assert row["default"] == shown, f"{name} {row['option']}"


def test_every_check_id():
    documented = named(table(SETTINGS, "System checks", "id"))
    assert sorted(documented) == sorted(re.findall(r'id="(metrics_stream\.\w+)"', Path(checks.__file__).read_text()))
    assert documented == re.findall(r"^\| (metrics_stream\.\w+) \|", checks.__doc__, re.MULTILINE)


def test_every_address():
    documented = set(named(table(SETTINGS, "Servers", "address")))
    routes = {str(entry.pattern) for entry in get_resolver("metrics_stream.urls").url_patterns}
    expected = {f"/{re.sub(r'<[a-z]+:', '<', route)}" for route in routes} | {"/ws/metrics/", "/admin/"}
    assert documented == expected


def test_everything_that_prometheus_gets():
    assert named(table(MONITORING, "Gauges", "name")) == [exposition.PREFIX + name for name, *_ in exposition.GAUGES]
    counters = [*exposition.COUNTERS, *exposition.LABELLED]
    assert named(table(MONITORING, "Counters", "name")) == [f"{exposition.PREFIX}{name}_total" for name, *_ in counters]
    histograms = [exposition.PREFIX + name for name, *_ in exposition.HISTOGRAMS]
    assert named(table(MONITORING, "Histograms", "name")) == histograms
    [rules] = [text for language, text in FENCE.findall(MONITORING.read_text()) if language == "yaml"]
    used = set(re.findall(r"metrics_stream_\w+", rules))
    assert used <= {*(name for name in re.findall(r"`(metrics_stream_\w+)`", MONITORING.read_text()))} | {
        f"{name}_bucket" for name in histograms
    }


def test_every_answer_to_those_who_publish():
    assert named(table(PRODUCERS, "Over HTTP", "code")) == [error.value for error in submission.ItemErrorCode]
    rows = [*table(PRODUCERS, "Over HTTP", "error"), *table(PRODUCERS, "Test runs over HTTP", "error")]
    assert {names(row["error"])[0]: int(row["status"]) for row in rows} == http_entrance.STATUSES
    assert named(rows) == [error.value for error in submission.RequestErrorCode]
    assert named(table(PRODUCERS, "Over HTTP", "key")) == list(submission.KEYS)
    rows = table(PRODUCERS, "Test runs over HTTP", "address")
    asked = [names(row["keys of the body"]) for row in rows]
    assert asked == [list(run_requests.START_KEYS), [], list(run_requests.STOP_KEYS)]
    text = PRODUCERS.read_text()
    assert f"at most {submission.MAX_DEPTH} deep" in text
    assert f"takes more than {http_entrance.BODY_SECONDS:g} s" in text


async def test_every_check_of_readyz(monkeypatch):
    monkeypatch.setattr(readiness, "_missing_migrations", lambda: 0)
    found = await readiness.problems()
    await stop_runtime()
    assert named(table(MONITORING, "/readyz", "check")) == list(found)


def test_commands_of_dev_py():
    text = (ROOT / "dev.py").read_text()
    existing = set(re.findall(r'commands\.add_parser\("(\w+)"', text))
    everywhere = "".join(page.read_text() for page in PAGES)
    assert set(re.findall(r"dev\.py (\w+)", everywhere)) - {"needs"} == existing
    for option in re.findall(r"`(--[a-z-]+)[^`]*`", section(README, "Start")):
        assert f'"{option}"' in text


# --- links, code blocks, foreign addresses ---


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub makes of a page's headings."""
    titles = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_images_lead_somewhere(page):
    for target in LINK.findall(prose(page)):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(found), f"{page.name}: {target}"


def test_python_blocks_compile():
    for page in PAGES:
        for block in code_blocks(page, "python"):
            ast.parse(block, filename=page.name)


def test_vendored_files_have_their_notices():
    notices = (STATIC / "vendor/README.md").read_text()
    vendored = {path.name for path in (STATIC / "vendor").iterdir()} - {"README.md"}
    assert set(names("".join(re.findall(r"^\| (`[^`]+`)", notices, re.MULTILINE)))) == vendored
    assert {path for path in vendored if path.endswith("LICENSE")}


def own_front_end_files() -> Iterator[Path]:
    folders = [ROOT / "templates", ROOT / "metrics_stream" / "static"]
    for path in sorted(path for folder in folders for path in folder.rglob("*")):
        if path.suffix in {".html", ".js", ".css", ".svg"} and "vendor" not in path.parts:
            yield path


# What a page may hold of other hosts: names of XML formats, which nothing loads, and links that a person clicks.
HARMLESS = re.compile(r"https?://www\.w3\.org/(2000/svg|1999/xlink|1999/xhtml)|<a\b[^>]*\bhref=\"https?://[^\"]*\"")
FOREIGN = re.compile(r"https?://[\w.-]|(?:src|href|srcset|action)\s*=\s*[\"']//|url\(\s*[\"']?//|from\s+[\"']//")


def test_no_page_loads_anything_from_another_host():
    files = list(own_front_end_files())
    assert len(files) > 20
    for path in files:
        text = re.sub(r"^\s*(//|\*|/\*).*$", "", path.read_text(), flags=re.MULTILINE)
        found = FOREIGN.search(HARMLESS.sub("", text))
        assert not found, f"{path.relative_to(ROOT)}: {found[0]}"


# --- the examples of the README, for real ---


def readme_program(word: str) -> str:
    [found] = [block for block in code_blocks(README, "python") if word in block]
    return found


@pytest.fixture(scope="module")
def stack(valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("stack"), valkey_url)
    stack.start()
    yield stack
    stack.stop()


@pytest.mark.valkey
def test_the_examples_of_the_readme_publish_and_receive(stack):
    receive = readme_program("websockets.sync.client").replace("ws://127.0.0.1:8000/ws/metrics/", stack.socket_url)
    assert stack.socket_url in receive
    receive = receive.replace('["hero"]', '["hero", "system"]')
    # A deadline of its own, so that no fault can leave it behind.
    program = f"import signal\nsignal.alarm(30)\n{receive}"
    with subprocess.Popen(
        [sys.executable, "-u", "-c", program], cwd=ROOT, env=stack.environment, stdout=subprocess.PIPE, text=True
    ) as receiver:
        try:
            assert "welcome" in receiver.stdout.readline()
            assert "subscription_confirmed" in receiver.stdout.readline()
            stack.manage("shell", "-v", "0", code=readme_program('source="my-test"'))
            # What other tests published comes first, as the newest there is.
            line = next(line for line in receiver.stdout if line.startswith("my-test"))
            assert line.split(" ", 1) == [
                "my-test",
                "{'total_transactions': 1250, 'money_saved': 98000.0, 'uptime_percentage': 99.95, "
                "'transactions_per_second': 420.0}\n",
            ]
            script = readme_program("load-generator-1")
            done = subprocess.run(
                [sys.executable, "-c", script], cwd=ROOT, env=stack.environment, check=False, timeout=30
            )
            assert done.returncode == 0
            assert receiver.stdout.readline() == "load-generator-1 {'throughput_tps': 950.0, 'error_rate': 0.002}\n"
        finally:
            receiver.kill()


@pytest.mark.valkey
async def test_the_asynchronous_example_of_the_readme_publishes(stack, valkey_layer):
    namespace: dict[str, Any] = {}
    exec(compile(readme_program("async def report"), "README.md", "exec"), namespace)
    async with websockets.connect(stack.socket_url) as client, asyncio.timeout(20):
        await client.recv()
        await client.send('{"type": "subscribe", "metric_types": ["agent"]}')
        await client.recv()
        await namespace["report"]([{"agent_id": "agent_1", "current_load": 0.4}])
        # What other tests published comes first, as the newest there is.
        while (frame := json.loads(await client.recv())).get("replayed"):
            pass
    assert frame["data"]["data"] == [{"agent_id": "agent_1", "current_load": 0.4}]
