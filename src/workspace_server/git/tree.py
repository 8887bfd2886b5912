"""The tree of a commit, as git lists it, and whether a folder on disk is exactly that."""

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

# A template is a Dockerfile, an adapter and a few files; the largest known has some dozens. The limits leave room for a
# vendored dependency tree, and keep a hostile one from filling the disk and from being hashed for minutes.
MAX_FILES = 20_000
MAX_BYTES = 512 * 1024 * 1024

_LINE = re.compile(rb"([0-7]{6}) (blob|commit) ([0-9a-f]{64}|[0-9a-f]{40}) +([0-9]+|-|BAD)\t(.+)", re.DOTALL)
# ``.git`` in every spelling that some file system takes for it, as git itself refuses them
_GIT_NAME = re.compile(rb"(\.git|git~1)[ .]*([:\\].*)?", re.IGNORECASE | re.DOTALL)
_HFS_IGNORES = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")
_MODULES = re.compile(rb"\.gitmodules[ .]*", re.IGNORECASE)

_FOLDER = 0o040755
_SUBMODULE = 0o160000
_CHUNK = 1024 * 1024


class UnusableTreeError(ValueError):
    """The commit's tree is one that is not checked out; the sentence says why."""


class MissingObjectError(Exception):
    """The tree names a file whose content is not in the store, or not readable there."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, link or submodule of a tree: what kind, the id of its content, and how many bytes that has."""

    kind: int
    id: str
    size: int


Tree = Mapping[bytes, Entry]
"""Every file by its path from the root, in git's order."""


def read_tree(listing: bytes) -> Tree:
    """Parse ``git ls-tree -r -l -z``.

    Raises UnusableTreeError for a tree that is too large or hostile, and MissingObjectError.
    """
    lines = listing.split(b"\0")
    if lines.pop() != b"" or len(lines) > MAX_FILES:
        raise UnusableTreeError(f"it has more than {MAX_FILES} files")
    tree: dict[bytes, Entry] = {}
    for line in lines:
        path, entry = _entry(line)
        if path in tree:
            raise UnusableTreeError(f"it has two files of the name {_shown(path)}")
        tree[path] = entry
    for folder in _folders(tree):
        if folder in tree:
            raise UnusableTreeError(f"it has both a file and a folder of the name {_shown(folder)}")
    if sum(entry.size for entry in tree.values()) > MAX_BYTES:
        raise UnusableTreeError(f"its files have more than {MAX_BYTES >> 20} MiB")
    return tree


def _entry(line: bytes) -> tuple[bytes, Entry]:
    match = _LINE.fullmatch(line)
    if match is None:
        raise UnusableTreeError("it has an entry that is no file")
    mode, _, object_id, size, path = match.groups()
    if size == b"BAD":  # what git prints for it, and ends with success
        raise MissingObjectError(f"the content of {_shown(path)} is missing")
    kind = int(mode, 8)
    if stat.S_ISREG(kind):
        kind = 0o100755 if kind & 0o100 else 0o100644  # the two that git knows; old tools wrote others
    for name in path.split(b"/"):
        if name in (b"", b".", b"..") or _is_git(name):
            raise UnusableTreeError(f"it has a file of the name {_shown(path)}, which git refuses to write")
        if stat.S_ISLNK(kind) and _MODULES.fullmatch(name):
            raise UnusableTreeError("its .gitmodules is a link, which git refuses to write")
    return path, Entry(kind, object_id.decode(), 0 if size == b"-" else int(size))


def _is_git(name: bytes) -> bool:
    visible = _HFS_IGNORES.sub("", name.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
    return _GIT_NAME.fullmatch(visible) is not None


def _shown(path: bytes) -> str:
    """A hostile name, safe to print."""
    return ascii(path.decode("utf-8", "backslashreplace")[:200])


def difference(root: Path, tree: Tree) -> str | None:
    """What distinguishes the folder from the tree, the first thing found; None when they are equal.

    Every path, kind, permission and content is compared, and nothing else may be there. Reads every byte, blocks.
    """
    try:
        return _difference(os.fsencode(root), tree)
    except OSError as error:  # it vanished under our eyes, or does not let itself be read
        return f"{error.filename!r} cannot be read: {error.strerror}"


def _difference(root: bytes, tree: Tree) -> str | None:
    expected: dict[bytes, Entry | None] = {b".": None, **tree, **dict.fromkeys(_folders(tree))}  # None: a folder
    for path, status in _found(root):
        if path not in expected:
            return f"{_shown(path)} is not in the commit"
        problem = _compare(os.path.join(root, path), status, expected.pop(path))  # noqa: PTH118 - bytes
        if problem:
            return f"{_shown(path)} {problem}"
    return f"{_shown(min(expected))} is missing" if expected else None


def _folders(tree: Tree) -> set[bytes]:
    folders: set[bytes] = set()
    for path in tree:
        parent = path.rpartition(b"/")[0]
        while parent and parent not in folders:
            folders.add(parent)
            parent = parent.rpartition(b"/")[0]
    return folders


def _found(root: bytes) -> Iterator[tuple[bytes, os.stat_result]]:
    """A folder (as ``.``) and everything below it, links not followed."""
    yield b".", os.lstat(root)
    waiting: list[bytes] = [b""]
    while waiting:
        folder = waiting.pop()
        with os.scandir(os.path.join(root, folder)) as entries:  # noqa: PTH118 - bytes
            for entry in entries:
                path = folder + entry.name
                yield path, entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(path + b"/")


def _compare(path: bytes, status: os.stat_result, entry: Entry | None) -> str | None:
    wanted = _FOLDER if entry is None or entry.kind == _SUBMODULE else entry.kind  # git makes an empty folder of one
    if stat.S_ISLNK(wanted):
        if not stat.S_ISLNK(status.st_mode):
            return "is no link"
    elif status.st_mode != wanted:
        return f"has the mode {status.st_mode:o} instead of {wanted:o}"
    if entry is None or entry.kind == _SUBMODULE:
        return None
    if status.st_size != entry.size or _blob_id(path, status, entry) != entry.id:
        return "has another content"
    return None


def _blob_id(path: bytes, status: os.stat_result, entry: Entry) -> str:
    """The id git would give to a file's or a link's content."""
    digest = hashlib.new("sha1" if len(entry.id) == 40 else "sha256", usedforsecurity=False)  # noqa: PLR2004
    digest.update(b"blob %d\0" % status.st_size)
    if stat.S_ISLNK(status.st_mode):
        digest.update(os.readlink(path))  # noqa: PTH115 - bytes
        return digest.hexdigest()
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123 - O_NOFOLLOW
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
