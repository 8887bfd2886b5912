"""What several kinds of tests share: the engine, a Git host, servers of their own; and why a test failed."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from support import database
from support.engine import Engine, EngineError, engine, engine_address
from support.engine_proxy import EngineProxy, engine_proxy
from support.git_server import GitServer, git_server
from support.postgres import Postgres, postgres
from support.registry import Registry, registry
from support.server import LIVE, InProcess, ServerProcess, in_process, server_process
from workspace_server.engine import Engine as ProductEngine
from workspace_server.engine import EngineAddress, open_engine

NETWORK = "molecule-monorepo-net"
_LAST_LINES = 60


def pytest_configure() -> None:
    """Whoever starts the tests in the background has Ctrl-C ignored, and so would every program they start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The modules with slow tests come first, so that no single one of them is left at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def engine_url() -> str:
    """The engine's address; without an engine the test fails with the reason."""
    return engine_address()


@pytest.fixture(scope="session")
def address(engine_url: str) -> EngineAddress:
    return EngineAddress(url=engine_url, local_socket=engine_url.startswith("unix://"))


@pytest.fixture(name="engine")
async def opened_engine(address: EngineAddress) -> AsyncIterator[ProductEngine]:
    """The engine as the product sees it."""
    async with open_engine(address) as opened:
        yield opened


@pytest.fixture
async def proxy(engine_url: str) -> AsyncIterator[EngineProxy]:
    async with engine_proxy(engine_url) as running:
        yield running


@pytest.fixture
async def proxied(proxy: EngineProxy) -> AsyncIterator[ProductEngine]:
    """The engine as the product sees it through the proxy."""
    async with open_engine(EngineAddress(url=proxy.address, local_socket=True)) as opened:
        yield opened


@pytest.fixture
async def api(engine_url: str) -> AsyncIterator[Engine]:
    """The engine itself, past every proxy and the product's own code."""
    async with engine(engine_url) as connected:
        yield connected


@pytest.fixture
async def git_host(tmp_path: Path) -> AsyncIterator[GitServer]:
    """A Git host without repositories."""
    async with git_server(tmp_path) as server:
        yield server


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Registry]:
    """An image registry without images, open to everybody."""
    async with registry(tmp_path / "registry") as served:
        yield served


@pytest.fixture(scope="session")
def cluster() -> Iterator[Postgres]:
    """PostgreSQL, started when the first test needs it."""
    with postgres() as running:
        yield running


@pytest.fixture(scope="session", autouse=True)
def _chosen_database(request: pytest.FixtureRequest) -> Iterator[None]:
    if database.is_postgresql():
        database.cluster = request.getfixturevalue("cluster")
    yield
    database.cluster = None


@pytest.fixture
async def postgres_url(cluster: Postgres) -> AsyncIterator[str]:
    """An empty PostgreSQL database."""
    async with cluster.database() as name:
        yield cluster.url(name)


@pytest.fixture(scope="session")
def workspace_network(engine_url: str) -> Iterator[None]:
    """The workspace network is left as it was found; who uses it meanwhile keeps it."""
    was_there = asyncio.run(_network(engine_url)) is not None
    yield
    if not was_there:
        asyncio.run(_remove_network(engine_url))


@pytest.fixture
async def serve(
    engine_url: str, workspace_network: None, tmp_path: Path
) -> AsyncIterator[Callable[..., "asyncio.Future[ServerProcess]"]]:
    """Start a server with these variables, and nothing else, in its environment; see ``server_process``.

    At the end all are stopped before anything is removed: else one brings back what is removed after another.
    """
    async with AsyncExitStack() as stack:
        started: list[ServerProcess] = []

        async def start(**settings: str) -> ServerProcess:
            directory = tmp_path / f"server-{len(started) + 1}"
            directory.mkdir()
            server = await stack.enter_async_context(server_process(directory, engine_url, **settings))
            started.append(server)
            return server

        try:
            yield start
        finally:
            for server in started:
                await server.stop_if_running()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def app(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[InProcess]:
    """The application without an engine: one for the tests of a module, which make workspaces of their own in it."""
    async with in_process(tmp_path_factory.mktemp("app")) as opened:
        yield opened


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the end of the logs of servers and containers when a test fails."""
    report = yield
    if report.failed and call.when != "teardown":
        for server in LIVE:
            report.sections.append((f"log of the server at {server.url}", _end(server.log.read_text())))
            with ThreadPoolExecutor(1) as pool:  # the test's own event loop is not to be touched
                report.sections += pool.submit(asyncio.run, _container_logs(server)).result()
    return report


async def _container_logs(server: ServerProcess) -> list[tuple[str, str]]:
    sections = []
    with suppress(OSError, EngineError, aiohttp.ClientError):
        async with engine(server.engine) as api:
            for container in await api.listed("/containers/json", label=server.label, all="true"):
                query = {"stdout": "1", "stderr": "1", "tail": str(_LAST_LINES)}
                async with api.stream(f"/containers/{container['Id']}/logs", **query) as body:
                    text = _without_frames(await body.read())
                sections.append((f"log of {container['Names'][0]} ({container['Status']})", text))
    return sections


def _without_frames(raw: bytes) -> str:
    """The text of the engine's log stream: eight bytes of header, the length in the last four, then so much text."""
    text, rest = b"", raw
    while len(rest) >= 8:
        end = 8 + int.from_bytes(rest[4:8], "big")
        text, rest = text + rest[8:end], rest[end:]
    return text.decode(errors="replace")


def _end(text: str) -> str:
    return "\n".join(text.splitlines()[-_LAST_LINES:])


async def _network(url: str) -> str | None:
    async with engine(url) as api:
        return next((each["Id"] for each in await api.get("/networks") if each["Name"] == NETWORK), None)


async def _remove_network(url: str) -> None:
    network = await _network(url)
    if network is not None and "MOLECULE_TEST_ENGINE_PROBLEM" not in os.environ:
        async with engine(url) as api:
            with suppress(EngineError):  # somebody uses it
                await api.call("DELETE", f"/networks/{network}")
