"""The example's adapter as a process of its own, and a workspace server that it can talk to."""

import asyncio
import json
import re
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, web

ECHO = Path(__file__).parents[2] / "examples" / "echo"
PATIENCE = 20
"""Seconds until something that should happen counts as not happening."""

TOKEN = "first-token-Yk2u0dVJ"

RUN = "import sys, echo_adapter.__main__ as m; sys.exit(m.main())"
WAITING_AGENT = (
    f"import sys; from echo_adapter import agent; agent.answer = lambda _: sys.stdin.readline().strip(); {RUN}"
)
PATIENT_AGENT = f"import echo_adapter.__main__ as m; m.GRACE_SECONDS = {PATIENCE}; {WAITING_AGENT}"
"""As the waiting one, in a process that waits longer for it: a test must not depend on being quick."""
FAILING_AGENT = f"from echo_adapter import agent; agent.answer = lambda text: text[:0].index('no such thing'); {RUN}"


@dataclass(frozen=True, slots=True)
class Call:
    """One request the adapter sent."""

    headers: Mapping[str, str]
    body: dict[str, Any]


@dataclass(slots=True)
class Platform:
    """A workspace server as far as an agent sees it. Answers 200 and `{}` until told otherwise."""

    url: str
    answers: dict[str, tuple[int, str, dict[str, str]]] = field(default_factory=dict)
    calls: dict[str, asyncio.Queue[Call]] = field(default_factory=lambda: defaultdict(asyncio.Queue))
    answering: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.answering.set()

    def hang(self) -> None:
        """Take requests, and do not answer."""
        self.answering.clear()

    def forget(self) -> None:
        self.calls.clear()

    def answers_to(self, path: str, status: int, body: object, **headers: str) -> None:
        text = body if isinstance(body, str) else json.dumps(body)
        self.answers[path] = (status, text, headers)

    async def asked(self, path: str) -> Call:
        """Wait for the next request to this path."""
        return await asyncio.wait_for(self.calls[path].get(), PATIENCE)

    async def registered(self) -> Call:
        return await self.asked("/registry/register")

    async def heartbeat(self) -> Call:
        return await self.asked("/registry/heartbeat")

    async def heartbeat_where(self, key: str, value: object) -> Call:
        async with asyncio.timeout(PATIENCE):
            while (call := await self.heartbeat()).body[key] != value:
                pass
        return call

    async def call_where(self, path: str, header: str, value: str) -> Call:
        async with asyncio.timeout(PATIENCE):
            while (call := await self.asked(path)).headers.get(header) != value:
                pass
        return call

    async def _answer(self, request: web.Request) -> web.Response:
        self.calls[request.path].put_nowait(Call(request.headers.copy(), await request.json()))
        await self.answering.wait()
        status, text, headers = self.answers.get(request.path, (200, "{}", {}))
        return web.Response(status=status, text=text, headers=headers)


@asynccontextmanager
async def open_platform(listener: socket.socket | None = None) -> AsyncIterator[Platform]:
    """Serve on this bound socket, or on a free port."""
    listener = listener or bound_socket()
    platform = Platform(url_of(listener))
    application = web.Application()
    application.router.add_post("/{path:.*}", platform._answer)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.SockSite(runner, listener).start()
        yield platform
    finally:
        platform.answering.set()
        await stop_accepting(listener)
        await runner.cleanup()
        listener.close()


async def stop_accepting(listener: socket.socket) -> None:
    """Finish accepting before the server is closed: asyncio leaks a connection that it is just accepting then."""
    asyncio.get_running_loop().remove_reader(listener)
    for _ in range(5):
        await asyncio.sleep(0)


