"""docs/protocol.md lists the messages, codes and limits that the code has, in both directions."""

import json
import re
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from metrics_stream.conf import StreamSettings
from metrics_stream.core.metrics.catalogue import BUILTIN_TYPES
from metrics_stream.core.metrics.keys import AGENT_KEY
from metrics_stream.core.metrics.metric import MAX_TERM_LENGTH
from metrics_stream.core.protocol import bounds, codes, messages, parsing
from metrics_stream.core.protocol.message_parts import Limits
from metrics_stream.models import ClientPreset
from metrics_stream.runtime.runtime import stop_runtime
from tests.support.clients import connected
from tests.support.documents import PROTOCOL, json_documents, named, names, one_line, table, wire_keys


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
    in_code = re.findall(r"= \"(\w+)\"  # followed by close (\d+)", Path(codes.__file__).read_text())
    assert announced == in_code


def test_limits():
    settings = StreamSettings()
    limits = {row["limit"]: row["value"] for row in table(PROTOCOL, "Limits", "limit")}
    assert limits == {
        "size of a message": f"{settings.max_message_bytes:,} bytes",
        "messages": f"{settings.messages_per_second:g} a second on average, {settings.message_burst} at once",
        "errors": "the fifth within a minute",
        "values in one filter": f"{settings.max_filter_terms:,}, each of at most {MAX_TERM_LENGTH} characters",
        "`interval_seconds`": between(bounds.INTERVAL_SECONDS),
        "`batch_size`": between(bounds.BATCH_SIZE),
        "`batch_timeout_seconds`": between(bounds.BATCH_TIMEOUT_SECONDS),
        "`backfill_seconds`": between(bounds.BACKFILL_SECONDS),
        "`max_points`": f"{between(bounds.MAX_POINTS)}; {bounds.DEFAULT_MAX_POINTS} when it is left out",
        "`speed`": between(bounds.SPEED),
    }
    assert settings.max_errors_per_minute == 5
    assert str(messages.MAX_REF_NUMBER) in one_line(PROTOCOL)
    assert f"at most {messages.MAX_REF_LENGTH} characters" in one_line(PROTOCOL)


ORIGINAL = table(PROTOCOL, "What is ignored", "message")


@pytest.mark.parametrize("row", ORIGINAL, ids=lambda row: row["message"])
async def test_what_clients_of_the_original_send_is_answered_as_documented(row):
    async with connected() as client:
        assert await client.ask(*names(row["message"])) == json.loads(*names(row["reply"]))
        if row["`ignored`"]:
            told = await client.hear()
            assert told == {"type": "ignored", "message": names(row["`ignored`"])[0]}
        # Nothing else was said.
        assert (await client.ask({"type": "ping"}))["type"] == "pong"
    await stop_runtime()


def between(bounds: tuple[float, float]) -> str:
    return f"{bounds[0]:g} to {bounds[1]:,.15g}"


def test_json_examples_are_real_messages():
    servers = {messages.message_name(message): message for message in messages.SERVER_MESSAGES}
    clients = {messages.message_name(message) for message in messages.CLIENT_MESSAGES}
    seen = set()
    for page, document in json_documents():
        kind = document["type"]
        seen.add(kind)
        if kind in clients:
            parsing.parse(json.dumps(document))
            continue
        assert kind in servers, f"{page}: {document}"
        assert set(document) - {"type"} <= wire_keys(servers[kind]), f"{page}: {document}"
        msgspec.convert(with_raw_metrics(document), servers[kind])
    assert seen == clients | set(servers)


def with_raw_metrics(document: dict[str, Any]) -> dict[str, Any]:
    """Return a message whose metrics are checked and then put aside, as the structs hold them as bytes."""
    if document["type"] not in {"metric_update", "metric_batch", "latest"}:
        return document
    metrics = document["data"] if document["type"] != "metric_update" else [document["data"]]
    assert document.get("count", 1) == len(metrics)
    for metric in metrics:
        known = next(item for item in BUILTIN_TYPES if item.slug == metric["metric_type"])
        keys = ["metric_type", "timestamp", "source", "data"]
        keys += ["key"] if known.key not in ((), AGENT_KEY) else []
        assert [key for key in metric if key != "run"] == keys
        for entry in metric["data"] if known.key else [metric["data"]]:
            assert all(known.field(name) for name in entry)
    raws = [msgspec.Raw(msgspec.json.encode(metric)) for metric in metrics]
    return {**document, "data": raws if document["type"] != "metric_update" else raws[0]}


def test_the_welcome_example_has_the_defaults():
    [welcome] = [document for _, document in json_documents() if document["type"] == "welcome"]
    settings = StreamSettings()
    assert welcome["protocol"] == messages.VERSION
    assert welcome["metric_types"] == list(settings.catalogue().slugs)
    limits = Limits(
        message_bytes=settings.max_message_bytes,
        messages_per_second=settings.messages_per_second,
        message_burst=settings.message_burst,
        errors_per_minute=settings.max_errors_per_minute,
        filter_terms=settings.max_filter_terms,
        history_seconds=settings.history_seconds,
    )
    assert welcome["limits"] == json.loads(msgspec.json.encode(limits))
    assert set(welcome["subscription"]) == wire_keys(messages.Subscription)
