"""The only door to subprocesses: own process group, closed stdin, both pipes drained, a deadline, no surprises.

A child sees exactly the environment it is given. It dies with this process where the kernel can arrange that, and
whatever way ``run`` is left, its whole process group is gone afterwards.
"""

import asyncio
import os
import shutil
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from workspace_server.concurrency import Deadline, unbroken
from workspace_server.errors import UnavailableError

_OUTPUT_LIMIT = 16 * 1024 * 1024
_LINE_LIMIT = 1024 * 1024

# The kernel's signal at our death reaches the program alone, not what the program started. This shell stands between
# us and the program, is the one that gets the signal, and takes its whole group along. What it unsets, shells add.
_KEEPER = 'unset PWD OLDPWD SHLVL; trap "kill -KILL 0" TERM; "$@" & wait "$!"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much a program, and each that it starts, may take: bytes of its largest file, and of its memory.

    Where util-linux's prlimit can arrange that. A larger file ends it by SIGXFSZ, more memory is refused to it.
    Whoever writes more than the 16 MiB that are kept of its output is ended, too.
    """

    file_bytes: int
    memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """How a process ended: its exit code (negative: the signal), and what it wrote, at most the first 16 MiB each.

    ``cut``: it was ended because it wrote more.
    """

    argv: Sequence[str]
    returncode: int
    stdout: bytes
    stderr: bytes
    cut: bool = False

    @property
    def ok(self) -> bool:
        """Whether the exit code was 0."""
        return self.returncode == 0

    @property
    def complaint(self) -> str:
        """The last lines of stderr as text, for a log line."""
        return "\n".join(self.stderr.decode(errors="replace").strip().splitlines()[-20:])


async def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    deadline: Deadline,
    cwd: Path | None = None,
    input: bytes | None = None,  # noqa: A002 - subprocess.run's own name for it
    on_line: Callable[[bytes], None] | None = None,
    pass_fds: Sequence[int] = (),
    umask: int = -1,
    with_children: bool = False,
    bounds: Bounds | None = None,
) -> Completed:
    """Run a program to its end and return how it ended; a bad exit code is the caller's to judge.

    ``on_line`` is called with every line of stdout and stderr as it comes (without its newline); the lines are then
    not kept. ``umask`` is the child's, where ours must not decide. ``with_children``: what the program starts dies with
    this process as well; it costs a shell, an exit by signal n is the exit code 128 + n, and stdin stays closed.
    ``bounds`` are for programs that work on what others made. Raises UnavailableError ``tool_missing`` when the program
    does not exist, and DeadlineError.
    """
    program = argv[0]
    path = shutil.which(program, path=env.get("PATH"))
    if path is None:
        raise UnavailableError(f"the program {program} was not found", code="tool_missing", hint=f"install {program}")
    start = asyncio.create_subprocess_exec(
        *_dying_with_us(*_bounded(bounds), path, *argv[1:], with_children=with_children),
        stdin=DEVNULL if input is None else PIPE,
        stdout=PIPE,
        stderr=PIPE,
        env=dict(env),
        cwd=cwd,
        start_new_session=True,
        pass_fds=pass_fds,
        umask=umask,
        limit=_LINE_LIMIT,
    )
    process = await unbroken(start, undo=_end_group)
    full = _Full(process) if bounds else None
    try:
        async with deadline.limit(f"{Path(program).name} {argv[1] if len(argv) > 1 else ''}".strip()):
            stdout, stderr, _ = await asyncio.gather(
                _drain(process.stdout, on_line, full), _drain(process.stderr, on_line, full), _feed(process, input)
            )
            returncode = await process.wait()
    finally:
        await _end_group(process)
    cut = full is not None and full.reached
    return Completed(argv=tuple(argv), returncode=returncode, stdout=stdout, stderr=stderr, cut=cut)


class _Full:
    """What is kept of a process's output is full: then its group is ended."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.reached = False

    def reach(self) -> None:
        """It is full now."""
        self.reached = True
        if self._process.returncode is None:  # once reaped, the number may be somebody else's
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)


def _bounded(bounds: Bounds | None) -> list[str]:
    """What goes before a command that is bounded."""
    prlimit = None if bounds is None else shutil.which("prlimit")
    if bounds is None or prlimit is None:
        return []
    # Data, not address space: files that are mapped to be read cost no memory.
    return [prlimit, f"--fsize={bounds.file_bytes}", f"--data={bounds.memory_bytes}"]


def _dying_with_us(*command: str, with_children: bool) -> list[str]:
    """The command, asked to die when this process dies, where util-linux's setpriv can ask for that."""
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        return list(command)
    keeper = ["TERM", "/bin/sh", "-c", _KEEPER, "sh"] if with_children else ["KILL"]
    return [setpriv, "--pdeathsig", *keeper, *command]


async def _drain(
    stream: asyncio.StreamReader | None, on_line: Callable[[bytes], None] | None, full: _Full | None
) -> bytes:
    assert stream is not None  # noqa: S101 - both pipes were asked for
    if on_line is None:
        kept = bytearray()
        while some := await stream.read(64 * 1024):  # a read returns what there is, not all that will come
            if full is not None and len(kept) + len(some) > _OUTPUT_LIMIT:
                full.reach()
            kept += some[: _OUTPUT_LIMIT - len(kept)]
        return bytes(kept)
    pending = b""
    while chunk := await stream.read(64 * 1024):
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            on_line(line)
        if len(pending) > _LINE_LIMIT:
            on_line(pending)
            pending = b""
    if pending:
        on_line(pending)
    return b""


async def _feed(process: Process, data: bytes | None) -> None:
    if data is None:
        return
    assert process.stdin is not None  # noqa: S101 - the pipe was asked for
    with suppress(BrokenPipeError, ConnectionResetError):  # the exit code says why it stopped reading
        process.stdin.write(data)
        await process.stdin.drain()
    process.stdin.close()


async def _end_group(process: Process) -> None:
    """Kill what is left of the process group, let go of its pipes, and reap the child."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    # Who left the group may hold the pipes open, and asyncio would wait for the last of them. No public way leads here.
    for fd in (0, 1, 2):
        pipe = process._transport.get_pipe_transport(fd)  # type: ignore[attr-defined]  # noqa: SLF001
        if pipe is not None and not pipe.is_closing():
            pipe.abort() if fd == 0 else pipe.close()
    await process.wait()
