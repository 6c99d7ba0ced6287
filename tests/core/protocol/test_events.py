"""Server messages as server-sent events."""

import json

import pytest

from metrics_stream.core.protocol import events, messages
from metrics_stream.core.protocol.codes import CloseCode, ErrorCode
from metrics_stream.core.protocol.parsing import encode, encode_metrics
from metrics_stream.core.protocol.prepared_message import PreparedMessage
from tests.support.events import parse_events

BODIES = [b'{"metric_type":"system","data":{"n":%d}}' % number for number in range(3)]
GAP = messages.Gap(reason="bus", dropped=None, metric_types=("system",))


def frame(*bodies, **options):
    return PreparedMessage(encode_metrics(list(bodies), **options))


def numbers(event):
    data = event["data"]["data"]
    return [metric["data"]["n"] for metric in (data if isinstance(data, list) else [data])]


def test_a_frame_is_an_event_whose_id_is_its_position():
    [event] = parse_events(events.events_of([frame(BODIES[0], position="e1:system=1")]))
    assert (event["event"], event["id"], numbers(event)) == ("metric_update", "e1:system=1", [0])
    assert event["data"]["position"] == "e1:system=1"


def test_without_a_position_there_is_no_id():
    text = events.events_of([frame(*BODIES)])
    assert b"id:" not in text
    assert numbers(parse_events(text)[0]) == [0, 1, 2]


@pytest.mark.parametrize("parts", [BODIES, [*BODIES[:1]], BODIES[:2]])
def test_metrics_that_are_written_together_are_one_event(parts):
    frames = [frame(body) for body in parts[:-1]] + [frame(parts[-1], position="e1:system=3")]
    [event] = parse_events(events.events_of(frames))
    assert numbers(event) == list(range(len(parts)))
    assert event["id"] == "e1:system=3"
    assert event["event"] == ("metric_batch" if len(parts) > 1 else "metric_update")


def test_a_gap_comes_before_the_metrics_and_takes_no_id():
    frames = [PreparedMessage(encode(GAP).encode()), frame(*BODIES[:2]), frame(BODIES[2], position="e1:system=3")]
    first, second = parse_events(events.events_of(frames))
    assert (first["event"], first["id"], first["data"]["reason"]) == ("gap", None, "bus")
    assert (second["event"], second["id"], numbers(second)) == ("metric_batch", "e1:system=3", [0, 1, 2])


def test_the_past_stays_marked():
    frames = [frame(BODIES[0], replayed=True), frame(BODIES[1], replayed=True, position="e1:system=2")]
    [event] = parse_events(events.events_of(frames))
    assert event["data"]["replayed"] is True


def test_a_message_with_a_position_moves_the_id():
    message = messages.SubscriptionConfirmed(metric_types=("system",), position="e1:system=1")
    [event] = parse_events(events.event_of(message))
    assert (event["event"], event["id"]) == ("subscription_confirmed", "e1:system=1")


def test_a_heartbeat_is_no_event():
    assert events.heartbeat(None) == b": heartbeat\n\n"
    assert parse_events(events.heartbeat("e1:system=4")) == []
    assert b"id: e1:system=4\n\n" in events.heartbeat("e1:system=4")


@pytest.mark.parametrize(("code", "retry"), [(CloseCode.SLOW_CONSUMER, True), (CloseCode.FORBIDDEN, False)])
def test_the_last_event_says_whether_to_come_back(code, retry):
    [event] = parse_events(events.closed_event(code, ErrorCode.FORBIDDEN, "words"))
    assert event["event"] == "closed"
    assert event["data"] == {"code": int(code), "error": "forbidden", "message": "words", "retry": retry}


def test_line_ends_in_names_end_no_line():
    body = json.dumps({"data": {"n": "a\nb\rc\u2028d"}}, ensure_ascii=False).encode()
    [event] = parse_events(events.events_of([frame(body)]))
    assert event["data"]["data"]["data"]["n"] == "a\nb\rc\u2028d"
