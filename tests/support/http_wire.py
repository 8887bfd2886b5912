"""HTTP/1.1 as it is on the wire: heads are parsed, everything is passed on byte by byte."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Literal, Self

_READ = 64 * 1024
_ENOUGH = 1 << 20

Framing = int | Literal["chunked", "until closed"]
"""How long a body is: so many bytes, in chunks, or until the connection ends."""


@dataclass(frozen=True, slots=True)
class Head:
    """The start line and headers of a message; header names are in lower case."""

    raw: bytes
    start: tuple[str, str, str]
    headers: Mapping[str, str]

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Return a head of its bytes, with the empty line at its end."""
        first, *lines = raw.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
        one, _, rest = first.partition(" ")
        two, _, three = rest.partition(" ")
        named = (line.partition(":") for line in lines)
        return cls(raw, (one, two, three), {name.lower(): value.strip() for name, _, value in named})

    @property
    def status(self) -> int:
        """The status of an answer."""
        return int(self.start[1])

    @property
    def request_framing(self) -> Framing:
        """How long the body of a request is."""
        return self._stated(0)

    def answer_framing(self, method: str) -> Framing:
        """How long the body of the answer to a request is."""
        if method == "HEAD" or self.status in (204, 304):
            return 0
        return self._stated("until closed")

    @property
    def is_interim(self) -> bool:
        """Whether the real answer is still to come."""
        return 100 <= self.status < 200 and self.status != 101

    @property
    def starts_tunnel(self) -> bool:
        """Whether an answer ends HTTP on this connection: an upgrade, or the engine's older way with status 200."""
        hijacked = self.headers.get("content-type", "").startswith("application/vnd.docker.")
        return self.status == 101 or (hijacked and self._stated("until closed") == "until closed")

    def _stated(self, otherwise: Framing) -> Framing:
        if "chunked" in self.headers.get("transfer-encoding", "").lower():
            return "chunked"
        length = self.headers.get("content-length")
        return otherwise if length is None else int(length)


class Wire:
    """One end of a connection, read through a buffer that can be looked into."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._buffer = bytearray()

    async def send(self, data: bytes) -> None:
        """Write, and wait while the other side is slow. Raises ConnectionError when it is gone."""
        if self._writer.is_closing():
            raise ConnectionResetError("the connection is closed")
        self._writer.write(data)
        await self._writer.drain()

    def end_sending(self) -> None:
        """Let the other side read an end; it may go on sending."""
        if not self._writer.is_closing():
            self._writer.write_eof()

    def close(self, *, now: bool = False) -> None:
        """Close both directions, after what was written or at once."""
        if now:
            self._writer.transport.abort()
        self._writer.close()

    async def head(self) -> Head | None:
        """Read one head; None when the connection ended."""
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if not await self._fill():
                return None
        return Head.parse(self._take(end + 4))

    async def body(self, framing: Framing) -> AsyncIterator[bytes]:
        """Read one body, as it is on the wire (chunks with their sizes), in pieces as they come."""
        match framing:
            case int():
                async for piece in self._exactly(framing):
                    yield piece
            case "chunked":
                async for piece in self._chunks():
                    yield piece
            case "until closed":
                while self._buffer or await self._fill():
                    yield self._take(len(self._buffer))

    async def ended(self) -> None:
        """Wait until the other side ends the connection, keeping what it still sends."""
        while len(self._buffer) < _ENOUGH:
            if not await self._fill():
                return
        await asyncio.Event().wait()  # it sends and sends: it is there

    async def _chunks(self) -> AsyncIterator[bytes]:
        size = -1
        while size != 0:
            line = await self._line()
            size = int(line.split(b";")[0], 16)
            yield line
            if size:
                async for piece in self._exactly(size + 2):
                    yield piece
        while line := await self._line():  # trailers, and the empty line
            yield line
            if line == b"\r\n":
                return

    async def _line(self) -> bytes:
        while (end := self._buffer.find(b"\r\n")) < 0:
            await self._need()
        return self._take(end + 2)

    async def _exactly(self, size: int) -> AsyncIterator[bytes]:
        while size:
            if not self._buffer:
                await self._need()
            piece = self._take(min(size, len(self._buffer)))
            size -= len(piece)
            yield piece

    async def _need(self) -> None:
        if not await self._fill():
            raise ConnectionResetError("the connection ended in the middle of a message")

    async def _fill(self) -> bool:
        data = await self._reader.read(_READ)
        self._buffer += data
        return bool(data)

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken
