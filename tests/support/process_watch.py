"""Every process that comes from another one, with its arguments and its environment, as the kernel shows them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_PAUSE_SECONDS = 0.002
_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Seen:
    """A process at one moment: a program that replaces itself by another one is seen twice."""

    pid: int
    group: int
    argv: tuple[str, ...]
    environment: bytes

    @property
    def variables(self) -> dict[str, str]:
        """The environment by name."""
        pairs = self.environment.decode("utf-8", "surrogateescape").split("\0")
        return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


class ProcessWatch:
    """Looks some hundred times a second. The watched process itself is not among what was seen."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._own_argv = _argv(root)
        self._strangers: set[int] = set()
        self._descendants: set[int] = set()
        self._seen: dict[Seen, None] = {}

    @property
    def seen(self) -> list[Seen]:
        """What was seen so far, in order."""
        return list(self._seen)

    def look(self) -> None:
        """Look once."""
        present = {int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()}
        self._strangers &= present
        self._descendants &= present
        unknown = sorted(present - self._strangers - self._descendants - {self._root})
        for pid in unknown:  # mostly, but not always, older ones first
            self._place(pid)
        for pid in sorted(self._descendants):
            with suppress(OSError):
                self._note(pid)

    def _place(self, pid: int) -> None:
        """Tell whether a new process comes from the watched one: one whose parents have ended no longer does."""
        line, climbed = pid, {pid}
        while line != self._root and line not in self._descendants:
            with suppress(OSError):
                line = _status(line)[0]
                if line > 1 and line not in climbed:
                    climbed.add(line)
                    continue
            self._strangers.add(pid)
            return
        self._descendants.add(pid)

    def _note(self, pid: int) -> None:
        argv = _argv(pid)
        # A child that has not started its program yet is still the watched process, in the kernel's eyes too.
        if argv and argv != self._own_argv:
            environment = (_PROC / str(pid) / "environ").read_bytes()
            self._seen[Seen(pid, _status(pid)[1], argv, environment)] = None


def _argv(pid: int) -> tuple[str, ...]:
    text = (_PROC / str(pid) / "cmdline").read_bytes().decode("utf-8", "surrogateescape")
    return tuple(text.removesuffix("\0").split("\0")) if text else ()


def _status(pid: int) -> tuple[int, int]:
    """The parent, and the process group."""
    fields = (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    return int(fields[1]), int(fields[2])


@contextmanager
def watched(root: int) -> Iterator[ProcessWatch]:
    """Watch a process and what it starts, in a thread, until the context is left."""
    watch = ProcessWatch(root)
    over = threading.Event()

    def look() -> None:
        while not over.wait(_PAUSE_SECONDS):
            watch.look()

    thread = threading.Thread(target=look, name=f"watch {root}")
    thread.start()
    try:
        yield watch
    finally:
        over.set()
        thread.join()
