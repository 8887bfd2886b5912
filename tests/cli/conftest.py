"""Commands in this process, with an environment of their own; and a server that answers what a test wants."""

import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from workspace_server.cli import main as command_line
from workspace_server.cli.client import Client


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str


Command = Callable[..., Ended]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Runs ``workspace-server`` with these arguments, and these variables besides PATH and HOME."""

    def run(*arguments: str, **environment: str) -> Ended:
        for name in list(os.environ):
            monkeypatch.delenv(name)
        for name, value in {"PATH": os.defpath, "HOME": str(tmp_path), **environment}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("sys.argv", ["workspace-server", *arguments])
        code = 0
        try:
            command_line.main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        return Ended(code, *capsys.readouterr())

    return run


Answer = httpx.Response | Exception


@dataclass(slots=True)
class Server:
    """Answers in this order, the last one again and again; ``requests`` has what it was asked."""

    answers: Sequence[Answer]
    requests: list[httpx.Request]

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers[min(len(self.requests), len(self.answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
async def client_of() -> AsyncIterator[Callable[..., tuple[Client, Server]]]:
    """A client, and the server that it talks to."""
    async with AsyncExitStack() as stack:

        async def opened(http: httpx.AsyncClient) -> None:
            await stack.enter_async_context(http)

        def make(*answers: Answer) -> tuple[Client, Server]:
            server = Server(answers, [])
            http = httpx.AsyncClient(base_url="http://127.0.0.1:8080", transport=httpx.MockTransport(server.handle))
            stack.push_async_callback(http.aclose)
            return Client(http), server

        yield make


def json_of(body: Any, status: int = 200) -> httpx.Response:
    return httpx.Response(status, json=body)
