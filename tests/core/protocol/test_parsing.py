import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_stream.core.errors import ProtocolError
from metrics_stream.core.formatting import format_timestamp
from metrics_stream.core.protocol import codes, messages
from metrics_stream.core.protocol import parsing as protocol
from metrics_stream.core.protocol.codes import ErrorCode
from metrics_stream.core.protocol.messages import Filters

GOOD = {
    '{"type":"subscribe"}': messages.Subscribe(metric_types=("all",)),
    '{"type":"subscribe","metric_types":["system","agent"],"ref":7}': messages.Subscribe(
        metric_types=("system", "agent"), ref=7
    ),
    '{"type":"unsubscribe","metric_types":["hero"]}': messages.Unsubscribe(metric_types=("hero",)),
    '{"type":"unsubscribe"}': messages.Unsubscribe(metric_types=("all",)),
    '{"type":"set_filters"}': messages.SetFilters(filters=Filters()),
    '{"type":"set_update_interval"}': messages.SetUpdateInterval(interval_seconds=1.0),
    '{"type":"set_filters","filters":{}}': messages.SetFilters(filters=Filters()),
    '{"type":"set_filters","filters":{"agent_ids":["a"],"fields":["f"],"sources":["s"]}}': messages.SetFilters(
        filters=Filters(agent_ids=("a",), fields=("f",), sources=("s",))
    ),
    '{"type":"set_update_interval","interval_seconds":2}': messages.SetUpdateInterval(interval_seconds=2.0),
    '{"type":"set_batching","batch_size":5}': messages.SetBatching(batch_size=5),
    '{"type":"set_batching","mode":"latest"}': messages.SetBatching(mode="latest"),
    '{"type":"ping","ref":"x"}': messages.Ping(ref="x"),
    '\ufeff{"type":"ping"}': messages.Ping(),
}


@pytest.mark.parametrize(("text", "message"), GOOD.items())
def test_a_message_is_parsed(text, message):
    assert protocol.parse(text) == message


