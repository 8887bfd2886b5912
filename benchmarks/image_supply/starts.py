"""When the engine started which container: what both sides of a comparison are measured to."""

import asyncio
import json
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from contextlib import asynccontextmanager

from tests.support.engine import engine
from tests.support.tasks import background

_PATIENCE = 300.0


class Starts:
    """The moments of the engine's ``start`` events by container name, in seconds since 1970."""

    def __init__(self) -> None:
        self._moments: dict[str, float] = {}
        self._news = asyncio.Event()

    async def of(self, *names: str) -> float:
        """The moment at which the last of these containers started. Raises TimeoutError."""
        async with asyncio.timeout(_PATIENCE):
            while not self._moments.keys() >= set(names):
                self._news.clear()
                await self._news.wait()
        return max(self._moments[name] for name in names)

    def forget(self, names: Iterable[str]) -> None:
        """The containers were removed; others may take their names."""
        for name in names:
            del self._moments[name]

    async def follow(self, lines: AsyncIterable[bytes]) -> None:
        """Take in the engine's events."""
        async for line in lines:
            event = json.loads(line)
            self._moments[event["Actor"]["Attributes"]["name"]] = event["timeNano"] / 1e9
            self._news.set()


@asynccontextmanager
async def open_starts(address: str) -> AsyncIterator[Starts]:
    """Record from now on."""
    starts = Starts()
    async with engine(address) as api:
        only = json.dumps({"type": ["container"], "event": ["start"]})
        async with api.stream("/events", filters=only) as lines, background(starts.follow(lines)):
            yield starts
