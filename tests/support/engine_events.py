"""The engine's event stream for the length of a test: what it really did, whoever asked it to."""

import asyncio
import json
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self, overload

from .engine import Engine, engine
from .tasks import background

_BROKEN = "the engine's event stream ended before the test did"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Event:
    """One event: when, what kind of object, what happened to it, which one, and its attributes (with its labels)."""

    nanoseconds: int
    type: str
    action: str  # some have details: ``exec_create: sh -c …``
    id: str
    attributes: dict[str, str] = field(default_factory=dict, compare=False)

    @classmethod
    def parse(cls, line: bytes) -> Self:
        """Return the event of one line of the stream."""
        raw: dict[str, Any] = json.loads(line)
        return cls(
            nanoseconds=raw["timeNano"],
            type=raw["Type"],
            action=raw["Action"],
            id=raw["Actor"]["ID"],
            attributes=raw["Actor"].get("Attributes") or {},
        )


class EngineEvents(Sequence[Event]):
    """The events since the recorder was entered, in the engine's order, none twice.

    Other people's are among them: choose by label or name.
    """

    def __init__(self, api: Engine, since: int) -> None:
        self.ended = asyncio.Event()  # the stream broke
        self._api = api
        self._since = since
        self._events: dict[Event, None] = {}
        self._news = asyncio.Event()

    @overload
    def __getitem__(self, index: int) -> Event: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Event]: ...
    def __getitem__(self, index: int | slice) -> Event | Sequence[Event]:
        return sorted(self._events)[index]

    def __iter__(self) -> Iterator[Event]:
        return iter(sorted(self._events))

    def __len__(self) -> int:
        return len(self._events)

    def of(self, type: str, action: str | None = None, **attributes: str) -> list[Event]:  # noqa: A002 - the engine's name
        """Return the events of one type, one action (without its details), with these attributes."""
        return [
            event
            for event in self
            if event.type == type
            and action in (None, event.action, event.action.partition(":")[0])
            and attributes.items() <= event.attributes.items()
        ]

    async def wait_for(self, type: str, action: str, **attributes: str) -> Event:  # noqa: A002 - the engine's name
        """Return the first event of this kind, as soon as there is one; fails when the stream breaks before."""
        while not (found := self.of(type, action, **attributes)):
            assert not self.ended.is_set(), _BROKEN
            self._news.clear()
            await self._news.wait()
        return found[0]

    async def settle(self) -> Self:
        """Make sure that everything the engine has reported up to now is here, and return the recorder.

        The engine's memory is read again from the last event on; it holds 256, so a stream that is being read keeps
        it complete.
        """
        latest = max((event.nanoseconds for event in self._events), default=self._since)
        until = await self._api.now()
        async with self._api.stream("/events", since=_moment(latest), until=_moment(until)) as lines:
            await self._read(lines)
        return self

    async def follow(self, lines: AsyncIterable[bytes]) -> None:
        """Take in the live stream; it ends only when it breaks."""
        try:
            await self._read(lines)
        finally:
            self.ended.set()
            self._news.set()

    async def _read(self, lines: AsyncIterable[bytes]) -> None:
        async for line in lines:
            self._events[Event.parse(line)] = None
            self._news.set()


@asynccontextmanager
async def engine_events(address: str) -> AsyncIterator[EngineEvents]:
    """Record the engine's events from now on; fails when the stream breaks before the context is left."""
    async with engine(address) as api:
        since = await api.now()
        events = EngineEvents(api, since)
        async with api.stream("/events", since=_moment(since)) as lines, background(events.follow(lines)):
            yield events
            assert not events.ended.is_set(), _BROKEN


def _moment(nanoseconds: int) -> str:
    return f"{nanoseconds // 10**9}.{nanoseconds % 10**9:09d}"
