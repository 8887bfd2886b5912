import asyncio
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from structlog.typing import EventDict

from support.git_objects import FileMap, executable, submodule, symlink
from support.git_repository import Repository
from support.git_server import GitServer
from workspace_server.concurrency import Deadline
from workspace_server.errors import (
    SourceError,
)
from workspace_server.git import (
    Checkout,
    CheckoutStore,
    GitAccess,
)
from workspace_server.runtimes import Template

from .conftest import FILES, contents, events, template_at


@pytest.fixture
def umask() -> Iterator[Callable[[int], object]]:
    """Sets this process's umask until the end of the test."""
    before = os.umask(0o022)
    os.umask(before)
    yield os.umask
    os.umask(before)


def modes(root: Path) -> dict[str, int]:
    return {str(path.relative_to(root)): stat.S_IMODE(path.lstat().st_mode) for path in root.rglob("*")}


# What a checkout is


async def test_a_checkout_has_the_files_of_the_commit_and_no_git(
    store: CheckoutStore, repository: Repository, template: Template
) -> None:
    checkout = await store.checkout(template, repository.tip(), Deadline(60))
    assert contents(checkout.path) == FILES


async def test_a_checkout_lies_below_runtime_and_commit(
    store: CheckoutStore, cache: Path, repository: Repository, template: Template
) -> None:
    commit = repository.tip()
    checkout = await store.checkout(template, commit, Deadline(60))
    assert checkout == Checkout(path=cache / "hermes" / commit / "tree", commit=commit)
    assert sorted(path.name for path in (cache / "hermes" / commit).iterdir()) == ["ready", "tree"]


async def test_the_cache_has_nothing_else(
    store: CheckoutStore, cache: Path, repository: Repository, template: Template
) -> None:
    await store.checkout(template, repository.tip(), Deadline(60))
    names = {path.name for path in (cache / "hermes").iterdir()}
    assert names == {repository.tip(), f"git-{template.url.digest}", "lock"}


@pytest.mark.parametrize("ours", [0o000, 0o077])
async def test_files_have_gits_modes_whatever_the_servers_umask(
    host: GitServer, store: CheckoutStore, umask: Callable[[int], object], ours: int
) -> None:
    files: FileMap = {"plain": "x", "bin/run": executable("x"), "module": submodule("1" * 40)}
    repository = await host.create("o/modes", files)
    umask(ours)
    checkout = await store.checkout(template_at(repository.url), repository.tip(), Deadline(60))
    assert modes(checkout.path) == {"plain": 0o644, "bin": 0o755, "bin/run": 0o755, "module": 0o755}


async def test_nobody_else_may_look_into_the_cache(
    store: CheckoutStore, cache: Path, repository: Repository, template: Template, umask: Callable[[int], object]
) -> None:
    umask(0)
    checkout = await store.checkout(template, repository.tip(), Deadline(60))
    ours = {name: mode for name, mode in modes(cache).items() if not (cache / name).is_relative_to(checkout.path)}
    assert {name: oct(mode) for name, mode in ours.items() if mode & 0o077} == {}


async def test_a_link_stays_a_link(host: GitServer, store: CheckoutStore) -> None:
    repository = await host.create("o/links", {"Dockerfile": symlink("../../../etc/passwd")})
    checkout = await store.checkout(template_at(repository.url), repository.tip(), Deadline(60))
    assert (checkout.path / "Dockerfile").readlink() == Path("../../../etc/passwd")


async def test_a_submodule_is_an_empty_folder(host: GitServer, store: CheckoutStore) -> None:
    repository = await host.create("o/sub", {"x": "x", "module": submodule("1" * 40), ".gitmodules": "[submodule]\n"})
    checkout = await store.checkout(template_at(repository.url), repository.tip(), Deadline(60))
    assert list((checkout.path / "module").iterdir()) == []


@pytest.mark.parametrize(
    "attributes",
    [
        "* text eol=crlf",
        "* ident",
        "* filter=lfs diff=lfs merge=lfs -text",
        "* export-ignore",
        "* export-subst",
        "* text working-tree-encoding=UTF-16",
    ],
)
async def test_no_attribute_changes_a_file(host: GitServer, store: CheckoutStore, attributes: str) -> None:
    files = {
        ".gitattributes": attributes + "\n",
        "file": "version https://git-lfs.github.com/spec/v1\n$Id$ $Format:%H$\n",
    }
    repository = await host.create("o/attributes", files)
    checkout = await store.checkout(template_at(repository.url), repository.tip(), Deadline(60))
    assert contents(checkout.path) == files


async def test_a_name_may_be_any_bytes(host: GitServer, store: CheckoutStore) -> None:
    files: FileMap = {"new\nline": "1", 'quote"': "2", "tab\t": "3", "\udcff": "4", " ": "5", "-rf": "6"}
    repository = await host.create("o/names", files)
    checkout = await store.checkout(template_at(repository.url), repository.tip(), Deadline(60))
    assert contents(checkout.path) == files


