"""The server as its users run it, as a process of its own; and the same application inside a test, for its answers."""

import asyncio
import fcntl
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, overload

import httpx
from fastapi import FastAPI
from structlog.testing import capture_logs
from structlog.typing import EventDict

from workspace_server.api.edge import from_the_gateway
from workspace_server.app import create_app
from workspace_server.settings import load_settings
from workspace_server.wiring import Services, open_services

from .database import settings_in
from .engine import DEFAULT_ADDRESS, engine, instance_label, leftovers, purge
from .ports import free_port

T = TypeVar("T")
Json = Any

LIVE: "list[ServerProcess]" = []
"""The servers that run now, for whoever explains a failed test."""

NO_ENGINE = "unix:///nonexistent/engine.sock"

_READY_SECONDS = 60
_STOP_SECONDS = 10


@overload
async def eventually(check: Callable[[], Awaitable[T]], what: str, seconds: float = 30) -> T: ...
@overload
async def eventually(check: Callable[[], T], what: str, seconds: float = 30) -> T: ...
async def eventually(check: Callable[[], Any], what: str, seconds: float = 30) -> Any:
    """Return the first true result of ``check``; fails when there is none in time, with the last result."""
    result = None
    try:
        async with asyncio.timeout(seconds):
            while True:
                outcome = check()
                result = await outcome if isinstance(outcome, Awaitable) else outcome
                if result:
                    return result
                await asyncio.sleep(0.03)
    except TimeoutError:
        raise AssertionError(f"not within {seconds} s: {what}; last seen: {result!r}") from None


