"""Following a build: its log from any byte, and its steps, until it ends."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

from workspace_server.images.records import BuildBook, BuildRecord

_POLL_SECONDS = 0.2  # for builds of other servers, which tell this one nothing
_BLOCK = 64 * 1024


@dataclass(frozen=True, slots=True)
class LogLine:
    """One whole line of the log; ``offset`` is the byte after it."""

    offset: int
    text: str


@dataclass(frozen=True, slots=True)
class StepChange:
    """The build is at another step."""

    offset: int
    record: BuildRecord


@dataclass(frozen=True, slots=True)
class BuildEnd:
    """The build ended; nothing follows."""

    offset: int
    record: BuildRecord


News = LogLine | StepChange | BuildEnd


async def follow(book: BuildBook, build: str, offset: int = 0) -> AsyncGenerator[News, None]:
    """Everything of a build's log after byte ``offset``, as it is written. Raises NotFoundError.

    The present step comes first; steps that come faster than they are taken are left out, lines never.
    """
    record = book.get(build)
    step: Any = None
    with book.readable_log(build).open("rb") as log, book.growth.listen(build) as changed:
        log.seek(offset)
        while True:
            changed.clear()
            # The record first: a build that has ended by now has written everything that is read below.
            record = book.get(build)
            if record.step != step:
                step = record.step
                yield StepChange(offset, record)
            pending = b""
            while block := log.read(_BLOCK):
                *lines, pending = (pending + block).split(b"\n")
                for line in lines:
                    offset += len(line) + 1
                    yield LogLine(offset, line.decode(errors="replace"))
            if record.state.ended:
                if pending:
                    offset += len(pending)
                    yield LogLine(offset, pending.decode(errors="replace"))
                yield BuildEnd(offset, record)
                return
            log.seek(offset)
            if book.runs_here(build):
                await changed.wait()
            else:
                await asyncio.sleep(_POLL_SECONDS)
