"""Parameters of an address, read into a struct."""

from typing import Annotated, Literal

import msgspec
import pytest
from msgspec import Meta

from metrics_stream.core.errors import RequestRefusedError
from metrics_stream.core.formats.queries import Format, Instant, Keys, ShortText, read_query
from metrics_stream.core.protocol.codes import RequestErrorCode

Ratio = Annotated[float, Meta(ge=0, le=1)]


class Query(msgspec.Struct, frozen=True, kw_only=True):
    limit: Annotated[int, Meta(ge=1, le=1_000)] = 10
    share: Annotated[Ratio | None, Meta(description="A share.")] = None
    names: tuple[str, ...] = ()
    mode: Literal["all", "latest"] | None = None
    word: ShortText | None = None
    flag: bool = False
    from_: Instant | None = msgspec.field(name="from", default=None)
    keys: Keys = {}
    format: Format = None


class Needed(msgspec.Struct, frozen=True, kw_only=True):
    name: str


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {}),
        ({"limit": [""]}, {}),
        ({"limit": ["7"]}, {"limit": 7}),
        ({"share": ["0.5"]}, {"share": 0.5}),
        ({"share": ["1"]}, {"share": 1.0}),
        ({"names": ["a,b", " c ,"]}, {"names": ("a", "b", "c")}),
        ({"mode": ["latest"]}, {"mode": "latest"}),
        ({"flag": ["true"]}, {"flag": True}),
        ({"from": ["1700000000"]}, {"from_": 1_700_000_000.0}),
        ({"from": ["2026-01-31T12:00:00 01:00"]}, {"from_": 1_769_857_200.0}),
        ({"keys": ['{"name": ["/a*"]}']}, {"keys": {"name": ("/a*",)}}),
        ({"format": ["csv"]}, {"format": "csv"}),
    ],
)
def test_parameters_are_read(given, expected):
    assert read_query(given, Query) == Query(**expected)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"limit": ["0"]}, "`limit` is '0'; allowed: a whole number from 1 to 1,000"),
        ({"limit": ["1.5"]}, "`limit` is '1.5'; allowed: a whole number from 1 to 1,000"),
        ({"limit": ["9" * 400]}, "allowed: a whole number from 1 to 1,000"),
        ({"limit": ["1", "2"]}, "`limit` is given 2 times; allowed: once"),
        ({"share": ["nan"]}, "`share` is 'nan'; allowed: a number from 0 to 1"),
        ({"share": ["2"]}, "`share` is '2'; allowed: a number from 0 to 1"),
        ({"mode": ["Latest"]}, "`mode` is 'Latest'; allowed: all, latest"),
        ({"flag": ["maybe"]}, "`flag` is 'maybe'; allowed: true or false"),
        ({"word": ["x" * 201]}, "allowed: a text of at most 200 characters"),
        ({"word": ["a\0b"]}, "and no character NUL"),
        ({"names": ["x" * 2_001]}, "allowed: at most 2,000 characters"),
        ({"from": ["yesterday"]}, "`from` is 'yesterday'; allowed: ISO 8601 such as"),
        ({"keys": ["[" * 900]}, "or as JSON an object of lists of texts"),
        ({"keys": ['{"name": "a"}']}, "or as JSON an object of lists of texts"),
        ({"colour": ["red"]}, "unknown parameter 'colour'; allowed: limit, share, names, mode, word, flag, from, keys"),
    ],
)
def test_a_wrong_parameter_is_named_with_what_is_allowed(given, words):
    with pytest.raises(RequestRefusedError, match=".*") as error:
        read_query(given, Query)
    assert error.value.error == RequestErrorCode.INVALID_PARAMETER
    assert words in str(error.value)


def test_a_parameter_that_is_needed():
    assert read_query({"name": ["x"]}, Needed).name == "x"
    with pytest.raises(RequestRefusedError, match="the parameter `name` is missing; allowed: a text"):
        read_query({}, Needed)
