"""The engine, a runtime whose images are removed afterwards, and everything a local build is made of."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from support.engine import purge
from support.git_repository import Repository
from support.git_server import GitServer
from workspace_server.concurrency import TaskScope
from workspace_server.engine import Engine, EngineAddress, ImageBuilder, RegistryAccess
from workspace_server.git import CheckoutStore, GitAccess, Resolver, open_http_client
from workspace_server.images import BuildBook, BuildRecord, ImageService, ImageSource, LocalBuildSource
from workspace_server.images.build import BuildLimits, LocalBuilds
from workspace_server.images.identity import BuildIdentity
from workspace_server.images.ledger import ImageLedger
from workspace_server.images.lookup import Miss
from workspace_server.images.pull import PullLimits, Pulls
from workspace_server.images.registry import RegistryImages
from workspace_server.images.template import TemplateFiles
from workspace_server.images.wanted import WantedBuilds
from workspace_server.model import names
from workspace_server.model.container import ImageInfo
from workspace_server.model.repository import RepositoryUrl
from workspace_server.runtimes import Runtimes, Template
from workspace_server.settings import load_settings

from .making import identity
from .making import template as template_at

NO_IMAGE = Miss(reason="no image")
FILES = {"Dockerfile": "FROM scratch\nCOPY content /content\n", "content": "x", "config.yaml": "name: Tiny\n"}


@pytest.fixture
async def runtime(engine_url: str) -> AsyncIterator[str]:
    """The name of a runtime of this test alone; its images are removed afterwards."""
    name = f"t-{secrets.token_hex(6)}"
    yield name
    await purge(engine_url, f"{names.RUNTIME}={name}")


@pytest.fixture
def access(git_host: GitServer, tmp_path: Path) -> GitAccess:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    return GitAccess(passed_on=environment, token=None, token_for=RepositoryUrl.parse(git_host.repo_prefix))


@pytest.fixture
async def http(access: GitAccess) -> AsyncIterator[httpx.AsyncClient]:
    async with open_http_client(access) as client:
        yield client


@pytest.fixture
async def repository(git_host: GitServer, runtime: str) -> Repository:
    """A template repository whose image is built in a moment."""
    return await git_host.create_template(runtime, FILES)


@pytest.fixture
def template(repository: Repository, runtime: str) -> Template:
    return template_at(runtime, repository.url)


@pytest.fixture
def wanted(template: Template, repository: Repository) -> BuildIdentity:
    return identity(template, repository.tip())


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def builder(address: EngineAddress, tmp_path_factory: pytest.TempPathFactory) -> ImageBuilder:
    """The builder that a server here would choose."""
    home = tmp_path_factory.mktemp("builder")
    return asyncio.run(ImageBuilder.choose({"PATH": os.environ["PATH"], "HOME": str(home)}, address, home / "state"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """What one server has of its own: the cache and the engine may be shared."""

    engine: Engine
    resolver: Resolver
    checkouts: CheckoutStore
    files: TemplateFiles
    book: BuildBook
    builds: LocalBuilds
    pulls: Pulls
    scope: TaskScope
    ledger: ImageLedger
    wanted: WantedBuilds

    def service(
        self, *templates: Template, platform: str | None = "linux/amd64", source: ImageSource | None = None
    ) -> ImageService:
        return ImageService(
            source=source or LocalBuildSource(platform=platform),
            runtimes=Runtimes({each.runtime: each for each in templates}),
            engine=self.engine,
            wanted=self.wanted,
            files=self.files,
            builds=self.builds,
            registry=self.registry,
            ledger=self.ledger,
        )

    @property
    def registry(self) -> RegistryImages:
        return RegistryImages(self.pulls)


@dataclass(slots=True)
class Heard:
    """What a waiter was told of the build it waits for."""

    records: list[str] = field(default_factory=list)

    async def __call__(self, record: str) -> None:
        self.records.append(record)


async def built(server: Server, wanted: BuildIdentity) -> ImageInfo:
    return await server.builds.build(wanted, NO_IMAGE, Heard())


def the_record(server: Server) -> BuildRecord:
    (record,) = server.book.newest()
    return record


ServerOf = Callable[..., Server]


@pytest.fixture
async def server_of(
    engine: Engine, access: GitAccess, http: httpx.AsyncClient, cache: Path, builder: ImageBuilder
) -> AsyncIterator[ServerOf]:
    """Makes servers that share the cache and the engine, each with tasks of its own."""
    async with TaskScope() as outer:

        def make(
            *,
            engine: Engine = engine,
            concurrency: int = 2,
            seconds: int = 60,
            stall_seconds: float = 60,
            choose: Callable[[], Awaitable[ImageBuilder]] | None = None,
            scope: TaskScope = outer,
            **variables: str,
        ) -> Server:
            async def usual() -> ImageBuilder:
                return builder

            resolver = Resolver(http=http, access=access, scope=scope)
            checkouts = CheckoutStore(cache=cache, access=access, resolver=resolver)
            files, book, ledger = TemplateFiles(checkouts), BuildBook(cache), ImageLedger(cache)
            builds = LocalBuilds(
                engine=engine,
                choose_builder=choose or usual,
                files=files,
                book=book,
                ledger=ledger,
                locks=cache / "locks",
                limits=BuildLimits(concurrency=concurrency, seconds=seconds, stall_seconds=stall_seconds),
                scope=scope,
            )
            home = {"HOME": str(cache.parent), "PATH": os.environ["PATH"]}
            pulls = Pulls(
                engine=engine,
                access=RegistryAccess.from_settings(load_settings({**home, **variables})),
                book=book,
                locks=cache / "locks",
                limits=PullLimits(seconds=seconds, stall_seconds=stall_seconds),
                scope=scope,
            )
            return Server(
                engine=engine,
                resolver=resolver,
                checkouts=checkouts,
                files=files,
                book=book,
                builds=builds,
                pulls=pulls,
                scope=scope,
                ledger=ledger,
                wanted=WantedBuilds(engine=engine, resolver=resolver, ledger=ledger),
            )

        yield make


@pytest.fixture
def server(server_of: ServerOf) -> Server:
    return server_of()


@pytest.fixture
def logs() -> Iterator[list[EventDict]]:
    with capture_logs() as captured:
        yield captured
