"""What is accepted of clients that speak another version of the protocol."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_stream.core.errors import ProtocolError
from metrics_stream.core.protocol import messages
from metrics_stream.core.protocol.codes import ErrorCode
from metrics_stream.core.protocol.messages import Filters
from metrics_stream.core.protocol.parsing import parse, read
from metrics_stream.core.protocol.tolerance import tolerate

TOLERATED = [
    ({"type": "ping", "client": "wall", "version": 2}, messages.Ping(), ["unknown key 'client', 'version'; allowed: "]),
    ({"type": "subscribe", "metric_types": None, "backfill_seconds": None}, messages.Subscribe(), []),
    ({"type": "set_filters", "filters": None, "ref": 7}, messages.SetFilters(ref=7), []),
    (
        {"type": "set_filters", "filters": {"agent_ids": ["a"], "fields": None, "x": 1}, "y": 2},
        messages.SetFilters(filters=Filters(agent_ids=("a",))),
        [
            "unknown key 'y'; allowed: type, filters, ref",
            "unknown key 'filters.x'; allowed: agent_ids, fields, sources",
        ],
    ),
    ({"type": "set_update_interval", "interval_seconds": None}, messages.SetUpdateInterval(interval_seconds=1.0), []),
    ({"type": "replay", "run": None, "from": None, "paused": True}, messages.Replay(paused=True), []),
]


@pytest.mark.parametrize(("document", "message", "problems"), TOLERATED, ids=lambda value: str(value)[:30])
def test_unknown_keys_and_nulls_are_left_out(document, message, problems):
    found, ignored = read(json.dumps(document))
    assert found == message
    assert len(ignored) == len(problems)
    assert all(sentence.startswith(words) for sentence, words in zip(ignored, problems, strict=True))


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ('{"type":"seek","to":null}', ErrorCode.INVALID_MESSAGE, "the key `to` is missing"),
        ('{"type":"ping","x":NaN}', ErrorCode.INVALID_MESSAGE, "unknown key 'x'"),
        ('{"type":"dance","x":1}', ErrorCode.UNKNOWN_MESSAGE_TYPE, "unknown message type 'dance'"),
        (
            '{"type":"set_batching","x":1,"batch_size":"5"}',
            ErrorCode.INVALID_MESSAGE,
            "`batch_size` is '5'; it must be",
        ),
        ('{"type":"set_filters","filters":[]}', ErrorCode.INVALID_MESSAGE, "`filters` is []; it must be an object"),
        ('{"type":["ping"],"x":1}', ErrorCode.UNKNOWN_MESSAGE_TYPE, "unknown message type"),
        ("[1]", ErrorCode.INVALID_MESSAGE, "it must be an object"),
        ('{"type":"ping","x":' + "[" * 100_000, ErrorCode.INVALID_MESSAGE, "unknown key 'x'"),
    ],
)
def test_other_faults_stay_errors(text, code, words):
    with pytest.raises(ProtocolError) as caught:
        read(text)
    assert caught.value.code == code
    assert words in caught.value.message


def test_only_the_first_unknown_keys_are_named():
    _, [problem] = read(json.dumps({"type": "ping", **{f"key{number}" * 30: 1 for number in range(900)}}))
    assert problem.endswith(" and 895 more; allowed: type, ref")
    assert len(problem) < 500


keys = st.sampled_from(["type", "ref", "metric_types", "filters", "interval_seconds", "agent_ids", "mode", "x"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=6,
)
types = st.sampled_from([messages.message_name(message) for message in messages.CLIENT_MESSAGES])


@given(st.dictionaries(keys, values), types)
def test_what_is_accepted_strictly_is_accepted_as_it_is(document, name):
    text = json.dumps({**document, "type": name})
    try:
        strict = parse(text)
    except ProtocolError:
        try:
            read(text)
        except ProtocolError as error:
            assert error.message
    else:
        assert read(text) == (strict, [])


def test_what_is_no_message_is_left_alone():
    assert [tolerate(each) for each in ([], None, {"type": 5}, {"type": "ping"}, {"x": 1})] == [None] * 5