def bound_socket() -> socket.socket:
    """Take a free port, without listening: whoever connects is refused."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    return listener


def url_of(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


@dataclass(slots=True)
class Adapter:
    """The adapter, running."""

    process: Process
    configs: Path
    lines: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    more: asyncio.Condition = field(default_factory=asyncio.Condition)
    http: ClientSession = field(default_factory=ClientSession)
    readers: list[asyncio.Task[None]] = field(default_factory=list)
    url: str = ""

    async def logged(self, pattern: str) -> str:
        """Wait for a line of the log that matches."""

        def found() -> str | None:
            return next((line for line in self.lines if re.search(pattern, line)), None)

        async with self.more:
            try:
                async with asyncio.timeout(PATIENCE):
                    await self.more.wait_for(lambda: found() is not None)
            except TimeoutError:
                raise AssertionError(f"not logged: {pattern}; logged: {self.lines} {self.errors}") from None
        line = found()
        assert line is not None
        return line

    async def get(self, path: str) -> tuple[int, bytes]:
        async with self.http.get(self.url + path) as response:
            return response.status, await response.read()

    async def post(self, body: object, path: str = "/") -> tuple[int, bytes]:
        """Send bytes as they are, anything else as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with self.http.post(self.url + path, data=BytesIO(data)) as response:
            return response.status, await response.read()

    async def rpc(self, body: object) -> dict[str, Any]:
        """Send a request, and return the JSON-RPC answer, which comes with HTTP status 200."""
        status, answer = await self.post(body)
        assert status == 200, answer
        result: dict[str, Any] = json.loads(answer)
        return result

    @asynccontextmanager
    async def asking(self, words: str) -> AsyncIterator[asyncio.Task[dict[str, Any]]]:
        """Send a message without waiting for the answer, which the task returns."""
        task = asyncio.create_task(self.rpc(message(text(words))))
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.wait([task])

    def say(self, line: str) -> None:
        """Write to standard input, which the waiting agent reads."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())

    async def ended(self) -> int:
        return await asyncio.wait_for(self.process.wait(), PATIENCE)

    async def _read(self, stream: asyncio.StreamReader, lines: list[str]) -> None:
        while line := await stream.readline():
            async with self.more:
                lines.append(line.decode().removesuffix("\n"))
                self.more.notify_all()


@asynccontextmanager
async def start_adapter(
    configs: Path,
    *python_arguments: str,
    **environment: str,
) -> AsyncIterator[Adapter]:
    """Start a process with nothing in its environment but what the server sets; it listens on a free port."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-B", *(python_arguments or ("-m", "echo_adapter"))),
        cwd=ECHO,
        env={
            "WORKSPACE_ID": "ws-1",
            "WORKSPACE_CONFIG_PATH": str(configs),
            "HOSTNAME": "127.0.0.1",
            "ECHO_PORT": "0",
            **environment,
        },
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    adapter = Adapter(process, configs)
    adapter.readers = [
        asyncio.create_task(adapter._read(process.stdout, adapter.lines)),
        asyncio.create_task(adapter._read(process.stderr, adapter.errors)),
    ]
    try:
        yield adapter
    finally:
        if process.returncode is None:
            process.kill()
        await asyncio.gather(process.wait(), *adapter.readers)
        assert process.stdin is not None
        process.stdin.close()
        await adapter.http.close()


@asynccontextmanager
async def open_adapter(configs: Path, *python_arguments: str, **environment: str) -> AsyncIterator[Adapter]:
    """As `start_adapter`, and wait until it listens."""
    async with start_adapter(configs, *python_arguments, **environment) as adapter:
        line = await adapter.logged("listening on port")
        adapter.url = f"http://127.0.0.1:{line.rpartition(' ')[2]}"
        yield adapter


def message(*parts: object, **more: object) -> dict[str, Any]:
    """A correct `message/send`, with these parts and additions to the message."""
    said = {"role": "user", "messageId": "m-1", "parts": list(parts), **more}
    return {"jsonrpc": "2.0", "id": "r-1", "method": "message/send", "params": {"message": said}}


def text(words: str) -> dict[str, str]:
    return {"kind": "text", "text": words}
