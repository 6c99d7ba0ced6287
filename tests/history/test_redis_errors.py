"""What errors of Redis mean, and which of them end the connection."""

import pytest
from redis._parsers.base import BaseParser

from metrics_stream.core.errors import BusError, WrongNodeError
from metrics_stream.history.deadline import within
from metrics_stream.history.redis_errors import explain, is_unreachable

ANSWERS = {
    "READONLY You can't write against a read only replica.": ("this Redis is a replica and takes no writes", True),
    "LOADING Valkey is loading the dataset in memory": ("this Redis is loading its data", True),
    "MASTERDOWN Link with MASTER is down": ("this Redis is a replica that has lost its master", True),
    "OOM command not allowed when used memory > 'maxmemory'.": ("Redis has no memory left; give it more", False),
    "MISCONF Valkey is configured to save RDB snapshots": ("Redis cannot save its data to disk", False),
    "NOREPLICAS Not enough good replicas to write.": ("Redis has fewer replicas", False),
    "NOPERM User x has no permissions to run the 'eval' command": ("Redis forbids it", False),
    "ERR unknown command 'EVAL', with args beginning with: ": ("Redis forbids it", False),
    "ERR ACL failure in script: User x has no permissions to run the 'zadd' command": ("Redis forbids it", False),
    "CROSSSLOT Keys in request don't hash to the same slot": ("this Redis is a cluster", False),
    "CLUSTERDOWN Hash slot not served": ("this Redis is a cluster", False),
    "MOVED 3999 127.0.0.1:6381": ("this Redis is a cluster", False),
    "ERR SELECT is not allowed in cluster mode": ("this Redis is a cluster", False),
    "ERR max number of clients reached": ("Redis has as many clients as its `maxclients` allows", False),
    "WRONGPASS invalid username-password pair or user is disabled.": ("Redis does not accept the user", False),
    "NOAUTH Authentication required.": ("Redis does not accept the user", False),
}


@pytest.mark.parametrize("answer", ANSWERS)
async def test_what_redis_answers_is_said_in_words(answer):
    async def fail():
        raise BaseParser.parse_error(answer)

    meaning, ends_connection = ANSWERS[answer]
    with pytest.raises(BusError) as caught:
        await within(1, fail(), "publish")
    assert str(caught.value).startswith(f"the channel layer could not publish: {meaning}")
    assert isinstance(caught.value, WrongNodeError) == ends_connection


def test_the_line_of_a_script_is_left_out():
    error = BaseParser.parse_error("OOM command not allowed. script: 0123abc, on @user_script:197.")
    assert explain(error).endswith("(command not allowed)")


@pytest.mark.parametrize(
    ("error", "expected"), [(OSError(), True), (TimeoutError(), True), (None, False), (ValueError(), False)]
)
def test_a_redis_that_gives_no_answer_is_unreachable(error, expected):
    assert is_unreachable(error) == expected
    assert not is_unreachable(BaseParser.parse_error("LOADING it loads"))
    assert not is_unreachable(BaseParser.parse_error("WRONGPASS no"))
