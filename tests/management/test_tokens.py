"""The commands that create, list, rotate and revoke access tokens."""

import json
import re
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from metrics_stream.core.formatting import NO_VALUE
from metrics_stream.models import AccessToken, TestRun, TokenName
from metrics_stream.runs.lifecycle import Status

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


def test_the_name_of_a_token_that_has_ended_is_free_again(capsys):
    long = "n" * 100
    for name in ("k6", long):
        for _ in range(3):
            call_command("create_token", name, "--scope", "publish")
            call_command("revoke_token", name)
    ended = [token for token in AccessToken.objects.all() if token.name not in {"k6", long}]
    assert len(ended) == 4
    assert {token.name.removesuffix(f" (former, {token.prefix})") for token in ended} == {"k6", long[:81]}
    assert not any(token.is_valid for token in AccessToken.objects.all())
    AccessToken.objects.filter(name="k6").update(revoked_at=None, expires_at=timezone.now() - timedelta(seconds=1))
    call_command("create_token", "k6", "--scope", "publish")
    assert AccessToken.objects.get(name="k6").is_valid


def test_a_command_can_be_repeated(capsys):
    texts = []
    for _ in range(2):
        call_command("create_token", "k6", "--scope", "publish", "--replace")
        texts.append(capsys.readouterr().out.strip())
    assert [AccessToken.find(text).is_valid for text in texts] == [False, True]
    assert AccessToken.find(texts[1]).name == "k6"


def test_nothing_is_revoked_when_the_new_token_is_refused():
    AccessToken.issue(name="k6", scopes=["publish"])
    with pytest.raises(CommandError, match="unknown metric type"):
        call_command("create_token", "k6", "--scope", "publish", "--metric-type", "sytem", "--replace")
    assert AccessToken.objects.get().name == "k6"
    assert AccessToken.objects.get().is_valid


def rows(capsys):
    capsys.readouterr()
    call_command("list_tokens", "--json")
    return json.loads(capsys.readouterr().out)


def test_tokens_are_listed_without_their_secrets(capsys, admin_user):
    call_command("list_tokens")
    assert capsys.readouterr().out == "There are no access tokens; make one with create_token.\n"
    at = timezone.now().replace(microsecond=0) + timedelta(days=1)
    token, text = AccessToken.issue(
        name="k6", scopes=["publish", "runs"], metric_types=["all"], sources=["a"], expires_at=at, created_by=admin_user
    )
    token.note_use()
    token.refresh_from_db()
    other, other_text = AccessToken.issue(name="wall", scopes=["subscribe"])
    other.revoke()
    call_command("list_tokens")
    printed = capsys.readouterr().out
    assert [re.split(r"  +", line) for line in printed.splitlines()] == [
        ["name", "prefix", "state", "scopes", "metric types", "sources", "made by", "expires at", "last used at"],
        [
            *("k6", token.prefix, f"valid until {at:%Y-%m-%d %H:%M}", "publish, runs", "all", "a", "admin"),
            *(f"{moment:%Y-%m-%dT%H:%M:%S.%fZ}" for moment in (at, token.last_used_at)),
        ],
        ["wall", other.prefix, "revoked", "subscribe", *[NO_VALUE] * 5],
    ]
    first, second = rows(capsys)
    assert (first["scopes"], first["made_by"], second["made_by"]) == (["publish", "runs"], "admin", None)
    assert set(first) == {
        *("name", "prefix", "state", "scopes", "metric_types", "sources", "made_by", "expires_at", "last_used_at")
    }
    for secret in (text, other_text):
        assert secret.rpartition("_")[2] not in printed + json.dumps([first, second])


def test_a_rotated_token_has_the_same_grants_and_the_old_secret_ends(capsys, admin_user):
    grants = {"scopes": ["publish", "runs"], "metric_types": ["system"], "sources": ["a"]}
    expires_at = timezone.now() + timedelta(days=1)
    old, old_text = AccessToken.issue(name="k6", created_by=admin_user, expires_at=expires_at, **grants)
    TokenName.objects.create(token=old, kind="source", name="a")
    run = TestRun.objects.create(name="soak", slug="soak", status=Status.RUNNING, started_by=old)
    call_command("rotate_token", "k6")
    text = capsys.readouterr().out.strip()
    new = AccessToken.find(text)
    assert TOKEN.fullmatch(text)
    assert {name: getattr(new, name) for name in grants} == grants
    assert (new.name, new.created_by, new.expires_at, new.is_valid) == ("k6", admin_user, expires_at, True)
    assert [(each.kind, each.name) for each in new.names.all()] == [("source", "a")]
    assert not AccessToken.find(old_text).is_valid
    assert TestRun.objects.get(pk=run.pk).started_by == new


def test_a_rotated_token_goes_on_during_the_overlap(capsys):
    old, old_text = AccessToken.issue(name="k6", scopes=["publish", "runs"])
    run = TestRun.objects.create(name="soak", slug="soak", status=Status.RUNNING, started_by=old)
    call_command("rotate_token", old.prefix, "--overlap", "60")
    assert AccessToken.find(capsys.readouterr().out.strip()).expires_at is None
    old = AccessToken.find(old_text)
    assert old.is_valid
    assert timedelta(seconds=50) < old.expires_at - timezone.now() < timedelta(seconds=60)
    assert TestRun.objects.get(pk=run.pk).started_by == old
    # An earlier end stays.
    soon, text = AccessToken.issue(name="soon", scopes=["publish"], expires_at=timezone.now() + timedelta(seconds=9))
    call_command("rotate_token", "soon", "--overlap", "60")
    assert AccessToken.find(text).expires_at == soon.expires_at


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["k7"], "unknown token 'k7'; list_tokens shows all of them"),
        (["k6"], "the token 'k6' is revoked; make one with create_token"),
        (["k6", "--overlap", "-1"], "--overlap is '-1'; allowed: a number from 0 to 7.776e.06"),
    ],
)
def test_a_token_that_cannot_be_rotated_is_named(arguments, message):
    token, _ = AccessToken.issue(name="k6", scopes=["publish"])
    token.revoke()
    with pytest.raises(CommandError, match=message):
        call_command("rotate_token", *arguments)


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
