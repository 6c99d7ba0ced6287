"""The block that is a test run, for programs without a Broadcaster of their own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Unpack

from metrics_stream.broadcast.broadcaster import make_block
from metrics_stream.broadcast.opening import open_transport
from metrics_stream.broadcast.run_block import RunBlock, RunValues, run_options


def stress_test_run(
    name: str,
    *,
    sources: Iterable[str] | None = None,
    url: str | None = None,
    token: str | None = None,
    insecure: bool = False,
    **values: Unpack[RunValues],
) -> RunBlock:
    """Return a block, for `with` and `async with`, that is a test run and yields the run, which has a `slug`.

    The run is stored in the server's database or, with `url` and `token`, started over HTTP. The metrics of `sources`
    belong to it: None is the source of this program (the setting SOURCE, over HTTP the host name), an empty one every
    source for which the token may start runs. The run ends as the block does: `completed`, `failed` with the exception
    in its notes, or `cancelled`. Raises RunError when it cannot be started, for example without a database.

    `test` is the slug of the test, by default made of the name; `parameters` says what was tested (commit, version …).
    `run.phase("steady")` begins a phase. With `started_at` and `ended_at` the test is over: `phases` are its phases,
    objects with `name`, `start` and `end`, and `run.record([...])` records its metrics with their own times.
    """
    transport = open_transport(url, token, insecure=insecure)
    own = (transport.source,) if sources is None else sources
    return make_block(transport, run_options(name, own, values), None)
