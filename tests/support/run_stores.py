"""A store of runs in memory, which lists what a block calls."""

from types import SimpleNamespace

RUN = SimpleNamespace(slug="soak-1")


class Store:
    """A run store that lists its calls; each call raises the next of the given errors, or nothing for None."""

    alive_seconds = 0.005

    def __init__(self, *, alive=(), stop=()):
        self.alive = list(alive)
        self.stops = list(stop)
        self.calls = []

    def start(self):
        return RUN

    def keep_alive(self):
        self.calls.append("alive")
        if self.alive and (answer := self.alive.pop(0)):
            raise answer

    def stop(self, status, note):
        self.calls.append((status, note))
        if self.stops and (answer := self.stops.pop(0)):
            raise answer

    def close(self):
        self.calls.append("close")
