"""An installation of this test alone, its rows, and the template repositories that all tests share."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from support.database import place_in
from support.engine import purge
from support.git_repository import Repository
from support.git_server import git_server
from support.registry import PASSWORD, USER, Registry
from support.registry_front import registry_front
from support.templates import BASE_IMAGE, Files, config
from workspace_server.db import Database, EventStore, TokenStore, WorkspaceStore, open_database
from workspace_server.events import EventLog
from workspace_server.model import names

from .rolling import Stage
from .world import Supply, World, installation, world

IDLE = """CMD ["sh", "-c", "trap 'exit 0' TERM; sleep infinity & wait"]\n"""
# What it says would be obeyed by a terminal, and has no end.
EXITS = r"""CMD ["sh", "-c", "printf '\\033]0;title\\007no key found\\n%05000d\\n'; exit 3"]""" + "\n"


@pytest.fixture(scope="session")
def supply(engine_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supply]:
    """Templates of the runtimes ``idle`` (it never calls), ``exits`` (it says why, and ends) and ``broken``."""
    directory = tmp_path_factory.mktemp("supply")
    templates: dict[str, Files] = {
        "idle": {"Dockerfile": f"FROM {BASE_IMAGE}\n{IDLE}", "config.yaml": config("idle")},
        "exits": {"Dockerfile": f"FROM {BASE_IMAGE}\n{EXITS}", "config.yaml": config("exits")},
        "broken": {"Dockerfile": "FROM scratch\nCOPY missing /\n"},
        "unlucky": {"Dockerfile": "FROM scratch\nCOPY config.yaml /\n", "config.yaml": config("unlucky")},
        "needy": {
            "Dockerfile": f"FROM {BASE_IMAGE}\n{IDLE}",
            "config.yaml": f"{config('needy')}".replace("{}", "{required_env: [A_KEY, B_KEY]}"),
        },
        "odd": {"Dockerfile": f"FROM {BASE_IMAGE}\n{IDLE}", "config.yaml": "since: 2026-13-01\n"},
    }

    async def make() -> dict[str, Repository]:
        async with git_server(directory) as host:
            return {name: await host.create(f"t/{name}", files) for name, files in templates.items()}

    made = Supply(cache=directory / "cache", repositories=asyncio.run(make()))
    yield made
    for repository in made.repositories.values():
        source = repository.directory.as_uri().removesuffix(".git")
        asyncio.run(purge(engine_url, f"{names.SOURCE}={source}"))


@pytest.fixture
async def instance(engine_url: str) -> AsyncIterator[str]:
    async with installation(engine_url) as identity:
        yield identity


@pytest.fixture
async def here(
    tmp_path: Path, engine_url: str, supply: Supply, instance: str, workspace_network: None
) -> AsyncIterator[World]:
    """A server."""
    async with world(tmp_path / "data", engine_url, supply, instance) as opened:
        yield opened


@pytest.fixture
async def stage(tmp_path: Path, engine_url: str, hub: Registry, supply: Supply, instance: str) -> AsyncIterator[Stage]:
    """A registry, and servers that have their images from it."""
    async with registry_front(hub, accounts={USER: PASSWORD}) as front:
        opened = Stage(hub=hub, front=front, directory=tmp_path, supply=supply, instance=instance)
        yield opened
        await opened.clean(engine_url)


@pytest.fixture
async def running(stage: Stage) -> AsyncIterator[World]:
    """A server on the stage."""
    async with stage.server() as opened:
        stage.platform = (await opened.engine.info()).platform
        yield opened


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(await place_in(tmp_path)) as opened:
        yield opened


@pytest.fixture
def store(database: Database) -> WorkspaceStore:
    return WorkspaceStore(database)


@pytest.fixture
def tokens(database: Database) -> TokenStore:
    return TokenStore(database)


@pytest.fixture
def events(database: Database) -> EventLog:
    return EventLog(EventStore(database))


@pytest.fixture
def logs() -> Iterator[list[EventDict]]:
    with capture_logs() as captured:
        yield captured
