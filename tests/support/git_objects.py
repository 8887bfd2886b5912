"""Git objects written byte by byte, so that a test can make any tree, also those git itself refuses to make."""

import hashlib
import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

ObjectFormat = Literal["sha1", "sha256"]

REGULAR = 0o100644
EXECUTABLE = 0o100755
SYMLINK = 0o120000
SUBMODULE = 0o160000
_DIRECTORY = 0o40000

IDENTITY = "Template Author <author@example.invalid>"
FIRST_SECOND = 1_700_000_000  # of the first commit; every later one is a minute younger than the one before

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class File:
    """A file of a commit: its content (a link's target, a submodule's commit id) and its git mode."""

    content: str | bytes
    mode: int = REGULAR

    @property
    def data(self) -> bytes:
        """The content as bytes; text is UTF-8."""
        return self.content.encode() if isinstance(self.content, str) else self.content


FileMap = Mapping[str, str | bytes | File]
Edits = Mapping[str, str | bytes | File | None]


def executable(content: str | bytes) -> File:
    """Return a file that git checks out with mode 0755."""
    return File(content, EXECUTABLE)


def symlink(target: str) -> File:
    """Return a symbolic link; the target is not checked."""
    return File(target, SYMLINK)


def submodule(commit: str) -> File:
    """Return a link to a commit of another repository."""
    return File(commit, SUBMODULE)


def read_files(directory: Path) -> dict[str, File]:
    """Return every file below a directory as git would add it: executable bit and links kept, no empty folders."""
    files: dict[str, File] = {}
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if "__pycache__" in path.parts or name.split("/")[0] == ".git":
            continue
        if path.is_symlink():
            files[name] = symlink(os.readlink(path))  # noqa: PTH115 - Path would drop a leading "./"
        elif path.is_file():
            files[name] = File(path.read_bytes(), EXECUTABLE if path.stat().st_mode & 0o100 else REGULAR)
    return files


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a tree: mode and object id."""

    mode: int
    id: str


Node = Entry | dict[str, "Node"]


@dataclass(frozen=True, slots=True)
class ObjectStore:
    """The loose objects of one repository. Every method blocks and is repeatable: an object is written once."""

    directory: Path
    object_format: ObjectFormat

    @classmethod
    def of(cls, git_directory: Path, object_format: ObjectFormat) -> Self:
        """Return the store of a repository's git directory."""
        return cls(git_directory / "objects", object_format)

    def blob(self, data: bytes) -> str:
        """Write a blob and return its id."""
        return self._write("blob", data)

    def entry(self, file: str | bytes | File) -> Entry:
        """Write a file's content and return its line in a tree."""
        file = file if isinstance(file, File) else File(file)
        if file.mode == SUBMODULE:
            return Entry(SUBMODULE, file.data.decode())
        return Entry(file.mode, self.blob(file.data))

    def tree(self, entries: Mapping[str, Entry]) -> str:
        """Write the trees of a flat map of paths and return the root's id. Any name is taken, also ``.git``."""
        root: dict[str, Node] = {}
        for path, entry in entries.items():
            *folders, name = path.split("/")
            node = root
            for folder in folders:
                child = node.setdefault(folder, {})
                assert isinstance(child, dict), f"{path} lies below a file"
                node = child
            node[name] = entry
        return self._tree(root)

    def commit(self, *, tree: str, parents: tuple[str, ...], message: str, second: int) -> str:
        """Write a commit by the one fixed identity and return its id."""
        lines = [f"tree {tree}", *(f"parent {parent}" for parent in parents)]
        lines += [f"{who} {IDENTITY} {second} +0000" for who in ("author", "committer")]
        return self._write("commit", "\n".join([*lines, "", message, ""]).encode())

    def tag(self, *, target: str, name: str, second: int) -> str:
        """Write an annotated tag of a commit and return its id."""
        lines = [f"object {target}", "type commit", f"tag {name}", f"tagger {IDENTITY} {second} +0000", "", name, ""]
        return self._write("tag", "\n".join(lines).encode())

    def _tree(self, node: Mapping[str, Node]) -> str:
        lines: list[tuple[bytes, bytes]] = []
        for name, child in node.items():
            entry = child if isinstance(child, Entry) else Entry(_DIRECTORY, self._tree(child))
            raw = name.encode("utf-8", "surrogateescape")
            # git sorts a folder as if its name ended with a slash
            order = raw + b"/" if entry.mode == _DIRECTORY else raw
            lines.append((order, b"%o %s\0" % (entry.mode, raw) + bytes.fromhex(entry.id)))
        return self._write("tree", b"".join(line for _, line in sorted(lines)))

    def _write(self, kind: str, data: bytes) -> str:
        header = f"{kind} {len(data)}\0".encode()
        digest = hashlib.new(self.object_format, header, usedforsecurity=False)
        digest.update(data)
        name = digest.hexdigest()
        path = self.directory / name[:2] / name[2:]
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            pack = zlib.compressobj(1)
            with path.open("wb") as out:
                out.write(pack.compress(header))
                for piece in _pieces(data):  # a blob may be a gigabyte: no second copy of it
                    out.write(pack.compress(piece))
                out.write(pack.flush())
        return name


def _pieces(data: bytes) -> Iterator[memoryview]:
    view = memoryview(data)
    return (view[start : start + _CHUNK] for start in range(0, len(view), _CHUNK))
