"""What fetching keeps in the cache, to be shown and to be removed: checkouts and object stores."""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

import structlog

from workspace_server.concurrency import Deadline
from workspace_server.errors import ConflictError
from workspace_server.git.folders import READY, discard, is_published, locked

log = structlog.get_logger(__name__)

_LOCK_SECONDS = 60
_STORE = "git-"


class HoldingKind(StrEnum):
    """What is kept."""

    CHECKOUT = "checkout"
    OBJECTS = "objects"


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """A checkout or an object store of one runtime; ``commit`` of a checkout."""

    kind: HoldingKind
    runtime: str
    path: Path
    commit: str | None
    bytes: int
    used_at: datetime


def holdings(cache: Path) -> list[Holding]:
    """Everything that fetching keeps below ``cache``. Reads the whole cache: call it in a thread."""
    return [holding for folder in _folders(cache) for holding in _of_runtime(folder)]


async def remove_holding(holding: Holding) -> None:
    """Remove it, under the lock of its runtime.

    Raises DeadlineError while somebody fetches, ConflictError when it was used since it was looked at.
    """
    about = log.bind(runtime=holding.runtime)
    async with locked(holding.path.parent / "lock", Deadline(_LOCK_SECONDS), about):
        with suppress(FileNotFoundError):
            if _used_at(holding.kind, holding.path) != holding.used_at:
                raise ConflictError("used meanwhile", code="in_use")
            await discard(holding.path)


def _folders(cache: Path) -> Iterator[Path]:
    """The runtimes' folders: those with a lock of fetching in them."""
    try:
        entries = sorted(cache.iterdir())
    except FileNotFoundError:
        return
    yield from (entry for entry in entries if not entry.is_symlink() and (entry / "lock").is_file())


def _of_runtime(folder: Path) -> Iterator[Holding]:
    for path in sorted(folder.iterdir()):
        with suppress(FileNotFoundError):  # removed meanwhile
            if path.name.startswith(_STORE) and not path.is_symlink():
                yield _holding(HoldingKind.OBJECTS, folder, path)
            elif is_published(path):
                yield _holding(HoldingKind.CHECKOUT, folder, path)


def _holding(kind: HoldingKind, folder: Path, path: Path) -> Holding:
    return Holding(
        kind=kind,
        runtime=folder.name,
        path=path,
        commit=path.name if kind is HoldingKind.CHECKOUT else None,
        bytes=tree_bytes(path),
        used_at=_used_at(kind, path),
    )


def _used_at(kind: HoldingKind, path: Path) -> datetime:
    used = path / READY if kind is HoldingKind.CHECKOUT else path
    return datetime.fromtimestamp(used.stat().st_mtime, UTC)


def tree_bytes(path: Path) -> int:
    """The sizes of all files below ``path``, links not followed."""
    total = 0
    for parent, _, files in os.walk(path):
        for name in files:
            try:
                total += Path(parent, name).lstat().st_size
            except FileNotFoundError:  # removed meanwhile
                continue
    return total
