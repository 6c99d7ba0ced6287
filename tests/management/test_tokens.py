"""The commands that create and revoke access tokens."""

import re
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from metrics_stream.models import AccessToken

pytestmark = pytest.mark.django_db

LIST = "/admin/metrics_stream/accesstoken/"
TOKEN = re.compile(r"mst_[0-9a-f]{8}_[0-9a-f]{64}")


def test_a_token_is_made_and_printed_once(capsys):
    options = ["--metric-type", "system", "--source", "a", "--source", "b", "--expires-in-days", "7"]
    call_command("create_token", "k6", "--scope", "publish", *options)
    text = capsys.readouterr().out.strip()
    token = AccessToken.find(text)
    assert TOKEN.fullmatch(text)
    assert (token.name, token.scopes, token.metric_types, token.sources) == ("k6", ["publish"], ["system"], ["a", "b"])
    assert timedelta(days=6.9) < token.expires_at - timezone.now() < timedelta(days=7)


def test_a_token_is_for_all_types_and_does_not_expire_by_default(capsys):
    call_command("create_token", "any", "--scope", "publish", "--scope", "subscribe")
    token = AccessToken.find(capsys.readouterr().out.strip())
    assert (token.metric_types, token.sources, token.expires_at) == (["all"], [], None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "required: --scope"),
        (["--scope", "read"], "scopes: .*allowed: subscribe, publish, runs"),
        (["--scope", "publish", "--metric-type", "sytem"], "metric_types: unknown metric type 'sytem'"),
        (["--scope", "publish", "--source", "a\nb"], "sources: "),
        (["--scope", "publish", "--expires-in-days", "0"], "--expires-in-days is '0'"),
    ],
)
def test_what_is_wrong_is_named(options, message):
    with pytest.raises(CommandError, match=message):
        call_command("create_token", "k6", *options)
    assert not AccessToken.objects.exists()


def test_a_name_is_taken_once(capsys):
    call_command("create_token", "k6", "--scope", "publish")
    with pytest.raises(CommandError, match="name: Access token with this Name already exists"):
        call_command("create_token", "k6", "--scope", "publish")


@pytest.mark.parametrize("by", ["name", "prefix"])
def test_a_token_is_revoked_once(by, capsys):
    token, _ = AccessToken.issue(name="k6", scopes=["publish"])
    call_command("revoke_token", getattr(token, by))
    token.refresh_from_db()
    assert token.revoked_at is not None
    with pytest.raises(CommandError, match="'k6' is already revoked"):
        call_command("revoke_token", "k6")


def test_an_unknown_token_is_answered_with_those_that_are_valid():
    AccessToken.issue(name="k6", scopes=["publish"])
    with pytest.raises(CommandError, match="unknown token 'k7'; valid ones: k6"):
        call_command("revoke_token", "k7")
