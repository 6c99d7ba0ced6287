"""A sink for tests of the hub and of what stands on it."""

import asyncio
import json


class Inbox:
    """A sink that keeps what it gets."""

    def __init__(self):
        self.frames = asyncio.Queue()
        self.closed = None

    def write(self, frames):
        """Take frames at once."""
        for frame in frames:
            self.frames.put_nowait(json.loads(frame.data))
        return True

    def close(self, code, error, reason):
        """Remember the close code."""
        self.closed = code

    async def hear(self):
        """Return the next frame, decoded."""
        return await asyncio.wait_for(self.frames.get(), 10)