class ServerProcess:
    """``python -m workspace_server serve`` with an environment of its own: ``environment``, PATH, HOME and PORT."""

    def __init__(
        self, directory: Path, engine: str, environment: Mapping[str, str], *, prefix: Sequence[str] = ()
    ) -> None:
        self.home = directory / "home"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(self.home), "PORT": str(self.port)}
        if engine != DEFAULT_ADDRESS:
            self.environment["DOCKER_HOST"] = engine
        self.environment |= environment
        self.log = directory / "server.log"
        self.engine = engine
        self.client = httpx.AsyncClient(base_url=self.url, timeout=30, trust_env=False)
        self._created: list[str] = []
        self._prefix = prefix
        self._process: asyncio.subprocess.Process | None = None

    @property
    def data(self) -> Path:
        """The data directory."""
        return Path(self.environment.get("MOLECULE_DATA_DIR") or self.home / ".local/share/molecule")

    @property
    def cache(self) -> Path:
        """The directory of checkouts, build records and build logs."""
        default = self.home / ".cache/molecule/workspace-template-build"
        return Path(self.environment.get("MOLECULE_LOCAL_BUILD_CACHE") or default)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def instance(self) -> str:
        """The installation's id."""
        return (self.data / "instance").read_text().strip()

    @property
    def label(self) -> str:
        """What everything of this installation carries on the engine, except images."""
        return instance_label(self.instance)

    async def start(self, *, ready: bool = True) -> None:
        """Start, and wait until ``/health`` answers."""
        self.home.mkdir(exist_ok=True)
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(*self._prefix, sys.executable, "-m", "workspace_server", "serve"),
                env=self.environment,
                cwd=self.home,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        if ready:
            await eventually(self._answers, "the server answers", _READY_SECONDS)

    async def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.returncode is None, f"the server ended:\n{self.log.read_text()}"
        with suppress(httpx.TransportError):
            return (await self.client.get("/health")).status_code == 200
        return False

    async def kill(self) -> None:
        """End it as ``kill -9`` does: it alone, not what it started."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()
        self._process = None

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Ask it to end; it must do so quickly and without complaint."""
        assert self._process is not None
        process, self._process = self._process, None
        with suppress(ProcessLookupError):  # it ended by itself: its exit code says how
            process.send_signal(number)
        try:
            code = await asyncio.wait_for(process.wait(), _STOP_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise AssertionError(f"the server did not end within {_STOP_SECONDS} s of {number.name}") from None
        assert code == 0, f"the server ended with {code}"

    async def stop_if_running(self) -> None:
        """Ask it to end, unless it has."""
        if self._process is not None:
            await self.stop()

    async def ended(self) -> int:
        """Wait until it ends by itself, and return its exit code."""
        assert self._process is not None
        process, self._process = self._process, None
        return await asyncio.wait_for(process.wait(), _STOP_SECONDS)

    async def restart(self) -> None:
        """Stop it and start it again, on the same directories and the same port; after a kill, ``start`` does."""
        await self.stop()
        await self.start()

    def log_lines(self, event: str | None = None) -> list[dict[str, Any]]:
        """Return the log, or its lines about one event; fails for a line that is no JSON object."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [line for line in lines if event in (None, line["event"])]

    async def call(self, method: str, path: str, body: Json = None, *, status: int = 200) -> Json:
        """Send a request as the owner, and return the answer's JSON; fails for another status."""
        response = await self.client.request(method, path, json=body)
        assert response.status_code == status, f"{method} {path}: {response.status_code} {response.text}"
        return response.json()

    async def create(self, runtime: str, name: str = "a", **fields: Json) -> str:
        """Create a workspace, and return its id."""
        created = await self.call("POST", "/workspaces", {"name": name, "runtime": runtime, **fields}, status=201)
        self._created.append(created["id"])
        return str(created["id"])

    async def view(self, workspace: str) -> Json:
        """Return how far a workspace's provisioning is."""
        return await self.call("GET", f"/workspaces/{workspace}/provisioning")

    async def listed(self, workspace: str) -> Json:
        """Return a workspace as the list shows it."""
        return next(each for each in await self.call("GET", "/workspaces") if each["id"] == workspace)

    async def builds(self) -> list[Json]:
        """Return the builds, newest first."""
        found: list[Json] = await self.call("GET", "/images/builds")
        return found

    async def until(self, workspace: str, status: str, seconds: float = 60) -> Json:
        """Wait for a status, and return the provisioning view; ``failed`` ends the wait as well."""

        async def reached() -> Json:
            view = await self.view(workspace)
            settled = view["status"] in (status, "failed") and all(p["state"] != "running" for p in view["phases"])
            return view if settled else None

        view = await eventually(reached, f"the workspace is {status}", seconds)
        assert view["status"] == status, json.dumps(view, indent=1, ensure_ascii=False)
        return view

    async def close(self) -> None:
        """Stop it if it runs, and remove all it made on the engine; fails when that is not possible."""
        try:
            await self.stop_if_running()
        finally:
            try:
                await self.client.aclose()
            finally:
                await self._clean()

    async def _clean(self) -> None:
        if self.engine == NO_ENGINE:
            return
        records = self.cache.glob("builds/*/record.json")
        labels = {f"molecule.image.build_id={json.loads(record.read_bytes())['build_id']}" for record in records}
        if (self.data / "instance").exists():
            await purge(self.engine, self.label)
            labels.add(self.label)
        for label in labels:
            await purge(self.engine, label)
        for lock in self.cache.glob("locks/*.lock"):
            await eventually(partial(is_free, lock), f"nobody holds {lock.name} any more", 5)
        left = {label: found for label in labels if (found := await leftovers(self.engine, label))}
        # The engine itself makes volumes that are missing, and those have no label.
        volumes = {name for each in self._created for name in (f"ws-{each[:12]}-configs", f"ws-{each}-workspace")}
        async with engine(self.engine) as api:
            nobodys = [name for name in volumes if await api.exists(f"/volumes/{name}")]
        assert not left, f"still on the engine: {left}"
        assert not nobodys, f"still on the engine, without a label: {nobodys}"


def is_free(lock: Path) -> bool:
    """Tell whether no process holds a lock file."""
    with lock.open() as file, suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


@asynccontextmanager
async def server_process(
    directory: Path, engine: str, *, behind: str | None = None, prefix: Sequence[str] = (), **environment: str
) -> AsyncIterator[ServerProcess]:
    """Run a server on an engine, or on what stands ``behind`` another address; nothing of it is left afterwards."""
    environment |= {"DOCKER_HOST": behind} if behind else {}
    if "DATABASE_URL" not in environment:
        environment = await settings_in(directory) | environment
    server = ServerProcess(directory, engine, environment, prefix=prefix)
    LIVE.append(server)
    try:
        await server.start()
        yield server
    finally:
        LIVE.remove(server)
        await server.close()


@dataclass(frozen=True, slots=True)
class InProcess:
    """The application on its real services, and what it logged."""

    services: Services
    app: FastAPI
    logs: list[EventDict]

    async def call(
        self,
        method: str,
        path: str,
        *,
        peer: str = "127.0.0.1",
        gateway: bool = False,
        headers: Mapping[str, str] | None = None,
        json: Json = None,
        content: bytes | str | None = None,
    ) -> httpx.Response:
        """Send a request from an address, through the main listener or that of the workspace network."""
        transport = httpx.ASGITransport(
            app=from_the_gateway(self.app) if gateway else self.app, client=(peer, 40_000), raise_app_exceptions=False
        )
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080", trust_env=False) as client:
            return await client.request(method, path, headers=headers, json=json, content=content)


@asynccontextmanager
async def in_process(directory: Path, **environment: str) -> AsyncIterator[InProcess]:
    """Open the application without an engine, unless DOCKER_HOST names one.

    Its templates lie in a folder that does not exist, so that no test asks a host on the network.
    """
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "DOCKER_HOST": NO_ENGINE,
        "MOLECULE_LOCAL_TEMPLATE_REPO_PREFIX": "file:///nonexistent/template-",
        **({} if "DATABASE_URL" in environment else await settings_in(directory)),
        **environment,
    }
    with capture_logs() as logs:
        async with open_services(load_settings(environment)) as services:
            yield InProcess(services, create_app(services), logs)
