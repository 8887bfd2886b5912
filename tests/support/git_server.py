"""A Git host on the loopback interface: real repositories, the real ``git http-backend``, and faults on demand."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web
from multidict import CIMultiDict

from .git_answers import answer
from .git_backend import Backend
from .git_faults import Faults
from .git_objects import FileMap, ObjectFormat, read_files
from .git_repository import Repository
from .git_requests import Kind, RecordedRequest, Where, kind_of, protocol_asked, split_path

TEMPLATE_PREFIX = "molecule-ai/molecule-ai-workspace-template-"
_HOST = "127.0.0.1"


class GitServer:
    """A Git host with its repositories, the requests it got, and its faults.

    ``requests`` has every request since the start, in order of arrival. ``faults`` are those of the whole host.
    """

    def __init__(self, root: Path, backend: Backend) -> None:
        self.faults = Faults()
        self.requests: list[RecordedRequest] = []
        self.repositories: dict[str, Repository] = {}
        self.failures: list[Exception] = []  # of the server itself, never of git
        self._root = root
        self._backend = backend
        self._faults: dict[str, Faults] = {}
        # Never listens: it keeps the port ours while the host is off, and connecting to it is refused.
        self._reserved = _bound_socket(0)
        self.port: int = self._reserved.getsockname()[1]
        self._runner: web.ServerRunner | None = None
        self._server: web.Server | None = None

    @property
    def url(self) -> str:
        """The host's address, with a slash at its end; it stays the same while the host is off."""
        return f"http://{_HOST}:{self.port}/"

    @property
    def repo_prefix(self) -> str:
        """The URL of a template's repository up to the runtime's name."""
        return f"{self.url}{TEMPLATE_PREFIX}"

    @property
    def log(self) -> Path:
        """The file with what git itself complained about."""
        return self._backend.log

    async def create(
        self,
        path: str,
        files: FileMap | Path | None = None,
        *,
        object_format: ObjectFormat = "sha1",
        default_branch: str = "main",
    ) -> Repository:
        """Create a repository at ``owner/name`` with one commit of these files (or this folder's); None: empty."""
        repository = Repository(
            path=path,
            url=self.url + path,
            directory=self._root / f"{path}.git",
            faults=self.faults_at(path),
            object_format=object_format,
            default_branch=default_branch,
        )
        await repository.initialize()
        self.repositories[path] = repository
        if files is not None:
            await repository.commit(read_files(files) if isinstance(files, Path) else files, "first")
        return repository

    async def create_template(self, runtime: str, files: FileMap | Path | None) -> Repository:
        """Create the template repository of a runtime, below ``repo_prefix``."""
        return await self.create(f"{TEMPLATE_PREFIX}{runtime}", files)

    def faults_at(self, path: str) -> Faults:
        """Return the faults of one repository, whether or not it exists."""
        return self._faults.setdefault(path, Faults())

    async def start(self) -> None:
        """Listen, on the same port as before; nothing happens when the host is on already."""
        if self._runner is not None:
            return
        # A client that goes away ends the work for it, as on a real host.
        self._server = web.Server(self._handle, handler_cancellation=True, access_log=None)
        self._runner = web.ServerRunner(self._server, shutdown_timeout=1)
        await self._runner.setup()
        await web.SockSite(self._runner, _bound_socket(self.port)).start()

    async def stop(self) -> None:
        """Turn the host off: open connections end, new ones are refused. Repositories and faults stay."""
        if self._runner is None or self._server is None:
            return
        for connection in self._server.connections:
            connection.force_close()
        await self._runner.cleanup()
        self._runner = self._server = None

    async def close(self) -> None:
        """Turn the host off and give its port back. Raises what went wrong in the server itself meanwhile."""
        await self.stop()
        self._reserved.close()
        if self.failures:
            raise ExceptionGroup("the Git server failed", self.failures)

    def count(self, service: str | None = None, repository: str | None = None, where: Where = "any") -> int:
        """Count requests, of one service (``info/refs``, ``git-upload-pack``), one repository, one kind."""
        return len(
            [
                request
                for request in self.requests
                if service in (None, request.service)
                and repository in (None, request.repository)
                and request.matches(where)
            ]
        )

    def ref_requests(self) -> list[RecordedRequest]:
        """Return the requests whose answer lists refs: GET info/refs under v0, POST ls-refs under v2."""
        return [request for request in self.requests if request.matches("refs")]

    def pack_requests(self) -> list[RecordedRequest]:
        """Return the POSTs that ask for a pack; a fetch that has something already may take several."""
        return [request for request in self.requests if request.kind is Kind.FETCH]

    def packs_sent(self) -> list[RecordedRequest]:
        """Return the requests that were answered with a pack: exactly one for a fetch."""
        return [request for request in self.requests if request.sent_pack]

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        record = await self._record(request)
        self.requests.append(record)
        faults = [*([self._faults[record.repository]] if record.repository in self._faults else []), self.faults]
        try:
            return await answer(request, record, faults, self._backend)
        except ConnectionError:
            raise  # the client went away
        except Exception as error:
            self.failures.append(error)
            raise

    async def _record(self, request: web.BaseRequest) -> RecordedRequest:
        repository, service = split_path(request.rel_url.raw_path)
        body = await request.content.read()  # decompressed; unlike request.read(), of any size
        protocol = protocol_asked(request.headers)
        return RecordedRequest(
            method=request.method,
            path=request.rel_url.raw_path,
            repository=repository,
            service=service,
            query=request.rel_url.raw_query_string,
            headers=CIMultiDict(request.headers),
            body=body,
            protocol=protocol,
            kind=kind_of(method=request.method, service=service, protocol=protocol, body=body),
        )


@asynccontextmanager
async def git_server(directory: Path) -> AsyncIterator[GitServer]:
    """Run a Git host that keeps its repositories in a folder below ``directory``; it is off when this is left."""
    root = directory / "git-host"
    root.mkdir(parents=True, exist_ok=True)
    server = GitServer(root, await Backend.find(root))
    try:
        await server.start()
        yield server
    finally:
        await server.close()


def _bound_socket(port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # Several sockets of ours share the port, of which at most one listens.
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind((_HOST, port))
    return bound
