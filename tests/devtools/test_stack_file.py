"""var/stack.json."""

import json
import os
import stat
import tempfile
from pathlib import Path

import pytest

from devtools import paths
from devtools.stack_file import read_stack, stack_file

pytestmark = pytest.mark.usefixtures("checkout")


def test_no_file_means_no_stack() -> None:
    assert read_stack() is None


def test_a_running_stack_is_found_and_gone_afterwards() -> None:
    with stack_file() as write:
        assert read_stack() == {}
        write({"pid": 1, "url": "http://127.0.0.1:1/", "redis_url": ""})
        assert read_stack() == {"pid": 1, "url": "http://127.0.0.1:1/", "redis_url": ""}
        assert stat.S_IMODE((paths.VAR / "stack.json").stat().st_mode) == 0o600
    assert read_stack() is None
    assert not (paths.VAR / "stack.json").exists()


def test_a_second_stack_is_refused_and_leaves_the_first_alone() -> None:
    with stack_file() as write:
        write({"url": "http://127.0.0.1:1/"})
        with pytest.raises(SystemExit, match="runs already"), stack_file():
            pytest.fail("two stacks")
        assert read_stack() == {"url": "http://127.0.0.1:1/"}


def test_what_a_killed_stack_left_is_ignored_and_swept() -> None:
    left = Path(tempfile.mkdtemp(prefix="metrics-stream-"))
    (left / "valkey.sock").touch()
    stale = {"pid": os.getpid(), "url": "http://x/", "redis_url": f"unix://{left}/valkey.sock"}
    (paths.VAR / "stack.json").write_text(json.dumps(stale))
    assert read_stack() is None
    with stack_file():
        assert not left.exists()


@pytest.mark.parametrize("content", ["", "[]", "{", "{}", '{"redis_url": 1}', '{"redis_url": "redis://host/0"}'])
def test_a_stale_file_of_any_content_is_ignored(content: str) -> None:
    (paths.VAR / "stack.json").write_text(content)
    with stack_file():
        assert read_stack() == {}
