"""Which credential the headers of a request contain."""

import pytest

from metrics_stream.access.credentials import Anybody, BrowserSession, ProgramToken, credential_of
from metrics_stream.core.errors import AccessRefusedError
from metrics_stream.core.protocol.codes import CloseCode, ErrorCode
from metrics_stream.models import AccessToken

COOKIE = "theme=dark; sessionid=abc"


@pytest.mark.parametrize(
    ("headers", "may_have_session", "expected"),
    [
        ({}, True, Anybody()),
        ({"cookie": COOKIE}, True, BrowserSession("abc")),
        ({"cookie": COOKIE}, False, Anybody()),
        ({"cookie": "theme=dark"}, True, Anybody()),
        ({"cookie": "sessionid="}, True, Anybody()),
        ({"cookie": "sessionid=abc; x"}, True, Anybody()),
        ({"cookie": "\x00"}, True, Anybody()),
    ],
)
def test_a_session_is_read_where_it_may_be(headers, may_have_session, expected):
    assert credential_of(headers, may_have_session=may_have_session) == expected


@pytest.mark.django_db
def test_a_token_takes_precedence_over_a_session():
    token, text = AccessToken.issue(name="k6", scopes=["subscribe"])
    for authorization in (f"Bearer {text}", f"bearer  {text} "):
        headers = {"authorization": authorization, "cookie": COOKIE}
        assert credential_of(headers, may_have_session=True) == ProgramToken(token.pk)


@pytest.mark.django_db
@pytest.mark.parametrize("authorization", ["Basic YTpi", "Bearer ", "Bearer mst_12345678_x", "Bearer \x00"])
def test_another_header_or_an_unknown_token_is_refused(authorization):
    with pytest.raises(AccessRefusedError) as refused:
        credential_of({"authorization": authorization, "cookie": COOKIE}, may_have_session=True)
    assert (refused.value.code, refused.value.error) == (CloseCode.FORBIDDEN, ErrorCode.FORBIDDEN)
