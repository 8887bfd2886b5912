import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from support.git_repository import Repository
from support.git_server import GitServer, git_server
from workspace_server.concurrency import Deadline, TaskScope
from workspace_server.errors import SourceError, WorkspaceServerError
from workspace_server.git import CheckoutStore, GitAccess, Resolver, open_http_client, remote
from workspace_server.model.repository import RepositoryUrl
from workspace_server.runtimes import Template

FILES = {"Dockerfile": "FROM scratch\n", "adapter.py": "print('hello')\n"}


@dataclass(frozen=True, slots=True)
class Made:
    """A checkout, where it lies, and a way to ask for it again."""

    store: CheckoutStore
    template: Template
    commit: str
    folder: Path

    @property
    def place(self) -> Path:
        return self.folder / self.commit

    @property
    def tree(self) -> Path:
        return self.place / "tree"

    @property
    def objects(self) -> Path:
        return self.folder / f"git-{self.template.url.digest}"

    def remove_checkout(self) -> None:
        shutil.rmtree(self.place)

    async def again(self) -> dict[str, str]:
        """The files that a build would get now."""
        checkout = await self.store.checkout(self.template, self.commit, Deadline(60))
        return {str(path.relative_to(self.tree)): path.read_text() for path in checkout.path.rglob("*")}


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[GitServer]:
    async with git_server(tmp_path) as server:
        yield server


@pytest.fixture
async def elsewhere(tmp_path: Path) -> AsyncIterator[GitServer]:
    """Another origin."""
    async with git_server(tmp_path / "elsewhere") as server:
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
def store_for(http: httpx.AsyncClient, scope: TaskScope, cache: Path) -> Callable[[GitAccess], CheckoutStore]:
    """Makes a store like ``store`` whose git has another environment."""

    def make(access: GitAccess) -> CheckoutStore:
        return CheckoutStore(cache=cache, access=access, resolver=Resolver(http=http, access=access, scope=scope))

    return make


@pytest.fixture
def private_store(store_for: Callable[[GitAccess], CheckoutStore], access: GitAccess) -> CheckoutStore:
    """A store whose operator set the token ``s3cret`` for the host."""
    return store_for(replace(access, token="s3cret"))


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a short answer is waited for, however slow the host."""
    monkeypatch.setattr(remote, "REST_SECONDS", 60)


@pytest.fixture
async def repository(host: GitServer) -> Repository:
    """The template repository of the runtime ``hermes``, with one commit."""
    return await host.create_template("hermes", FILES)


@pytest.fixture
def template(repository: Repository) -> Template:
    return template_at(repository.url)


@pytest.fixture
async def made(host: GitServer, store: CheckoutStore, cache: Path, repository: Repository, template: Template) -> Made:
    await store.checkout(template, repository.tip(), Deadline(60))
    host.requests.clear()
    return Made(store, template, repository.tip(), cache / "hermes")


@pytest.fixture
def logs() -> Iterator[list[EventDict]]:
    with capture_logs() as captured:
        yield captured


def template_at(url: str, *, runtime: str = "hermes", ref: str | None = None) -> Template:
    return Template(runtime=runtime, url=RepositoryUrl.parse(url), ref=ref, is_default=False)


def events(logs: list[EventDict]) -> list[str]:
    return [line["event"] for line in logs if line["log_level"] != "debug"]


async def look_up_failure(resolver: Resolver, template: Template) -> WorkspaceServerError:
    with pytest.raises(SourceError) as caught:
        await resolver.resolve(template, Deadline(60))
    return caught.value


async def fetch_failure(store: CheckoutStore, template: Template, commit: str) -> WorkspaceServerError:
    with pytest.raises(WorkspaceServerError) as caught:
        await store.checkout(template, commit, Deadline(60))
    return caught.value


def files_below(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def contents(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): path.read_text() for path in files_below(root)}
