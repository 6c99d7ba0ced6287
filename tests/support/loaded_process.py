"""A program that has loaded the project, and runs each command or code that it is asked for in a fork of itself.

`tests.support.loaded` starts it, in the folder and environment of a stack, and talks to it over the socket whose
descriptor is its argument: a line of JSON and the descriptors of input, output and errors; the answer is the exit code.
"""

import json
import os
import runpy
import socket
import sys
from importlib import import_module
from typing import Any


def load() -> None:
    """Import what commands and producers use. Nothing here may start a thread: a fork would not have it."""
    import django
    from django.conf import settings

    django.setup()
    import_module(settings.ROOT_URLCONF)
    for name in ("broadcast.broadcaster", "broadcast.layer", "runs.lifecycle", "history.redis"):
        import_module(f"metrics_stream.{name}")
    import_module("channels_redis.pubsub")


def next_request(control: socket.socket) -> dict[str, Any] | None:
    """Return the next request in the child that shall run it; None when the tests have ended."""
    while True:
        line, descriptors = b"", []
        while not line.endswith(b"\n"):
            part, more, _, _ = socket.recv_fds(control, 65_536, 3)
            if not part:
                return None
            line += part
            descriptors += more
        child = os.fork()
        if child == 0:
            control.close()
            for own, descriptor in enumerate(descriptors):
                os.dup2(descriptor, own)
                os.close(descriptor)
            request: dict[str, Any] = json.loads(line)
            return request
        for descriptor in descriptors:
            os.close(descriptor)
        status = os.waitpid(child, 0)[1]
        control.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))


def main() -> None:
    # As for `python manage.py` and `python -c`, not the folder of this file.
    sys.path[0] = os.getcwd()
    control = socket.socket(fileno=int(sys.argv[1]))
    load()
    request = next_request(control)
    control.close()
    if request is None:
        return
    if request["code"] is None:
        sys.argv = ["manage.py", *request["arguments"]]
        runpy.run_path("manage.py", run_name="__main__")
    else:
        sys.argv = ["-c"]
        exec(compile(request["code"], "<string>", "exec"), {"__name__": "__main__"})


if __name__ == "__main__":
    main()
