"""Which commit a checkout is, whatever the host does and wherever its refs move."""

import pytest

from support.git_repository import Repository
from support.git_server import GitServer
from workspace_server.concurrency import Deadline
from workspace_server.git import CheckoutStore, CommitMovedError, Resolver
from workspace_server.runtimes import Template

from .conftest import FILES, contents, fetch_failure, template_at

NOT_OUR_REF = b"0033ERR upload-pack: not our ref, whatever you want"


async def test_the_very_commit_is_fetched_though_the_branch_moved(
    store: CheckoutStore, repository: Repository, template: Template
) -> None:
    old = repository.tip()
    await repository.commit({"Dockerfile": "FROM other\n"})
    checkout = await store.checkout(template, old, Deadline(60))
    assert (checkout.path / "Dockerfile").read_text() == FILES["Dockerfile"]


async def test_head_that_moves_between_look_up_and_fetch_changes_nothing(
    store: CheckoutStore, resolver: Resolver, repository: Repository, template: Template
) -> None:
    repository.faults.move_head_after(1, lambda: repository.commit({"Dockerfile": "FROM other\n"}))
    commit = await resolver.resolve(template, Deadline(60))
    checkout = await store.checkout(template, commit, Deadline(60))
    assert contents(checkout.path) == FILES


async def test_a_host_of_protocol_v0_gives_the_tip(
    host: GitServer, store: CheckoutStore, repository: Repository, template: Template
) -> None:
    host.faults.refuse_unadvertised()
    checkout = await store.checkout(template, repository.tip(), Deadline(60))
    assert contents(checkout.path) == FILES


async def test_a_commit_that_is_refused_and_no_longer_the_tip_has_moved(
    host: GitServer, store: CheckoutStore, repository: Repository, template: Template
) -> None:
    host.faults.refuse_unadvertised()
    old = repository.tip()
    new = await repository.commit({"x": "x"})
    with pytest.raises(CommitMovedError) as caught:
        await store.checkout(template, old, Deadline(60))
    assert caught.value.commit == new


async def test_of_a_ref_that_moved_nothing_is_fetched(
    host: GitServer, store: CheckoutStore, repository: Repository, template: Template
) -> None:
    host.faults.refuse_unadvertised()
    old = repository.tip()
    await repository.commit({"x": "x"})
    with pytest.raises(CommitMovedError):
        await store.checkout(template, old, Deadline(60))
    assert host.packs_sent() == []


async def test_a_ref_that_moves_during_the_fetch_of_it_has_moved(
    host: GitServer, store: CheckoutStore, repository: Repository, template: Template
) -> None:
    host.faults.answer(200, NOT_OUR_REF, "application/x-git-upload-pack-result", where="fetch", times=1)
    old = repository.tip()
    moved = []

    async def move() -> None:
        moved.append(await repository.commit({"x": "x"}))

    repository.faults.move_head_after(1, move)
    with pytest.raises(CommitMovedError) as caught:
        await store.checkout(template, old, Deadline(60))
    assert [caught.value.commit] == moved


@pytest.mark.parametrize("ref", [None, "main", "v1"])
async def test_a_host_that_gives_refs_only_is_asked_for_the_ref(
    host: GitServer, store: CheckoutStore, repository: Repository, ref: str | None
) -> None:
    await repository.tag("v1", annotated=True)
    host.faults.answer(200, NOT_OUR_REF, "application/x-git-upload-pack-result", where="fetch", times=1)
    checkout = await store.checkout(template_at(repository.url, ref=ref), repository.tip(), Deadline(60))
    assert contents(checkout.path) == FILES


async def test_a_pinned_commit_needs_no_look_up(host: GitServer, store: CheckoutStore, repository: Repository) -> None:
    old = repository.tip()
    await repository.commit({"x": "x"})
    await store.checkout(template_at(repository.url, ref=old), old, Deadline(60))
    assert host.ref_requests() == []


async def test_a_pinned_commit_that_is_not_there_is_missing(store: CheckoutStore, repository: Repository) -> None:
    missing = "0123456789" * 4
    error = await fetch_failure(store, template_at(repository.url, ref=missing), missing)
    assert (error.code, error.message) == (
        "template_ref_missing",
        f"the ref {missing} was not found in the template repository {repository.url} of runtime hermes",
    )


async def test_the_fetch_goes_where_the_redirects_of_the_look_up_ended(
    host: GitServer, store: CheckoutStore, resolver: Resolver, repository: Repository
) -> None:
    host.faults_at("o/old").redirect(repository.url)
    template = template_at(host.url + "o/old")
    commit = await resolver.resolve(template, Deadline(60))
    await store.checkout(template, commit, Deadline(60))
    assert host.count(repository="o/old") == 1


async def test_the_fetch_of_a_pinned_commit_finds_redirects(
    host: GitServer, store: CheckoutStore, repository: Repository
) -> None:
    host.faults_at("o/old").redirect(repository.url)
    template = template_at(host.url + "o/old", ref=repository.tip())
    checkout = await store.checkout(template, repository.tip(), Deadline(60))
    assert contents(checkout.path) == FILES