async def test_an_empty_commit_is_an_empty_folder(host: GitServer, store: CheckoutStore) -> None:
    repository = await host.create("o/nothing", {})
    checkout = await store.checkout(template_at(repository.url), repository.tip(), Deadline(60))
    assert list(checkout.path.iterdir()) == []


async def test_a_sha256_repository_is_checked_out(host: GitServer, store: CheckoutStore) -> None:
    repository = await host.create("o/long", FILES, object_format="sha256")
    checkout = await store.checkout(template_at(repository.url), repository.tip(), Deadline(60))
    assert contents(checkout.path) == FILES


async def test_a_repository_made_anew_with_long_commits_is_checked_out(
    host: GitServer, store: CheckoutStore, repository: Repository, template: Template
) -> None:
    await store.checkout(template, repository.tip(), Deadline(60))
    new = await host.create("o/long", FILES, object_format="sha256")
    repository.faults.redirect(new.url)
    await store._resolver.look_up(template, Deadline(60))
    checkout = await store.checkout(template, new.tip(), Deadline(60))
    assert contents(checkout.path) == FILES


async def test_a_folder_is_a_source(host: GitServer, store: CheckoutStore, repository: Repository) -> None:
    template = template_at(f"file://{repository.directory}")
    checkout = await store.checkout(template, repository.tip(), Deadline(60))
    assert (contents(checkout.path), host.requests) == (FILES, [])


async def test_a_folder_of_another_user_is_a_source(store: CheckoutStore, repository: Repository) -> None:
    if os.geteuid() == 0:  # nobody else can give files away
        for path in [repository.directory, *repository.directory.rglob("*")]:
            os.chown(path, 1000, 1000)
    template = template_at(f"file://{repository.directory}")
    assert contents((await store.checkout(template, repository.tip(), Deadline(60))).path) == FILES


# What it costs


async def test_a_commit_is_fetched_with_one_pack(
    host: GitServer, store: CheckoutStore, repository: Repository, template: Template
) -> None:
    await store.checkout(template, repository.tip(), Deadline(60))
    assert len(host.pack_requests()) == len(host.packs_sent()) == 1


async def test_a_second_checkout_asks_nobody(
    host: GitServer, store: CheckoutStore, repository: Repository, template: Template
) -> None:
    first = await store.checkout(template, repository.tip(), Deadline(60))
    host.requests.clear()
    assert (await store.checkout(template, repository.tip(), Deadline(60)), host.requests) == (first, [])


async def test_the_next_commit_is_fetched_as_a_difference(
    host: GitServer, store: CheckoutStore, repository: Repository, template: Template
) -> None:
    old = repository.tip()
    await store.checkout(template, old, Deadline(60))
    new = await repository.commit({"x": "x"})
    await store.checkout(template, new, Deadline(60))
    assert f"have {old}".encode() in host.pack_requests()[-1].body


async def test_no_history_is_fetched(
    store: CheckoutStore, cache: Path, repository: Repository, template: Template
) -> None:
    old = repository.tip()
    new = await repository.commit({"x": "x"})
    await store.checkout(template, new, Deadline(60))
    objects = cache / "hermes" / f"git-{template.url.digest}" / "objects"
    assert not (objects / old[:2] / old[2:]).exists()


async def test_ten_checkouts_at_once_are_one_pack(
    host: GitServer, store: CheckoutStore, repository: Repository, template: Template
) -> None:
    commit = repository.tip()
    await asyncio.gather(*(store.checkout(template, commit, Deadline(60)) for _ in range(10)))
    assert len(host.packs_sent()) == 1


async def test_two_servers_on_one_cache_make_one_pack_request(
    host: GitServer,
    store_for: Callable[[GitAccess], CheckoutStore],
    access: GitAccess,
    repository: Repository,
    template: Template,
) -> None:
    stores = [store_for(access), store_for(access)]
    commit = repository.tip()
    first, second = await asyncio.gather(*(store.checkout(template, commit, Deadline(60)) for store in stores))
    assert (first, len(host.packs_sent())) == (second, 1)


# What is said


async def test_a_fetch_is_logged_in_the_words_of_the_design(
    store: CheckoutStore, repository: Repository, template: Template, logs: list[EventDict]
) -> None:
    await store.checkout(template, repository.tip(), Deadline(60))
    who = {"log_level": "info", "runtime": "hermes", "commit": repository.tip()[:12]}
    assert logs == [
        {"event": f"local-build: cloning {template.url}", **who},
        {"event": f"local-build: clone complete ({repository.tip()[:12]})", **who},
    ]


async def test_without_a_fetch_none_is_logged(
    store: CheckoutStore, repository: Repository, template: Template, logs: list[EventDict]
) -> None:
    await store.checkout(template, repository.tip(), Deadline(60))
    logs.clear()
    await store.checkout(template, repository.tip(), Deadline(60))
    assert logs == []


async def test_a_fetch_that_failed_is_not_complete(
    host: GitServer, store: CheckoutStore, repository: Repository, template: Template, logs: list[EventDict]
) -> None:
    await host.stop()
    with pytest.raises(SourceError) as caught:
        await store.checkout(template, repository.tip(), Deadline(60))
    assert events(logs) == [f"local-build: cloning {template.url}", caught.value.message]
