"""Where the Git host may not be asked: what is in the cache is used, and nothing is fetched."""

import shutil
from collections.abc import Callable
from dataclasses import replace

import pytest

from support.git_repository import Repository
from support.git_server import GitServer
from workspace_server.concurrency import Deadline
from workspace_server.git import CheckoutStore, GitAccess
from workspace_server.model.repository import RepositoryUrl
from workspace_server.runtimes import Template

from .conftest import FILES, Made, contents, fetch_failure


@pytest.fixture
def offline(store_for: Callable[[GitAccess], CheckoutStore], access: GitAccess) -> CheckoutStore:
    return store_for(replace(access, offline=True))


async def test_a_checkout_that_is_there_is_used(host: GitServer, offline: CheckoutStore, made: Made) -> None:
    checkout = await offline.checkout(made.template, made.commit, Deadline(60))

    assert (contents(checkout.path), host.requests) == (FILES, [])


async def test_a_checkout_is_made_anew_from_what_was_fetched(
    host: GitServer, offline: CheckoutStore, made: Made
) -> None:
    made.remove_checkout()
    checkout = await offline.checkout(made.template, made.commit, Deadline(60))

    assert (contents(checkout.path), host.requests) == (FILES, [])


async def test_what_was_never_fetched_is_said_and_nobody_is_asked(
    host: GitServer, offline: CheckoutStore, template: Template, repository: Repository
) -> None:
    commit = repository.tip()
    error = await fetch_failure(offline, template, commit)

    assert error.as_dict() == {
        "error": f"local-build mode: offline, and commit {commit[:12]} of {template.url} for runtime hermes was never"
        " fetched",
        "code": "git_offline",
        "hint": "unset MOLECULE_LOCAL_BUILD_OFFLINE where the Git host can be reached, and build it once",
    }
    assert host.requests == []


async def test_damaged_objects_are_not_fetched_again(host: GitServer, offline: CheckoutStore, made: Made) -> None:
    made.remove_checkout()
    shutil.rmtree(made.objects / "objects")
    error = await fetch_failure(offline, made.template, made.commit)

    assert (error.code, host.requests) == ("git_offline", [])


async def test_a_repository_in_a_folder_is_fetched_from(
    offline: CheckoutStore, template: Template, repository: Repository
) -> None:
    here = replace(template, url=RepositoryUrl.parse(f"file://{repository.directory}"))
    checkout = await offline.checkout(here, repository.tip(), Deadline(60))

    assert contents(checkout.path) == FILES
