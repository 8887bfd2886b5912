"""The real ``git http-backend``, run as the CGI program it is."""

import asyncio
import tempfile
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from .git_cli import git, scrubbed_environment
from .git_requests import RecordedRequest
from .processes import running

_CHUNK = 64 * 1024
_NO_UNADVERTISED = ("allowTipSHA1InWant", "allowReachableSHA1InWant", "allowAnySHA1InWant")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer on its way: status line, headers, and a body that is still being made."""

    status: int
    headers: Mapping[str, str]
    body: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class Backend:
    """The CGI program, the folder of repositories it serves, and the file it complains to."""

    program: str
    root: Path
    log: Path

    @classmethod
    async def find(cls, root: Path) -> Self:
        """Return the backend of the git that is installed."""
        return cls(f"{await git('--exec-path')}/git-http-backend", root, root / "http-backend.log")

    @asynccontextmanager
    async def run(self, request: RecordedRequest, *, strict: bool) -> AsyncIterator[Reply]:
        """Let git answer a request; ``strict`` refuses commits that no ref points to.

        The process is gone when the context is left.
        """
        with tempfile.TemporaryFile() as body, self.log.open("ab") as errors:
            body.write(request.body)
            body.seek(0)
            env = scrubbed_environment(_cgi_variables(self.root, request, strict=strict))
            async with running(self.program, env=env, stdin=body, stdout=PIPE, stderr=errors) as process:
                assert process.stdout is not None
                head = await process.stdout.readuntil(b"\r\n\r\n")
                headers = dict(line.split(": ", 1) for line in head.decode("latin-1").strip().split("\r\n"))
                status = int(headers.pop("Status", "200").split()[0])
                yield Reply(status, headers, _chunks(process.stdout))


async def _chunks(stream: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while chunk := await stream.read(_CHUNK):
        yield chunk


def _cgi_variables(root: Path, request: RecordedRequest, *, strict: bool) -> dict[str, str]:
    variables = {
        "GIT_PROJECT_ROOT": str(root),
        "GIT_HTTP_EXPORT_ALL": "1",
        "PATH_INFO": f"/{request.repository}.git/{request.service}",
        "QUERY_STRING": request.query,
        "REQUEST_METHOD": request.method,
        "CONTENT_TYPE": request.headers.get("Content-Type", ""),
        "CONTENT_LENGTH": str(len(request.body)),
        "REMOTE_ADDR": "127.0.0.1",
    }
    if request.protocol:
        variables["GIT_PROTOCOL"] = f"version={request.protocol}"
    if strict:
        variables["GIT_CONFIG_COUNT"] = str(len(_NO_UNADVERTISED))
        for n, name in enumerate(_NO_UNADVERTISED):
            variables |= {f"GIT_CONFIG_KEY_{n}": f"uploadpack.{name}", f"GIT_CONFIG_VALUE_{n}": "false"}
    return variables
