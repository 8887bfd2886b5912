"""One pool of connections: no limit on their number, a limit on their time, errors in this program's words."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from support.engine_proxy import EngineProxy
from workspace_server.engine import Engine, EngineAddress
from workspace_server.engine.connection import Connection, json_lines, open_connection
from workspace_server.errors import DeadlineError, NotFoundError, SettingsError, UnavailableError

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def something_else(path: Path, answer: bytes) -> AsyncIterator[EngineAddress]:
    """A server that is no engine and answers everything in the same way."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_unix_server(serve, path):
        yield EngineAddress(url=f"unix://{path}", local_socket=True)


@pytest.fixture
async def connection(proxy: EngineProxy) -> AsyncIterator[Connection]:
    async with open_connection(EngineAddress(url=proxy.address, local_socket=True)) as opened:
        yield opened


async def test_opening_sends_nothing(tmp_path: Path) -> None:
    async with open_connection(EngineAddress(url=f"unix://{tmp_path}/away.sock", local_socket=True)):
        pass


async def test_an_engine_that_is_away_is_unavailable(tmp_path: Path) -> None:
    async with open_connection(EngineAddress(url=f"unix://{tmp_path}/away.sock", local_socket=True)) as connection:
        with pytest.raises(UnavailableError, match="does not answer") as caught:
            await connection.call("GET", "info", operation="say what it is")

    assert caught.value.code == "engine_unavailable"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 3\r\n\r\nhi\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{]",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"",
    ],
)
async def test_what_is_no_engine_is_unavailable_rather_than_missing_things(tmp_path: Path, answer: bytes) -> None:
    async with (
        something_else(tmp_path / "other.sock", answer) as address,
        open_connection(address) as connection,
    ):
        with pytest.raises(UnavailableError) as caught:
            await connection.call("GET", "containers/c/json", operation="look at the container c")

    assert caught.value.code == "engine_unavailable"


async def test_certificates_that_are_not_there_are_a_wrong_setting(tmp_path: Path) -> None:
    address = EngineAddress(url="tcp://127.0.0.1:2376", local_socket=False, tls=tmp_path / "none")

    with pytest.raises(SettingsError, match="none"):
        async with open_connection(address):
            pass


@pytest.mark.engine
async def test_a_call_has_a_time_limit(proxy: EngineProxy, connection: Connection) -> None:
    proxy.faults.hold("GET", "/info")

    with pytest.raises(DeadlineError, match="say what it is took longer") as caught:
        await connection.call("GET", "info", operation="say what it is", limit=0.05)
    assert caught.value.code == "engine_timeout"


@pytest.mark.engine
async def test_an_error_is_told_by_its_status(connection: Connection) -> None:
    with pytest.raises(NotFoundError, match="could not look at the image none"):
        await connection.call("GET", "images/none/json", operation="look at the image none")


@pytest.mark.engine
async def test_an_answer_that_is_cut_off_is_an_engine_that_does_not_answer(
    proxy: EngineProxy, connection: Connection
) -> None:
    proxy.faults.cut_off("GET", "/info", 100)

    with pytest.raises(UnavailableError, match="does not answer"):
        await connection.call("GET", "info", operation="say what it is")


@pytest.mark.engine
async def test_a_stream_that_is_cut_off_is_no_end(proxy: EngineProxy, connection: Connection) -> None:
    proxy.faults.cut_off("GET", "/info", 100)

    with pytest.raises(UnavailableError, match="does not answer"):
        async with connection.stream("GET", "info", operation="say what it is") as body:
            await body.read()


@pytest.mark.engine
async def test_more_calls_wait_at_once_than_any_default_pool_has_connections(
    proxy: EngineProxy, proxied: Engine
) -> None:
    await proxied.info()
    held = proxy.faults.hold("GET", "/images/.*")
    waiting = [asyncio.create_task(proxied.image("none")) for _ in range(150)]
    while held.waiting < len(waiting):
        held.arrived.clear()
        await held.arrived.wait()

    await proxied.info()

    held.release()
    assert await asyncio.gather(*waiting) == [None] * 150


@pytest.mark.engine
async def test_after_the_engine_was_away_its_version_is_asked_again(proxy: EngineProxy, connection: Connection) -> None:
    await connection.call("GET", "info", operation="say what it is")
    await proxy.down()
    with pytest.raises(UnavailableError):
        await connection.call("GET", "info", operation="say what it is")
    await proxy.up()

    await connection.call("GET", "info", operation="say what it is")

    assert proxy.count("GET", "/version") == 2


@pytest.mark.parametrize("chunks", [[b'{"a": 1}\n{"b": 2}\n'], [b'{"a"', b': 1}\n\n{"b":', b" 2}"]])
async def test_json_lines_do_not_depend_on_how_they_arrive(chunks: list[bytes]) -> None:
    async def body() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    assert [line async for line in json_lines(body())] == [{"a": 1}, {"b": 2}]
