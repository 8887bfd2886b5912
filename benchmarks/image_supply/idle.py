"""Rows of the server itself: how soon it is ready, and how much memory it has then."""

import asyncio
import re
import statistics
import sys
import time
from asyncio.subprocess import DEVNULL
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.ports import free_port

from .bench import Bench
from .sides import in_turn
from .table import Comparison, Row

_BARE = "from fastapi import FastAPI\napp = FastAPI()\n\n\n@app.get('/health')\nasync def health(): return {}\n"
_WHAT, _AGAINST = "start to ready", "a bare FastAPI application"
_REQUEST = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
_RESIDENT = re.compile(r"^VmRSS:\s+(\d+) kB$", re.MULTILINE)
_READY_SECONDS, _RESIDENT_MIB = 1.0, 120


@dataclass(slots=True)
class _Server:
    """A program that listens on ``port``; ``resident`` has its MiB after each start."""

    argv: Sequence[str]
    port: int
    environment: dict[str, str]
    resident: list[float] = field(default_factory=list)

    async def first_answer(self) -> float:
        """Seconds from its start to its first answer to ``/health``."""
        began = time.perf_counter()
        process = await asyncio.create_subprocess_exec(*self.argv, env=self.environment, stdout=DEVNULL, stderr=DEVNULL)
        await _answer(self.port)
        seconds = time.perf_counter() - began
        self.resident.append(_resident(process.pid))
        process.terminate()
        await process.wait()
        return seconds


async def idle_rows(bench: Bench) -> list[Row]:
    """Process start to the first answer of ``/health``, and the resident memory at that moment."""
    (bench.home / "bare.py").write_text(_BARE)
    port, bare_port = free_port(), free_port()
    settings = {"PORT": str(port), "MOLECULE_DATA_DIR": str(bench.home / "idle")}
    ours = _Server([sys.executable, "-m", "workspace_server", "serve"], port, bench.programs.environment | settings)
    command = [sys.executable, "-m", "uvicorn", "--app-dir", str(bench.home), "--port", str(bare_port), "bare:app"]
    bare = _Server(command, bare_port, bench.programs.environment)
    seconds = await in_turn(bench.runs, {"ours": ours.first_answer, "bare": bare.first_answer})
    ready, resident = statistics.median(seconds["ours"]), statistics.median(ours.resident)
    compared = Comparison(what=_WHAT, against=_AGAINST, ours=seconds["ours"], theirs=seconds["bare"])
    return [
        compared.at_most(1.5),
        Row(what=_WHAT, ours=f"{ready:.2f} s", goal=f"≤ {_READY_SECONDS} s", reached=ready <= _READY_SECONDS),
        Row(
            what="resident memory, idle",
            against=_AGAINST,
            ours=f"{resident:.0f} MiB",
            theirs=f"{statistics.median(bare.resident):.0f} MiB",
            goal=f"≤ {_RESIDENT_MIB} MiB",
            reached=resident <= _RESIDENT_MIB,
        ),
    ]


def _resident(pid: int) -> float:
    """MiB of a process in memory, as Linux tells."""
    (kib,) = _RESIDENT.findall(Path(f"/proc/{pid}/status").read_text())
    return int(kib) / 1024


async def _answer(port: int) -> None:
    """Ask until somebody answers."""
    while True:
        with suppress(ConnectionRefusedError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(_REQUEST)
            answer = await reader.readline()
            writer.close()
            if b" 200 " not in answer:
                raise RuntimeError(f"the server answered {answer.decode()}")
            return
        await asyncio.sleep(0.002)  # nothing tells when another process listens
