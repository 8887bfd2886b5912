"""One holder on this machine at a time, and none once it is dead."""

import asyncio
import fcntl
import os
import stat
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from workspace_server.concurrency import FileLock

PATIENCE = 30

OTHER_PROCESS = """
import asyncio, sys
from pathlib import Path
from workspace_server.concurrency import FileLock

async def main():
    async with FileLock(Path(sys.argv[1])):
        print("held", flush=True)
        sys.stdin.read()

asyncio.run(main())
"""

COUNTING_PROCESS = """
import asyncio, sys
from pathlib import Path
from workspace_server.concurrency import FileLock

async def main():
    counter = Path(sys.argv[2])
    for _ in range(20):
        async with FileLock(Path(sys.argv[1])):
            counter.write_text(str(int(counter.read_text()) + 1))

FileLock.POLL_SECONDS = 0.001
asyncio.run(main())
"""


@asynccontextmanager
async def other_process(*argv: str) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(*argv, stdin=PIPE, stdout=PIPE)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate(b"")


@asynccontextmanager
async def held_elsewhere(path: Path) -> AsyncIterator[Process]:
    async with other_process(sys.executable, "-c", OTHER_PROCESS, str(path)) as process:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"held\n"
        yield process


class RefusedLock(FileLock):
    """A lock that tells when it was refused."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.refused = asyncio.Event()

    def _try(self) -> bool:
        got = super()._try()
        if not got:
            self.refused.set()
        return got


async def taken(lock: FileLock) -> None:
    async with lock:
        pass


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def is_free(path: Path) -> bool:
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lock"


async def test_a_held_lock_is_not_free(path: Path) -> None:
    async with FileLock(path):
        assert not is_free(path)


async def test_a_lock_is_free_afterwards(path: Path) -> None:
    async with FileLock(path):
        pass

    assert is_free(path)


async def test_a_lock_is_free_after_a_failure_in_its_block(path: Path) -> None:
    with pytest.raises(ValueError, match="no"):
        async with FileLock(path):
            raise ValueError("no")

    assert is_free(path)


async def test_who_waits_gets_it_when_the_other_process_lets_go(path: Path) -> None:
    async with held_elsewhere(path) as process, asyncio.timeout(PATIENCE):
        lock = RefusedLock(path)
        waiting = asyncio.create_task(taken(lock))
        await lock.refused.wait()
        assert process.stdin is not None
        process.stdin.close()
        await waiting

    assert is_free(path)


async def test_who_waits_gets_it_when_the_other_process_is_killed(path: Path) -> None:
    async with held_elsewhere(path) as process, asyncio.timeout(PATIENCE):
        lock = RefusedLock(path)
        waiting = asyncio.create_task(taken(lock))
        await lock.refused.wait()
        process.kill()
        await waiting

    assert is_free(path)


async def test_who_waits_gets_it_when_the_other_task_lets_go(path: Path) -> None:
    async with asyncio.timeout(PATIENCE):
        lock = RefusedLock(path)
        async with FileLock(path):
            waiting = asyncio.create_task(taken(lock))
            await lock.refused.wait()
        await waiting


async def test_who_stops_waiting_leaves_no_file_open(path: Path) -> None:
    async with FileLock(path):
        lock = RefusedLock(path)
        waiting = asyncio.create_task(taken(lock))
        await lock.refused.wait()
        waiting.cancel()
        await asyncio.wait([waiting])

        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(lock.fileno())


async def test_processes_that_take_turns_lose_no_count(path: Path, tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    argv = [sys.executable, "-c", COUNTING_PROCESS, str(path), str(counter)]
    async with other_process(*argv) as one, other_process(*argv) as other:
        codes = await asyncio.gather(one.wait(), other.wait())

    assert (codes, counter.read_text()) == ([0, 0], "40")


async def test_a_child_that_inherited_the_descriptor_keeps_the_lock(path: Path) -> None:
    async with FileLock(path) as lock:
        heir = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE, pass_fds=[lock.fileno()])
    kept = not is_free(path)
    await heir.communicate(b"")

    assert (kept, is_free(path)) == (True, True)


async def test_a_child_inherits_nothing_unless_told(path: Path) -> None:
    async with FileLock(path):
        stranger = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE, close_fds=False)
    free = is_free(path)
    await stranger.communicate(b"")

    assert free


async def test_the_lock_file_is_its_owners_only(path: Path) -> None:
    async with FileLock(path):
        assert mode(path) == 0o600


def test_a_link_in_the_lock_files_place_is_not_followed(path: Path, tmp_path: Path) -> None:
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic link"):
        asyncio.run(taken(FileLock(path)))

    assert not (tmp_path / "elsewhere").exists()
