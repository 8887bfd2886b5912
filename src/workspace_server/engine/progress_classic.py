"""The classic builder's form: ``Step 2/7 : RUN …``, `` ---> Using cache``, `` ---> 0e1efd2550af``."""

import re
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from workspace_server.engine.progress import TAIL_LINES, Decoder, Trouble, readable, step_name
from workspace_server.model.build import BuildStep

_STEP = re.compile(r"Step (?P<n>\d{1,6})/(?P<of>\d{1,6}) : (?P<name>.*)", re.DOTALL)
_CACHED = " ---> Using cache"
_CONTAINER = re.compile(r" ---> Running in (?P<id>[0-9a-f]{12,64})")
_COMMAND = re.compile(r"The command '.*' returned a non-zero code: \d+", re.DOTALL)
_CLIENT = ("DEPRECATED:", "            ", "Sending build context ", "Removing intermediate container ", " ---> ")


class ClassicDecoder(Decoder):
    """``DOCKER_BUILDKIT=0 docker build``. It prints no times, so they are taken by ``clock`` as the lines come.

    A program in a step can print lines that look like the builder's own; one that looks like a new step is believed
    only if it is the next one. The builder makes a last step of each of the command line's ``labels``: they are not the
    Dockerfile's, and not counted.
    """

    def __init__(
        self, on_text: Callable[[bytes], None], *, labels: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(on_text)
        self._labels = labels
        self._stamping = False
        self._clock = clock
        self._began = 0.0
        self._current: BuildStep | None = None
        self._step_tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._command_failed = False

    @property
    def working(self) -> bool:
        """Whether a step began and did not end."""
        return self._current is not None or self._stamping

    def feed(self, line: bytes) -> list[BuildStep]:
        """Take one line. It is already a line for people, but for the colours."""
        text = readable(line)
        self._write(text)
        if (match := _STEP.fullmatch(text)) is not None:
            n, of = int(match["n"]), int(match["of"]) - self._labels
            if self._is_next(n, of):
                return self._begin(BuildStep(n=n, of=of, name=step_name(match["name"])))
        if text == _CACHED and self._current is not None:
            self._current = replace(self._current, cached=True)
        elif (match := _CONTAINER.fullmatch(text)) is not None:
            self.container = match["id"]
        elif _COMMAND.fullmatch(text):
            # stdout and stderr come side by side: the step's own last lines may follow this one.
            self.last_word, self._command_failed = text, True
        elif text.strip() and not text.startswith(_CLIENT):
            self._step_tail.append(text)
            self.last_word = self.last_word if self._command_failed else text
        return []

    def close(self, *, ok: bool) -> list[BuildStep]:
        """End the last step, well or not."""
        self._stamping = self._stamping and not ok
        if ok or self._current is None:
            return self._ended()
        step = replace(self._current, seconds=self._seconds(), failed=True)
        tail = [line for line in self._step_tail if line != self.last_word]
        self.trouble = Trouble(name=step.name, error=self.last_word, step=step, tail=tuple(tail))
        return [step]

    def _is_next(self, n: int, of: int) -> bool:
        return n == 1 if self._current is None else (n, of) == (self._current.n + 1, self._current.of)

    def _begin(self, step: BuildStep) -> list[BuildStep]:
        ended, self.container = self._ended(), None
        if step.n > step.of:
            self._stamping = True  # the first label
            return ended
        self._current, self._began = step, self._clock()
        self._step_tail.clear()
        return [*ended, step]

    def _ended(self) -> list[BuildStep]:
        if self._current is None:
            return []
        step, self._current = replace(self._current, seconds=self._seconds()), None
        return [step]

    def _seconds(self) -> float:
        return round(self._clock() - self._began, 3)
