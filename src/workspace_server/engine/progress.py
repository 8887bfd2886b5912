"""What a builder prints, decoded into steps while it comes. Pure: lines in, steps and text out.

A decoder is fed every line a builder's client prints, stdout and stderr alike, and never raises, whatever it is fed.

How steps are counted: the classic builder numbers all instructions of a Dockerfile. BuildKit numbers the instructions
that change files, from 1 in every stage (``[build 2/3]``); here the stages are laid end to end in the order in which
they appear, so that every step has a number of its own and ``of`` counts all stages known so far. Of a Dockerfile with
one stage, which is the usual case, both are the builder's own numbers.
"""

import re
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from workspace_server.model.build import BuildStep
from workspace_server.text import plain, shortened

TAIL_LINES = 50

LONGEST_LINE = 500
"""Characters of a line in an error. The log has the whole line."""
_LONGEST_NAME = 1000

_COLOUR = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
_STEP = re.compile(r"\[(?:(?P<stage>[^\]]*?) )?(?P<n>\d{1,6})/(?P<of>\d{1,6})\] (?P<name>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """The step, or the builder's own work (``step`` None), that ended in an error."""

    name: str
    error: str
    step: BuildStep | None
    tail: Sequence[str]


class Decoder(ABC):
    """One builder's output. ``on_text`` gets it as lines for people, without their newlines."""

    def __init__(self, on_text: Callable[[bytes], None]) -> None:
        self._on_text = on_text
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self.trouble: Trouble | None = None
        self.container: str | None = None
        """The container in which a step runs, where the builder tells."""
        self.last_word = ""
        """The last line the client itself wrote, which is where it says why it gave up."""

    @abstractmethod
    def feed(self, line: bytes) -> list[BuildStep]:
        """Take one line, without its newline, and return the steps that changed by it."""

    def close(self, *, ok: bool) -> list[BuildStep]:
        """The client has ended, well or not: return the steps that changed by that."""
        return []

    @property
    @abstractmethod
    def working(self) -> bool:
        """Whether a step began and did not end. When the client has ended, its engine went away."""

    @property
    def tail(self) -> Sequence[str]:
        """The last lines of the output: of what failed when it wrote any, else of everything; long ones cut."""
        lines = (self.trouble.tail if self.trouble else ()) or tuple(self._tail)
        return tuple(shortened(line, LONGEST_LINE) for line in lines)

    def _write(self, text: str) -> None:
        self._tail.append(text)
        self._on_text(text.encode(errors="replace"))


class Numbering:
    """Numbers for BuildKit's steps across all stages."""

    def __init__(self) -> None:
        self._stages: dict[str, int] = {}

    def place(self, vertex: str) -> tuple[int, str] | None:
        """A step's number and its instruction; None for what is no instruction of the Dockerfile."""
        match = _STEP.fullmatch(vertex)
        if match is None:
            return None
        stage, n = match["stage"] or "", int(match["n"])
        # The engine shares a FROM between builds that run side by side, under the name it has in the first of them.
        if n > 1 or stage not in self._stages:
            self._stages[stage] = int(match["of"])
        before = 0
        for name, count in self._stages.items():
            if name == stage:
                break
            before += count
        return before + n, step_name(match["name"])

    @property
    def total(self) -> int:
        """The number of steps of all stages seen so far."""
        return sum(self._stages.values())


@dataclass(slots=True, kw_only=True)
class Vertex:
    """One piece of BuildKit's work, with the number it has in the text."""

    number: int
    name: str
    place: tuple[int, str] | None
    began: bool = False
    ended: bool = False
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL_LINES))


class VertexDecoder(Decoder):
    """What both forms of BuildKit's output have in common: vertices that begin, write, and end."""

    def __init__(self, on_text: Callable[[bytes], None]) -> None:
        super().__init__(on_text)
        self._numbering = Numbering()
        self._vertices: dict[str, Vertex] = {}

    @property
    def working(self) -> bool:
        """Whether a step began and did not end."""
        return any(vertex.place and vertex.began and not vertex.ended for vertex in self._vertices.values())

    def _note_client(self, text: str) -> None:
        """Remember what the client says itself, its ``ERROR:`` rather than the hints that may follow it."""
        if text.startswith("ERROR: ") or (text.strip() and not self.last_word.startswith("ERROR: ")):
            self.last_word = text

    def _vertex(self, key: str, name: str) -> Vertex:
        """The vertex of that key, new or known. The first one of a stage makes the stage known."""
        vertex = self._vertices.get(key)
        if vertex is None:
            place = self._numbering.place(name)
            vertex = self._vertices[key] = Vertex(number=len(self._vertices) + 1, name=name, place=place)
        return vertex

    def _step(
        self, vertex: Vertex, *, cached: bool = False, seconds: float | None = None, failed: bool = False
    ) -> BuildStep | None:
        if vertex.place is None:
            return None
        n, name = vertex.place
        total = max(n, self._numbering.total)
        return BuildStep(n=n, of=total, name=name, cached=cached, seconds=seconds, failed=failed)

    def _begin(self, vertex: Vertex) -> list[BuildStep]:
        vertex.began = True
        return _present(self._step(vertex))

    def _end(
        self, vertex: Vertex, *, cached: bool = False, seconds: float | None = None, error: str | None = None
    ) -> list[BuildStep]:
        if vertex.ended and error is None:
            return []
        vertex.began = vertex.ended = True
        step = self._step(vertex, cached=cached, seconds=seconds, failed=error is not None)
        # Of several failures the first one counts; of one step's, its last: a program may print what looks like one.
        if error is not None and (self.trouble is None or self.trouble.name == vertex.name):
            self.trouble = Trouble(name=vertex.name, error=error, step=step, tail=tuple(vertex.tail))
        return _present(step)


def readable(line: bytes) -> str:
    """A line as text: as a terminal shows the end of a progress bar, and without anything that it would obey."""
    shown = _COLOUR.sub("", line.decode(errors="replace"))  # first: a colour may follow the carriage return
    return plain(shown.rstrip("\r").rpartition("\r")[2])


def step_name(text: str) -> str:
    """An instruction as it is shown."""
    return shortened(plain(text), _LONGEST_NAME)


def _present(step: BuildStep | None) -> list[BuildStep]:
    return [] if step is None else [step]
