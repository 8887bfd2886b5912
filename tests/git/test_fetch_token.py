"""Who gets to see the token during a fetch."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from support.git_repository import Repository
from support.git_server import GitServer
from workspace_server.concurrency import Deadline
from workspace_server.git import CheckoutStore, GitAccess
from workspace_server.runtimes import Template

from .conftest import FILES, fetch_failure, files_below, template_at
from .spy import spy_on_git


async def test_every_request_of_a_fetch_carries_the_token(
    host: GitServer, private_store: CheckoutStore, repository: Repository, template: Template
) -> None:
    host.faults.require_token("s3cret")
    await private_store.checkout(template, repository.tip(), Deadline(60))
    assert [request.authorized for request in host.requests] == [True] * len(host.requests)


async def test_a_fetch_from_another_origin_does_not_carry_the_token(
    elsewhere: GitServer, private_store: CheckoutStore
) -> None:
    repository = await elsewhere.create("o/n", FILES)
    await private_store.checkout(template_at(repository.url), repository.tip(), Deadline(60))
    assert [request.headers.get("Authorization") for request in elsewhere.requests] == [None] * elsewhere.count()


@pytest.mark.parametrize("where", ["info/refs", "upload-pack"])
async def test_git_does_not_carry_the_token_away_after_a_redirect(
    elsewhere: GitServer, private_store: CheckoutStore, repository: Repository, where: str
) -> None:
    other = await elsewhere.create("o/n", FILES)
    repository.faults.redirect(other.url, where=where, status=307)  # type: ignore[arg-type]
    await fetch_failure(private_store, template_at(repository.url, ref=repository.tip()), repository.tip())
    assert elsewhere.requests == []


async def test_only_the_fetch_itself_knows_the_token(
    store_for: Callable[[GitAccess], CheckoutStore],
    access: GitAccess,
    repository: Repository,
    template: Template,
    tmp_path: Path,
) -> None:
    own, spy = spy_on_git(replace(access, token="s3cret"), tmp_path / "spy")
    header = str(own.authorization(template.url))
    await store_for(own).checkout(template, repository.tip(), Deadline(60))
    told = [call.arguments[0] for call in spy.calls() if any(header in value for value in call.environment.values())]
    assert told == ["fetch"]


async def test_no_argument_has_the_token(
    store_for: Callable[[GitAccess], CheckoutStore],
    access: GitAccess,
    repository: Repository,
    template: Template,
    tmp_path: Path,
) -> None:
    own, spy = spy_on_git(replace(access, token="s3cret"), tmp_path / "spy")
    header = str(own.authorization(template.url)).removeprefix("Basic ")
    await store_for(own).checkout(template, repository.tip(), Deadline(60))
    assert [call for call in spy.calls() if header in str(call.arguments) or "s3cret" in str(call.arguments)] == []


async def test_no_file_has_the_token(
    host: GitServer, private_store: CheckoutStore, cache: Path, repository: Repository, template: Template
) -> None:
    host.faults.require_token("s3cret")
    await private_store.checkout(template, repository.tip(), Deadline(60))
    header = str(private_store._access.authorization(template.url)).removeprefix("Basic ").encode()
    assert [path for path in files_below(cache) if header in path.read_bytes()] == []


async def test_git_is_started_with_the_scrubbed_environment(
    store_for: Callable[[GitAccess], CheckoutStore],
    access: GitAccess,
    repository: Repository,
    template: Template,
    tmp_path: Path,
) -> None:
    own, spy = spy_on_git(access, tmp_path / "spy")
    await store_for(own).checkout(template, repository.tip(), Deadline(60))
    ours = own.environment(template.url).keys() | {"GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"}
    assert [call.arguments for call in spy.calls() if call.environment.keys() - ours] == []
