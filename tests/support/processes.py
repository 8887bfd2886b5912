"""Processes that are gone, whole group and all, when their context is left, also when it is left by a cancellation."""

import asyncio
import os
import signal
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeVar

T = TypeVar("T")


@asynccontextmanager
async def running(
    *argv: str,
    env: Mapping[str, str],
    cwd: Path | None = None,
    stdin: int | IO[bytes] = DEVNULL,
    stdout: int | IO[bytes] = DEVNULL,
    stderr: int | IO[bytes] = DEVNULL,
) -> AsyncIterator[Process]:
    """Start a program with exactly this environment; its process group is killed and reaped at the end."""
    start = asyncio.create_subprocess_exec(
        *argv, env=env, cwd=cwd, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True
    )
    process, cancelled = await _to_its_end(start)
    try:
        if cancelled:
            raise asyncio.CancelledError
        yield process
    finally:
        _, cancelled = await _to_its_end(_end(process))
        if cancelled:
            raise asyncio.CancelledError


async def _end(process: Process) -> None:
    if process.returncode is None:  # once reaped, the number may be somebody else's
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            while await pipe.read(1 << 20):  # asyncio lets go of a pipe at its end only
                pass
    if process.stdin is not None:
        process.stdin.close()
    await process.wait()


async def _to_its_end(work: Coroutine[Any, Any, T]) -> tuple[T, bool]:
    """Await work that must not be cancelled in the middle; return its result, and whether we were cancelled."""
    task = asyncio.ensure_future(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            cancelled = True
    return task.result(), cancelled
