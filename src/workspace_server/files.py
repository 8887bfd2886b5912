"""Files that are private, and whole or absent; folders that are private."""

import errno
import os
import stat
from collections.abc import Collection
from pathlib import Path
from typing import BinaryIO

_PRIVATE = 0o700
_OTHERS_WRITE = 0o022


CACHE_MARKS = ("builds", "locks")
"""Folders by which the build cache is known to be one."""

NOT_OURS = "it is no folder of the user this server runs as"


def private_folder(folder: Path) -> None:
    """Make ``folder`` its user's alone, with mode 0700, whether or not it was there; missing parents are made, too.

    Raises OSError, with ``NOT_OURS`` as its text for a link, which would lead elsewhere, and for another user's folder.
    """
    folder.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise NotADirectoryError(errno.ENOTDIR, NOT_OURS, str(folder))
    _close(folder, status)


def private_place(place: Path, marks: Collection[str]) -> None:
    """Make a folder that the operator chose private: a new one, an empty one, one with a name of ``marks`` in it.

    It may be behind a link, or another user's, as a mounted one is. A folder with other things in it, such as ``/srv``,
    keeps its mode. Raises OSError, also for such a folder that others may write to, such as ``/tmp``.
    """
    place.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
    status = place.stat()
    names = {entry.name for entry in os.scandir(place)}
    if not status.st_mode & stat.S_ISVTX and (not names or not names.isdisjoint(marks)):
        _close(place, status)
    elif status.st_mode & _OTHERS_WRITE:
        raise PermissionError(errno.EACCES, "others may write to it, and it has other things in it", str(place))


def _close(folder: Path, status: os.stat_result) -> None:
    if stat.S_IMODE(status.st_mode) != _PRIVATE:
        folder.chmod(_PRIVATE)


def read_own(file: Path) -> bytes:
    """The content of a file. Raises OSError, also for a link, which would lead elsewhere."""
    with os.fdopen(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as opened:
        return opened.read()


def append_private(file: Path) -> BinaryIO:
    """The file, made with mode 0600 when it is missing, to append to, unbuffered. Raises OSError, also for a link."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(file, flags, 0o600), "ab", buffering=0)


def write_private(file: Path, text: str) -> None:
    """Write ``file`` whole or not at all, with mode 0600, and replace what was there."""
    staged = file.with_suffix(".new")
    staged.unlink(missing_ok=True)  # of a crash, or somebody's who would read along
    with os.fdopen(os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    staged.replace(file)