BAD = [
    ("", ErrorCode.NOT_JSON, "not a JSON document"),
    ("nope", ErrorCode.NOT_JSON, "'nope'"),
    ('{"type":"ping"} x', ErrorCode.NOT_JSON, "trailing"),
    ('{"type":"set_update_interval","interval_seconds":NaN}', ErrorCode.NOT_JSON, "at 'NaN}'; JSON has finite numbers"),
    ('{"a":' * 100_000, ErrorCode.NOT_JSON, "nested too deeply"),
    ("[" * 100_000, ErrorCode.INVALID_MESSAGE, "object"),
    ('{"type":"subscribe","metric_types":' + "[" * 100_000, ErrorCode.INVALID_MESSAGE, "metric_types[0]"),
    ("\ud800", ErrorCode.NOT_JSON, "surrogates"),
    ('{"type":"subscribe","metric_types":["\\ud800"]}', ErrorCode.NOT_JSON, "not a JSON document"),
    ("[]", ErrorCode.INVALID_MESSAGE, "`message` is []; it must be an object"),
    ("{}", ErrorCode.INVALID_MESSAGE, "the key `type` is missing"),
    ('{"type":"foo"}', ErrorCode.UNKNOWN_MESSAGE_TYPE, "unknown message type 'foo'; allowed: subscribe, unsubscribe"),
    ('{"type":5}', ErrorCode.UNKNOWN_MESSAGE_TYPE, "unknown message type 5"),
    (
        '{"type":"subscribe","x":1}',
        ErrorCode.INVALID_MESSAGE,
        "allowed: type, backfill_seconds, max_points, metric_types, resume_from, ref",
    ),
    ('{"type":"subscribe","x":1,"type":"foo"}', ErrorCode.INVALID_MESSAGE, "unknown key 'x'"),
    ('{"type":"subscribe","metric_types":"a"}', ErrorCode.INVALID_MESSAGE, "is 'a'; it must be a list"),
    ('{"type":"subscribe","metric_types":[1]}', ErrorCode.INVALID_MESSAGE, "`metric_types[0]` is 1; it must be a text"),
    ('{"type":"seek"}', ErrorCode.INVALID_MESSAGE, "the key `to` is missing"),
    ('{"type":"set_filters","filters":[]}', ErrorCode.INVALID_MESSAGE, "`filters` is []; it must be an object"),
    ('{"type":"set_filters","filters":{"id":1}}', ErrorCode.INVALID_MESSAGE, "allowed: agent_ids, fields, sources"),
    ('{"type":"set_filters","filters":{"fields":["a",3]}}', ErrorCode.INVALID_MESSAGE, "`filters.fields[1]` is 3"),
    ('{"type":"set_filters","filters":{"agent_ids":[3]},"filters":5}', ErrorCode.INVALID_MESSAGE, "must be a text"),
    ('{"type":"set_update_interval","interval_seconds":"1"}', ErrorCode.INVALID_MESSAGE, "is '1'; it must be a number"),
    (
        '{"type":"set_update_interval","interval_seconds":null}',
        ErrorCode.INVALID_MESSAGE,
        "is null; it must be a number",
    ),
    (
        '{"type":"set_batching","interval_seconds":1e999}',
        ErrorCode.INVALID_MESSAGE,
        "unknown key 'interval_seconds'; allowed: type, batch_size, batch_timeout_seconds, mode, ref",
    ),
    ('{"type":"set_batching","x":NaN}', ErrorCode.INVALID_MESSAGE, "unknown key 'x'; allowed: type, batch_size"),
    ('{"type":"ping","x":1,"type":[]}', ErrorCode.INVALID_MESSAGE, "unknown key 'x'; allowed: type"),
    ('{"type":"ping","x":' + "[" * 100_000, ErrorCode.INVALID_MESSAGE, "unknown key 'x'; allowed are those of its"),
    (
        '{"type":"set_batching","batch_size":' + "[" * 100_000,
        ErrorCode.INVALID_MESSAGE,
        "`batch_size` is a list; it must be a whole number from 1 to 1000",
    ),
    (
        '{"type":"resume","speed":-Infinity,"ref":7}',
        ErrorCode.NOT_JSON,
        """invalid character (byte 26) at 'Infinity,"ref":7}'; JSON has finite numbers only""",
    ),
    ('{"type":"set_batching","batch_size":2.5}', ErrorCode.INVALID_MESSAGE, "is 2.5; it must be a whole number"),
    ('{"type":"set_batching","batch_size":true}', ErrorCode.INVALID_MESSAGE, "is true; it must be a whole number"),
    ('{"type":"set_batching","mode":"x"}', ErrorCode.INVALID_MESSAGE, "`mode` is 'x'; allowed: all, latest"),
    ('{"type":"ping","ref":[1]}', ErrorCode.INVALID_MESSAGE, "`ref` is [1]"),
    ('{"type":"ping","ref":true}', ErrorCode.INVALID_MESSAGE, "`ref` is true"),
    ('{"type":"ping","ref":' + "9" * 40 + "}", ErrorCode.INVALID_MESSAGE, "whole number within"),
    ('{"type":"ping","ref":"' + "x" * 201 + '"}', ErrorCode.INVALID_MESSAGE, "at most 200 characters"),
]


TOO_LARGE = ["1e999", "-1e999", "1" + "0" * 400, "-1" + "0" * 400, "1" * 5000, "1" * 5000 + ".5"]


@pytest.mark.parametrize("number", TOO_LARGE, ids=lambda number: number[:5])
@pytest.mark.parametrize(
    ("message", "path", "allowed"),
    [
        ('"set_update_interval","interval_seconds":{}', "interval_seconds", "a number from 0.1 to 60"),
        ('"set_batching","batch_timeout_seconds":{}', "batch_timeout_seconds", "a number from 0 to 60"),
        ('"subscribe","backfill_seconds":{}', "backfill_seconds", "a number from 1 to 31622400"),
        ('"replay","run":"a","speed":{}', "speed", "a number from 0.25 to 60"),
        ('"resume","speed":{}', "speed", "a number from 0.25 to 60"),
        ('"replay","paused":{}', "paused", "true or false"),
        ('"subscribe","metric_types":{}', "metric_types", "a list"),
        ('"subscribe","metric_types":["system",{}]', "metric_types[1]", "a text"),
        ('"set_filters","filters":{}', "filters", "an object"),
        ('"set_filters","filters":{{"fields":[{}]}}', "filters.fields[0]", "a text"),
        ('"ping","ref":{}', "ref", f"a text of at most 200 characters or a whole number within ±{2**53 - 1}"),
    ],
)
def test_a_number_too_large_for_a_computer_is_named_with_what_is_allowed(message, path, allowed, number):
    with pytest.raises(ProtocolError) as caught:
        protocol.parse('{"type":' + message.format(number) + "}")
    shown = number if len(number) <= 60 else number[:60] + "…"
    assert (caught.value.code, caught.value.message) == (
        ErrorCode.INVALID_MESSAGE,
        f"`{path}` is {shown}; it must be {allowed}",
    )


