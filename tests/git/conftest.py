import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from support.git_repository import Repository
from support.git_server import GitServer, git_server
from workspace_server.concurrency import TaskScope
from workspace_server.git import CheckoutStore, GitAccess, Resolver, open_http_client
from workspace_server.model.repository import RepositoryUrl
from workspace_server.runtimes import Template

FILES = {"Dockerfile": "FROM scratch\n", "adapter.py": "print('hello')\n"}


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[GitServer]:
    async with git_server(tmp_path) as server:
        yield server


@pytest.fixture
def access(host: GitServer, tmp_path: Path) -> GitAccess:
    home = tmp_path / "home"
    home.mkdir()
    return GitAccess(
        passed_on={"PATH": os.environ["PATH"], "HOME": str(home)},
        token=None,
        token_for=RepositoryUrl.parse(host.repo_prefix),
    )


@pytest.fixture
async def http(access: GitAccess) -> AsyncIterator[httpx.AsyncClient]:
    async with open_http_client(access) as client:
        yield client


@pytest.fixture
async def scope() -> AsyncIterator[TaskScope]:
    async with TaskScope() as tasks:
        yield tasks


@pytest.fixture
def resolver(http: httpx.AsyncClient, access: GitAccess, scope: TaskScope) -> Resolver:
    return Resolver(http=http, access=access, scope=scope)


@pytest.fixture
def with_token(http: httpx.AsyncClient, access: GitAccess, scope: TaskScope) -> Resolver:
    """A resolver whose operator set the token ``s3cret`` for the host."""
    return Resolver(http=http, access=replace(access, token="s3cret"), scope=scope)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def store(cache: Path, access: GitAccess, resolver: Resolver) -> CheckoutStore:
    return CheckoutStore(cache=cache, access=access, resolver=resolver)


@pytest.fixture
async def repository(host: GitServer) -> Repository:
    """The template repository of the runtime ``hermes``, with one commit."""
    return await host.create_template("hermes", FILES)


@pytest.fixture
def template(repository: Repository) -> Template:
    return template_at(repository.url)


@pytest.fixture
def logs() -> Iterator[list[EventDict]]:
    with capture_logs() as captured:
        yield captured


def template_at(url: str, *, runtime: str = "hermes", ref: str | None = None) -> Template:
    return Template(runtime=runtime, url=RepositoryUrl.parse(url), ref=ref, is_default=False)


def events(logs: list[EventDict]) -> list[str]:
    return [line["event"] for line in logs if line["log_level"] != "debug"]
