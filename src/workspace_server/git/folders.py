"""The folder of one runtime in the cache: ours alone, locked, published by rename, cleaned up after any crash."""

import asyncio
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import structlog

from workspace_server.concurrency import Deadline, FileLock
from workspace_server.files import CACHE_MARKS, private_folder, private_place

READY = "ready"
NOTICE_SECONDS = 1.0  # of waiting for the lock, before it is said

_STAGING = "staging-"
_DISCARDED = "discarded-"


def prepare(cache: Path, folder: Path) -> None:
    """Make the cache and the runtime's folder in it ours alone. Raises OSError."""
    private_place(cache, CACHE_MARKS)
    private_folder(folder)


@asynccontextmanager
async def locked(path: Path, deadline: Deadline, about: structlog.stdlib.BoundLogger) -> AsyncIterator[FileLock]:
    """Hold the lock of a runtime's folder; whoever has to wait for long says so. Raises DeadlineError."""
    lock = FileLock(path)
    notice = asyncio.get_running_loop().call_later(
        NOTICE_SECONDS, about.info, "local-build: waiting for another checkout of this runtime"
    )
    async with AsyncExitStack() as held:
        try:
            async with deadline.limit("waiting for another checkout of the runtime"):
                await held.enter_async_context(lock)
        finally:
            notice.cancel()
        yield lock


def new_staging(folder: Path) -> Path:
    """A new folder for work that is not to be seen before it is done."""
    return Path(tempfile.mkdtemp(prefix=_STAGING, dir=folder))


def publish(staging: Path, place: Path) -> None:
    """Let ``place``, where nothing is, be what was staged; the marker comes last."""
    staging.rename(place)
    (place / READY).touch(mode=0o600)


def is_published(place: Path) -> bool:
    """Whether something was published there to its end. A link would lead out of the cache."""
    return not place.is_symlink() and (place / READY).is_file()


def mark_used(place: Path) -> None:
    """What was published there is used now: the marker's time is its last use."""
    (place / READY).touch()


async def sweep(folder: Path) -> None:
    """Remove what interrupted work left. Under the lock."""
    for left in _left(folder, _STAGING):
        await discard(left)
    for left in _left(folder, _DISCARDED):
        await asyncio.to_thread(_remove, left)


async def discard(path: Path) -> None:
    """Remove whatever is there, if anything. Under the lock.

    Its name is free at once; the rest is done in a thread, which goes on when the task is cancelled and the lock let
    go, and must not meet what takes the name next.
    """
    rubbish = _put_aside(path)
    if rubbish is not None:
        await asyncio.to_thread(_remove, rubbish)


def _left(folder: Path, prefix: str) -> list[Path]:
    return list(folder.glob(f"{prefix}*"))


def _put_aside(path: Path) -> Path | None:
    if not os.path.lexists(path):
        return None
    return path.rename(path.with_name(f"{_DISCARDED}{secrets.token_hex(8)}"))


def _remove(path: Path) -> None:
    """Remove a file, a link or a folder, also one without permissions. What resists is left for the next sweep."""
    with suppress(OSError):
        if path.is_symlink() or not path.is_dir():
            path.unlink()
            return
        path.chmod(0o700)
        for parent, folders, _ in os.walk(path):
            for folder in folders:
                if not (inner := Path(parent, folder)).is_symlink():
                    inner.chmod(0o700)
        shutil.rmtree(path)