@pytest.mark.parametrize("number", ["1e999", "1" * 5000, "2.5"])
@pytest.mark.parametrize(
    ("name", "bounds"), [("batch_size", "1 to 1000"), ("max_points", "10 to 2000")], ids=["size", "points"]
)
def test_a_value_that_is_no_integer_is_named_with_its_bounds(name, bounds, number):
    kind = "set_batching" if name == "batch_size" else "subscribe"
    with pytest.raises(ProtocolError, match=rf"^`{name}` is {number[:60]}…?; it must be a whole number from {bounds}$"):
        protocol.parse(f'{{"type":"{kind}","{name}":{number}}}')


def test_a_mode_of_the_wrong_type_gets_the_allowed_modes():
    with pytest.raises(ProtocolError, match="`mode` is 1e999; allowed: all, latest, aggregate"):
        protocol.parse('{"type":"set_batching","mode":1e999}')


@pytest.mark.parametrize(("text", "code", "words"), BAD, ids=[text[:40] for text, _, _ in BAD])
def test_bad_input_gets_an_error_that_names_the_value(text, code, words):
    with pytest.raises(ProtocolError) as caught:
        protocol.parse(text)
    assert caught.value.code == code
    assert words in caught.value.message
    assert len(caught.value.message) < 400


@pytest.mark.parametrize("wrong", ["3", "1e999", "[NaN]"])
def test_the_ref_of_a_bad_message_is_kept(wrong):
    with pytest.raises(ProtocolError) as caught:
        protocol.parse(f'{{"type":"set_filters","filters":{wrong},"ref":"mine"}}')
    assert caught.value.ref == "mine"


@given(st.text() | st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists).map(json.dumps))
def test_any_text_is_a_message_or_a_protocol_error(text):
    try:
        protocol.parse(text)
    except ProtocolError as error:
        assert msgspec.json.decode(
            protocol.encode(messages.Error(code=error.code, message=error.message, ref=error.ref))
        )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
keys = st.sampled_from(["type", "ref", "metric_types", "filters", "interval_seconds", "batch_size", "mode"])
types = st.sampled_from([messages.message_name(message) for message in messages.CLIENT_MESSAGES])


@given(st.dictionaries(keys, json_values), types)
def test_any_object_of_a_known_type_is_a_message_or_a_protocol_error(document, name):
    try:
        protocol.parse(json.dumps({**document, "type": name}))
    except ProtocolError as error:
        assert error.message


def test_server_messages_have_the_shapes_of_the_protocol():
    assert protocol.encode(messages.SubscriptionConfirmed(metric_types=("system",), ref="a")) == (
        '{"type":"subscription_confirmed","metric_types":["system"],"ref":"a"}'
    )
    assert protocol.encode(messages.FiltersUpdated(filters=Filters())) == '{"type":"filters_updated","filters":{}}'
    assert protocol.encode(messages.Gap(reason=codes.GapReason.BUS, dropped=None, metric_types=("hero",))) == (
        '{"type":"gap","reason":"bus","dropped":null,"metric_types":["hero"]}'
    )
    assert protocol.encode(messages.Status(bus="stale")) == '{"type":"status","bus":"stale"}'
    assert protocol.encode_metrics([b'{"a":1}']) == b'{"type":"metric_update","data":{"a":1}}'
    assert (
        protocol.encode_metrics([b'{"a":1}', b'{"b":2}'])
        == b'{"type":"metric_batch","count":2,"data":[{"a":1},{"b":2}]}'
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "1970-01-01T00:00:00.000000Z"), (1_700_000_000.25, "2023-11-14T22:13:20.250000Z")],
)
def test_timestamps_are_iso_8601_in_utc(seconds, text):
    assert format_timestamp(seconds) == text


def test_the_range_of_a_close_code_says_whether_to_reconnect():
    stay_away = {code.name for code in codes.CloseCode if 4500 <= code <= 4999}
    come_back = {code.name for code in codes.CloseCode if 4000 <= code <= 4499}
    assert stay_away == {"BAD_PROTOCOL", "FORBIDDEN", "NOT_AUTHENTICATED", "MESSAGE_TOO_BIG"}
    assert come_back == {"GOING_AWAY", "AUTHENTICATION_EXPIRED", "SLOW_CONSUMER", "OVER_CAPACITY", "TOO_MANY_MESSAGES"}
