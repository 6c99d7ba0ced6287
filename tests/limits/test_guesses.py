"""The limit on guesses, in one process, over two processes, and while Redis is away."""

import logging

import pytest

from metrics_stream.conf import get_settings
from metrics_stream.core.errors import TooManyGuessesError
from metrics_stream.limits.guesses import Guesses, network_of
from metrics_stream.limits.shared import SharedBuckets
from tests.support.redis_process import RedisProcess


class Clock:
    def __init__(self):
        self.now = 1_000.0

    def __call__(self):
        return self.now


def make(per_minute=3, clock=None):
    """Return the guesses of one more process."""
    return Guesses(per_minute, SharedBuckets(get_settings()), now=clock or Clock())


def guess(guesses, text, address="10.0.0.1"):
    """Show a secret that does not exist; return whether it was looked up."""
    try:
        guesses.admit(text, address)
    except TooManyGuessesError as error:
        assert error.retry_seconds >= 1
        return False
    guesses.note_invalid(text, address)
    return True


def use(guesses, text, address="10.0.0.1"):
    """Show a valid secret; return whether it was looked up."""
    try:
        guesses.admit(text, address)
    except TooManyGuessesError:
        return False
    guesses.note_valid(text, address)
    return True


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("", ""),
        ("unix:", ""),
    ],
)
def test_an_ipv6_client_has_a_whole_network(address, network):
    assert network_of(address) == network


def test_an_address_guesses_only_so_often():
    clock = Clock()
    guesses = make(clock=clock)
    assert [guess(guesses, f"g{n}") for n in range(5)] == [True, True, True, False, False]
    assert guess(guesses, "other", "10.0.0.2")
    clock.now += 20
    assert [guess(guesses, f"h{n}") for n in range(2)] == [True, False]


def test_valid_secrets_count_nothing_and_are_never_refused():
    guesses = make()
    for number in range(10):
        assert use(guesses, f"valid {number}")
    while guess(guesses, "wrong"):
        pass
    assert use(guesses, "valid 3")
    assert not use(guesses, "never seen")


class Thing:
    is_valid = True


class Store:
    """Secrets of the form NAME_TEXT; a secret whose name exists may exist."""

    def __init__(self, *secrets):
        self.secrets = secrets
        self.looked_up = 0

    def look_up(self, secret):
        self.looked_up += 1
        return Thing() if secret in self.secrets else None

    def name_possible(self, secret):
        name = secret.partition("_")[0]
        return name if any(known.startswith(f"{name}_") for known in self.secrets) else ""

    def find(self, guesses, secret):
        """Return whether it is found, None if it is refused."""
        try:
            return guesses.find(secret, "10.0.0.1", self.look_up, self.name_possible) is not None
        except TooManyGuessesError:
            return None


def test_a_new_valid_secret_gets_in_while_its_address_guesses_and_guesses_get_no_more_look_ups():
    guesses, store = make(), Store("a_right", "b_right", "c_right")
    while store.find(guesses, "wrong_secret") is not None:
        pass
    assert store.looked_up == 3
    assert [store.find(guesses, f"{name}_right") for name in "abc"] == [True, True, True]
    assert store.find(guesses, "wrong_again") is None
    assert store.looked_up == 6, "valid secrets gave guesses away"


def test_guesses_at_a_name_that_exists_are_limited_too():
    clock = Clock()
    guesses, store = make(clock=clock), Store("a_right")
    while store.find(guesses, "wrong_secret") is not None:
        pass
    assert [store.find(guesses, f"a_{n}") for n in range(5)] == [False, False, False, None, None]
    assert store.looked_up == 6
    assert store.find(guesses, "a_right") is None
    clock.now += 20
    assert store.find(guesses, "a_right") is True


def test_a_secret_that_has_ended_is_a_guess_like_others():
    guesses = make()
    assert use(guesses, "token")
    assert [guess(guesses, "token") for _ in range(6)] == [True, True, True, True, False, False]


def test_refusals_name_the_address_and_not_the_secret(caplog):
    guesses = make()
    with caplog.at_level(logging.WARNING):
        for _ in range(9):
            guess(guesses, "mst_secret", "10.1.2.3")
    messages = [record.getMessage() for record in caplog.records]
    assert messages == [
        *["a token or link that is not valid was shown from 10.1.2.3"] * 3,
        "10.1.2.3 guesses tokens or links, and is refused",
    ]


@pytest.mark.valkey
def test_processes_count_together_and_know_the_same_secrets(valkey_layer, settings):
    settings.METRICS_STREAM = {"GROUP_PREFIX": "together"}
    one, two = make(), make()
    assert use(one, "token")
    assert [guess(one, "a"), guess(two, "b"), guess(one, "c"), guess(two, "d"), guess(one, "e")] == [
        *(True, True, True, False, False)
    ]
    assert not use(two, "never seen")
    assert use(two, "token")
    assert use(make(), "token")


@pytest.mark.valkey
def test_without_redis_the_limit_of_the_process_holds(tmp_path, settings, caplog):
    with RedisProcess(tmp_path) as server:
        settings.CHANNEL_LAYERS = {
            "default": {
                "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
                "CONFIG": {"hosts": [{"address": server.url}]},
            }
        }
        guesses = make()
        assert guess(guesses, "a")
        server.kill()
        assert [guess(guesses, "b") for _ in range(4)] == [True, True, False, False]
        said = [record.getMessage() for record in caplog.records if "limits hold" in record.getMessage()]
        assert len(said) == 1
        assert said[0].startswith("limits hold for each server process alone, because Redis does not count them: ")
        server.start()


@pytest.mark.valkey
def test_forbidden_scripts_are_said_once(tmp_path, settings, caplog):
    with RedisProcess(tmp_path) as server:
        server.command("ACL", "SETUSER", "least", "on", ">pw", "~*", "&*", "+@all", "-@scripting")
        settings.CHANNEL_LAYERS = {
            "default": {
                "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
                "CONFIG": {"hosts": [{"address": server.url.replace("//", "//least:pw@")}]},
            }
        }
        guesses = make()
        assert [guess(guesses, "b") for _ in range(5)] == [True, True, True, False, False]
        assert len([record for record in caplog.records if "limits hold" in record.getMessage()]) == 1
