"""The processes of one `dev.py run`, from the first start to the end of the last."""

import signal
import sys
import time
from collections.abc import Callable

from devtools.children import Child
from devtools.output import fail, say

START_SECONDS = 60.0  # from a process's start to its first answer; a slow machine imports for many seconds
POLL_SECONDS = 0.1


class Stack:
    """The processes of one `run` in the order of their start, and the signals that ask it to stop."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self.children: list[Child] = []
        self.interrupts = 0  # The first asks to stop in order, the second to kill.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP
                signal.signal(number, self._interrupt)

    def _interrupt(self, number: int, frame: object) -> None:
        self.interrupts += 1

    def start(self, child: Child, ready: Callable[[], bool] | None = None) -> bool:
        """Start a child and wait until it is ready, or fail; False when a signal asked to stop meanwhile."""
        child.start(self.environment)
        self.children.append(child)
        give_up_at = child.started_at + START_SECONDS
        while ready and not ready():
            if self.interrupts:
                return False
            code = child.exit_code()
            if code is not None:
                child.tell(f"ended while it started (exit code {code})")
                sys.exit(code or 1)
            if time.monotonic() > give_up_at:
                fail(f"the {child.name} gave no answer for {START_SECONDS:g} s; its lines above may say why")
            time.sleep(POLL_SECONDS)
        return not self.interrupts

    def watch(self, server: Child) -> int:
        """Restart children that end; return the exit code once a signal asks to stop (0) or the server has ended."""
        while not self.interrupts:
            code = server.exit_code()
            if code is not None:
                server.tell(f"ended by itself (exit code {code}), so the stack stops")
                return code
            for child in self.children:
                if child is not server:
                    child.keep_alive(self.environment)
            time.sleep(POLL_SECONDS)
        say("Stopping.")
        return 0

    def stop(self) -> None:
        """Stop the children, the last started first: SIGTERM, then SIGKILL after its time or a second Ctrl-C."""
        while self.children:
            child = self.children.pop()
            if child.exit_code() is not None:
                continue
            child.signal(signal.SIGTERM)
            give_up_at = time.monotonic() + child.stop_seconds
            while child.exit_code() is None and time.monotonic() < give_up_at and self.interrupts < 2:
                time.sleep(POLL_SECONDS / 5)
            child.signal(signal.SIGKILL)
            child.process.wait()
            child.reader.join(timeout=1)
