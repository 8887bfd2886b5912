"""A place where others wait until a test lets them go on: instead of sleeping, on either side."""

import asyncio
from contextlib import suppress


class Gate:
    """Closed until ``release``. ``arrived`` is set as soon as somebody waits here; ``left`` when one stopped waiting,
    also because its client went away; ``passed`` counts these.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self.arrived = asyncio.Event()
        self.left = asyncio.Event()
        self.waiting = 0
        self.passed = 0
        self._seconds = seconds
        self._released = asyncio.Event()

    def release(self) -> None:
        """Let everybody who waits go on, and nobody wait here again."""
        self._released.set()

    async def wait(self) -> None:
        """Wait for the release; with ``seconds``, at most so long."""
        self.waiting += 1
        self.arrived.set()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._seconds):
                    await self._released.wait()
        finally:
            self.waiting -= 1
            self.passed += 1
            self.left.set()
