"""What the server offers to a long response: an ASGI extension, `metrics_stream.connection`."""

from __future__ import annotations

CONNECTION = "metrics_stream.connection"
"""The key in `scope["extensions"]` of a dict of callables, on servers that have it.

`on_stop(call)` has `call()` made when the server begins to stop: the response must end for it.
`backlog()` returns the number of bytes written that the peer's machine has not acknowledged yet.
"""
