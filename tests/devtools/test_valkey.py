"""The Redis that REDIS_URL names."""

import os
import socket
import sys

import pytest

from devtools import paths, valkey


def test_a_redis_that_is_away_is_an_error_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "PYTHON", sys.executable)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(SystemExit) as ended:
            valkey.require_redis({**os.environ, "REDIS_URL": f"redis://user:secret@{address}/0"})
    assert str(ended.value).startswith(f"dev.py: REDIS_URL=redis://***@{address}/0 does not answer (")
    assert "\n" not in str(ended.value)


def test_an_url_that_is_none_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "PYTHON", sys.executable)
    with pytest.raises(SystemExit, match="REDIS_URL=nonsense: .* allowed: redis://"):
        valkey.require_redis({**os.environ, "REDIS_URL": "nonsense"})
