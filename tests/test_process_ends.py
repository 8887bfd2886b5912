"""However ``run`` is left, nothing that it started goes on.

Every process of these tests holds the same end of a pipe. The other end is at its end of file once none of them is
left, whoever started it and whoever is its parent by then.
"""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator

import pytest

from workspace_server.concurrency import Deadline
from workspace_server.errors import DeadlineError
from workspace_server.process import run

ENV = {"PATH": os.defpath}
PATIENCE = 30

ALONE = 'echo up >"/dev/fd/$1"; exec sleep 600'
WITH_A_CHILD = '(echo up >"/dev/fd/$1"; exec sleep 600) & wait'
WITH_A_TALKING_CHILD = "(echo hello; exec sleep 600) & wait"
LEAVING_A_CHILD = '(exec sleep 600) >/dev/null 2>&1 & echo up >"/dev/fd/$1"'
LEAVING_ITS_GROUP = """setsid sh -c 'echo $$ >"/dev/fd/$0"; exec sleep 600' "$1" & wait"""
STUBBORN = 'trap "" TERM INT HUP; echo up >"/dev/fd/$1"; while :; do sleep 600; done'

SERVER = """
import asyncio, os, sys
from workspace_server.concurrency import Deadline
from workspace_server.process import run

async def main():
    script, fd, kin = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "with children"
    os.set_inheritable(fd, False)
    argv = ["sh", "-c", script, "sh", str(fd)]
    await run(argv, env={"PATH": os.defpath}, deadline=Deadline(600), pass_fds=[fd], with_children=kin)

asyncio.run(main())
"""


class Held:
    """A pipe whose writing end the processes under test hold."""

    def __init__(self, reader: asyncio.StreamReader, writer: int) -> None:
        self._reader = reader
        self.writer = writer

    async def said(self) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await self._reader.readline()

    async def said_up(self) -> None:
        assert await self.said() == b"up\n"

    async def released(self) -> bool:
        """Whether everybody lets go of the pipe."""
        os.close(self.writer)
        self.writer = -1
        try:
            async with asyncio.timeout(PATIENCE):
                await self._reader.read()
        except TimeoutError:
            return False
        return True


@pytest.fixture
async def held() -> AsyncIterator[Held]:
    reading, writing = os.pipe()
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reading, "rb", buffering=0)
    )
    pipe = Held(reader, writing)
    yield pipe
    transport.close()
    if pipe.writer != -1:
        os.close(pipe.writer)


def start(script: str, held: Held, seconds: float = 600) -> asyncio.Task[object]:
    argv = ["sh", "-c", script, "sh", str(held.writer)]
    return asyncio.create_task(run(argv, env=ENV, deadline=Deadline(seconds), pass_fds=[held.writer]))


@pytest.mark.parametrize("script", [ALONE, WITH_A_CHILD, STUBBORN], ids=["alone", "with a child", "stubborn"])
async def test_after_a_cancel_the_whole_group_is_gone(held: Held, script: str) -> None:
    running = start(script, held)
    await held.said_up()
    running.cancel()
    await asyncio.wait([running])

    assert (running.cancelled(), await held.released()) == (True, True)


@pytest.mark.parametrize("turns", range(12))
async def test_after_a_cancel_while_it_starts_the_whole_group_is_gone(held: Held, turns: int) -> None:
    running = start(WITH_A_CHILD, held)
    for _ in range(turns):
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait([running], timeout=PATIENCE)

    assert (running.done() and running.cancelled(), await held.released()) == (True, True)


@pytest.mark.parametrize("script", [ALONE, WITH_A_CHILD, STUBBORN], ids=["alone", "with a child", "stubborn"])
async def test_after_a_deadline_the_whole_group_is_gone(held: Held, script: str) -> None:
    with pytest.raises(DeadlineError):
        await start(script, held, 0.3)

    assert await held.released()


async def test_a_deadline_names_the_program_and_the_limit() -> None:
    with pytest.raises(DeadlineError) as caught:
        await run(["sleep", "600"], env=ENV, deadline=Deadline(0.1))

    assert caught.value.message == "sleep 600 took longer than 0.1 s"


async def test_what_a_program_leaves_behind_is_gone_when_it_ends(held: Held) -> None:
    running = start(LEAVING_A_CHILD, held)
    await held.said_up()
    await running

    assert await held.released()


async def test_after_a_line_that_nobody_can_take_the_whole_group_is_gone(held: Held) -> None:
    def refuse(line: bytes) -> None:
        raise ValueError(line)

    argv = ["sh", "-c", WITH_A_TALKING_CHILD, "sh", str(held.writer)]
    with pytest.raises(ValueError, match="hello"):
        await run(argv, env=ENV, deadline=Deadline(600), pass_fds=[held.writer], on_line=refuse)

    assert await held.released()


@pytest.mark.skipif(shutil.which("setsid") is None, reason="nobody can leave its group: util-linux is missing")
@pytest.mark.parametrize("data", [None, bytes(8 * 1024 * 1024)], ids=["no input", "input"])
async def test_who_left_the_group_and_holds_its_pipes_keeps_nobody_waiting(held: Held, data: bytes | None) -> None:
    argv = ["sh", "-c", LEAVING_ITS_GROUP, "sh", str(held.writer)]
    work = run(argv, env=ENV, deadline=Deadline(600), pass_fds=[held.writer], input=data)
    running = asyncio.create_task(work)
    leaver = int(await held.said())
    running.cancel()
    try:
        await asyncio.wait([running], timeout=PATIENCE)

        assert running.done()
    finally:
        os.kill(leaver, signal.SIGKILL)


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="nothing here can arrange it: util-linux is missing")
@pytest.mark.parametrize(
    ("script", "whom"),
    [(ALONE, "alone"), (ALONE, "with children"), (WITH_A_CHILD, "with children"), (STUBBORN, "with children")],
)
async def test_a_program_dies_with_a_server_that_is_killed(held: Held, script: str, whom: str) -> None:
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVER, script, str(held.writer), whom, env=ENV, pass_fds=[held.writer]
    )
    await held.said_up()
    server.kill()

    assert (await server.wait(), await held.released()) == (-signal.SIGKILL, True)
