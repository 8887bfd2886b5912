"""The port in front of another one."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from support.tcp_relay import TcpRelay, tcp_relay


@dataclass(frozen=True)
class Line:
    """A client's connection to a server that repeats every line, through the relay."""

    relay: TcpRelay
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def says(self, line: bytes) -> bytes:
        self.writer.write(line)
        return await self.reader.readline()


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    async def repeat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while said := await reader.readline():
            writer.write(said)
        writer.close()

    server = await asyncio.start_server(repeat, "127.0.0.1", 0)
    async with tcp_relay(server.sockets[0].getsockname()[1]) as relay:
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        yield Line(relay, reader, writer)
        writer.close()
    server.close()
    await server.wait_closed()


async def test_what_is_said_is_passed_on_both_ways(line: Line) -> None:
    assert await line.says(b"hello\n") == b"hello\n"


async def test_a_cut_ends_the_connections_and_refuses_others_until_it_is_up_again(line: Line) -> None:
    await line.says(b"hello\n")
    await line.relay.cut()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", line.relay.port)
    assert await line.reader.read() == b""
    await line.relay.up()
    again = await asyncio.open_connection("127.0.0.1", line.relay.port)
    again[1].close()

    assert line.relay.cut_off == 1


async def test_what_is_said_in_a_silence_is_heard_after_it(line: Line) -> None:
    line.relay.fall_silent()
    heard = asyncio.create_task(line.says(b"hello\n"))
    done, _ = await asyncio.wait([heard], timeout=0.1)
    line.relay.speak()

    assert (done, await heard, line.relay.held_up) == (set(), b"hello\n", 1)
