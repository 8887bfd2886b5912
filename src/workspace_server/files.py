"""Files that are private, and whole or absent; folders that are private."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

_PRIVATE = 0o700


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


def private_place(place: Path) -> None:
    """The same for a folder that the operator chose: it may be behind a link, or another user's, as a mounted one is.

    Raises OSError.
    """
    place.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
    _close(place, place.stat())


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
