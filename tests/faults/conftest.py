"""Servers for faults: one shared by the tests of a module, and a function that makes others."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.control import Producer
from tests.support.stack import ROOT, Stack

MakeStack = Callable[..., Stack]


def fault_stack(
    folder: Path,
    redis_url: str,
    *,
    workers: int = 1,
    ping_seconds: float | None = None,
    python_path: str = str(ROOT),
    **metrics_stream: Any,
) -> Stack:
    """Return a server that is not started yet, with its own group on the Redis.

    `ping_seconds` is the interval of its pings and the limit for their answers; None keeps the defaults.
    """
    return Stack(
        folder,
        redis_url,
        workers=workers,
        DJANGO_SETTINGS_MODULE="tests.faults.settings",
        FAULTS_METRICS_STREAM=json.dumps({"GROUP_PREFIX": folder.name, **metrics_stream}),
        FAULTS_PING_SECONDS=str(ping_seconds or ""),
        PYTHONPATH=python_path,
    )


@pytest.fixture(scope="module")
def stack(valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A server that all tests of a module use and none may stop."""
    shared = fault_stack(tmp_path_factory.mktemp("shared"), valkey_url)
    shared.start()
    yield shared
    shared.stop()


@pytest.fixture(scope="module")
def producer(stack: Stack) -> Iterator[Producer]:
    """A producer that runs beside all tests of a module."""
    with Producer(stack) as running:
        yield running


@pytest.fixture
def make_stack(valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeStack]:
    """Return a function that starts servers, which the test may break; they stop with the test."""
    made: list[Stack] = []

    def make(*, redis_url: str = valkey_url, **options: Any) -> Stack:
        own = fault_stack(tmp_path_factory.mktemp("own"), redis_url, **options)
        made.append(own)
        own.start()
        return own

    yield make
    for own in made:
        own.stop()
