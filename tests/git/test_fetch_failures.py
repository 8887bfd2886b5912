"""Every failure of a checkout, made to happen."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from support.git_repository import Repository
from support.git_server import GitServer
from workspace_server.concurrency import Deadline
from workspace_server.errors import (
    DeadlineError,
    TemplateError,
    UnavailableError,
)
from workspace_server.git import (
    CheckoutStore,
    GitAccess,
)
from workspace_server.runtimes import Template

from .conftest import FILES, contents, fetch_failure, files_below, template_at
from .spy import failing_git


async def test_a_host_that_is_off_is_unreachable(
    host: GitServer, store: CheckoutStore, repository: Repository, template: Template
) -> None:
    await host.stop()
    assert (await fetch_failure(store, template, repository.tip())).as_dict() == {
        "error": f"local-build mode: Gitea unreachable at http://127.0.0.1:{host.port} — verify network or set"
        " MOLECULE_IMAGE_REGISTRY to a reachable registry",
        "code": "git_unreachable",
        "hint": f"the connection failed: connection refused (runtime hermes, {template.url})",
    }


@pytest.mark.parametrize(
    ("status", "code"), [(404, "template_repo_missing"), (401, "template_repo_missing"), (500, "git_unreachable")]
)
async def test_what_the_host_answers_names_the_failure(
    host: GitServer, store: CheckoutStore, template: Template, status: int, code: str
) -> None:
    host.faults.answer(status)
    assert (await fetch_failure(store, template, "0123456789" * 4)).code == code


async def test_a_refused_token_is_denied(
    host: GitServer, private_store: CheckoutStore, repository: Repository, template: Template
) -> None:
    host.faults.require_token("another", wrong="403")
    assert (await fetch_failure(private_store, template, repository.tip())).code == "git_denied"


@pytest.mark.parametrize("after", [0, 1, 100])
async def test_a_pack_that_is_cut_off_is_unreachable(
    host: GitServer, store: CheckoutStore, repository: Repository, template: Template, after: int
) -> None:
    host.faults.cut_off(after, "fetch")
    error = await fetch_failure(store, template, repository.tip())
    assert (error.code, error.hint) == (
        "git_unreachable",
        f"the transfer of the files broke off (runtime hermes, {template.url})",
    )


async def test_a_pack_that_is_cut_off_once_is_fetched_again(
    host: GitServer, store: CheckoutStore, repository: Repository, template: Template
) -> None:
    host.faults.cut_off(100, "fetch", times=1)
    assert contents((await store.checkout(template, repository.tip(), Deadline(60))).path) == FILES


async def test_a_pinned_commits_pack_that_is_cut_off_once_is_fetched_again(
    host: GitServer, store: CheckoutStore, repository: Repository
) -> None:
    host.faults.cut_off(100, "fetch", times=1)
    template = template_at(repository.url, ref=repository.tip())
    assert contents((await store.checkout(template, repository.tip(), Deadline(60))).path) == FILES


async def test_after_a_cut_nothing_is_in_the_way_of_the_next_checkout(
    host: GitServer, store: CheckoutStore, repository: Repository, template: Template
) -> None:
    fault = host.faults.cut_off(100, "fetch")
    await fetch_failure(store, template, repository.tip())
    host.faults.remove(fault)
    assert contents((await store.checkout(template, repository.tip(), Deadline(60))).path) == FILES


async def test_a_folder_whose_objects_are_gone_is_missing(store: CheckoutStore, repository: Repository) -> None:
    tree = await repository.show("main^{tree}")
    (repository.directory / "objects" / tree[:2] / tree[2:]).unlink()
    error = await fetch_failure(store, template_at(f"file://{repository.directory}"), repository.tip())
    assert error.code == "template_repo_missing"


async def test_a_deadline_ends_the_fetch(
    host: GitServer, store: CheckoutStore, repository: Repository, template: Template
) -> None:
    host.faults.hold("fetch")
    with pytest.raises(DeadlineError, match=r"^git [a-z]+ took longer than 0\.3 s$"):
        await store.checkout(template, repository.tip(), Deadline(0.3))


async def test_after_a_deadline_the_next_checkout_works(
    host: GitServer, store: CheckoutStore, repository: Repository, template: Template
) -> None:
    hold = host.faults.hold("fetch")
    with pytest.raises(DeadlineError):
        await store.checkout(template, repository.tip(), Deadline(0.3))
    host.faults.remove(hold)
    assert contents((await store.checkout(template, repository.tip(), Deadline(60))).path) == FILES


async def test_after_a_cancelled_checkout_the_next_one_works(
    host: GitServer, store: CheckoutStore, repository: Repository, template: Template
) -> None:
    hold = host.faults.hold("fetch", after_bytes=50)
    task = asyncio.create_task(store.checkout(template, repository.tip(), Deadline(60)))
    await hold.arrived.wait()
    task.cancel()
    await asyncio.wait([task])
    host.faults.remove(hold)
    assert contents((await store.checkout(template, repository.tip(), Deadline(60))).path) == FILES


@pytest.fixture(params=["init", "fetch", "read-tree"])
def on_a_full_disk(
    request: pytest.FixtureRequest,
    store_for: Callable[[GitAccess], CheckoutStore],
    access: GitAccess,
    tmp_path: Path,
) -> CheckoutStore:
    message = "fatal: write error: No space left on device"
    return store_for(failing_git(access, tmp_path / "bin", request.param, message))


async def test_a_disk_that_is_full_under_git_is_no_space(
    on_a_full_disk: CheckoutStore, repository: Repository, template: Template
) -> None:
    assert (await fetch_failure(on_a_full_disk, template, repository.tip())).code == "no_space"


async def test_a_missing_git_is_a_missing_tool(
    store_for: Callable[[GitAccess], CheckoutStore], access: GitAccess, repository: Repository, template: Template
) -> None:
    error = await fetch_failure(store_for(replace(access, passed_on={"PATH": "/nowhere"})), template, repository.tip())
    assert (type(error), error.code) == (UnavailableError, "tool_missing")


@pytest.mark.parametrize("name", [".git/config", "a/.GIT/hooks/post-checkout", "git~1", "../../outside"])
async def test_a_tree_that_git_refuses_is_malformed(host: GitServer, store: CheckoutStore, name: str) -> None:
    repository = await host.create("o/hostile", {"Dockerfile": "FROM scratch\n", name: "x"})
    error = await fetch_failure(store, template_at(repository.url), repository.tip())
    assert (type(error), error.code) == (TemplateError, "template_malformed")


async def test_too_many_files_are_malformed_with_the_limit(host: GitServer, store: CheckoutStore) -> None:
    repository = await host.create("o/many", {f"{n}": "x" for n in range(20_001)})
    error = await fetch_failure(store, template_at(repository.url), repository.tip())
    assert error.as_dict() == {
        "error": "the template of runtime hermes cannot be used: it has more than 20000 files",
        "code": "template_malformed",
        "hint": f"change {repository.url}, commit {repository.tip()}",
    }


async def test_too_large_files_are_not_written(
    store: CheckoutStore, cache: Path, repository: Repository, template: Template, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workspace_server.git.tree.MAX_BYTES", 10)
    error = await fetch_failure(store, template, repository.tip())
    assert (error.code, {path.name for path in files_below(cache)} & FILES.keys()) == ("template_malformed", set())


async def test_a_file_that_git_refuses_in_the_end_is_malformed(
    store_for: Callable[[GitAccess], CheckoutStore],
    access: GitAccess,
    repository: Repository,
    template: Template,
    tmp_path: Path,
) -> None:
    refusing = failing_git(access, tmp_path / "bin", "read-tree", "error: invalid path")
    assert (await fetch_failure(store_for(refusing), template, repository.tip())).code == "template_malformed"


async def test_a_file_system_that_changes_files_is_unusable(
    store: CheckoutStore, cache: Path, repository: Repository, template: Template, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workspace_server.git.fetch.difference", lambda *_: "'a' has the mode 100777")
    error = await fetch_failure(store, template, repository.tip())
    assert (error.message, (cache / "hermes" / repository.tip()).exists()) == (
        (
            f"the build cache {cache} cannot be used: its file system does not keep what git writes: 'a' has the mode"
            " 100777"
        ),
        False,
    )


async def test_a_failed_export_leaves_nothing_behind(
    store: CheckoutStore, cache: Path, repository: Repository, template: Template, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workspace_server.git.fetch.difference", lambda *_: "'a' has the mode 100777")
    await fetch_failure(store, template, repository.tip())
    assert {path.name for path in files_below(cache)} & {*FILES, "ready"} == set()
