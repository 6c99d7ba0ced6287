"""Choose how a program reaches the server: over the channel layer, or over HTTP."""

from __future__ import annotations

from metrics_stream.broadcast.transport import Transport


def open_transport(url: str | None, token: str | None, *, insecure: bool) -> Transport:
    """Return the way to a server at `url`, or to the channel layer of this program without one; raise ValueError."""
    if url is None and token is None:
        from metrics_stream.broadcast.layer import LayerTransport

        return LayerTransport()
    if url is None or token is None:
        raise ValueError("url and token belong together: the address of the server, and a token made there")
    from metrics_stream.broadcast.http import HttpTransport

    return HttpTransport(url, token, insecure=insecure)
