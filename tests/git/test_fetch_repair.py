"""Caches that were edited, cut short or damaged."""

import hashlib
import os
import shutil
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from structlog.typing import EventDict

from support.git_repository import Repository
from support.git_server import GitServer
from workspace_server.concurrency import Deadline
from workspace_server.errors import UnavailableError
from workspace_server.git import CheckoutStore
from workspace_server.runtimes import Template

from .conftest import FILES, events


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
async def made(host: GitServer, store: CheckoutStore, cache: Path, repository: Repository, template: Template) -> Made:
    await store.checkout(template, repository.tip(), Deadline(60))
    host.requests.clear()
    return Made(store, template, repository.tip(), cache / "hermes")


def edit(made: Made) -> None:
    (made.tree / "Dockerfile").write_text("FROM scratcH\n")


def add(made: Made) -> None:
    (made.tree / "extra").write_text("x")


def chmod(made: Made) -> None:
    (made.tree / "adapter.py").chmod(0o777)


def take_permissions(made: Made) -> None:
    (made.tree / "locked" / "deep").mkdir(parents=True)
    (made.tree / "locked" / "deep").chmod(0)
    (made.tree / "locked").chmod(0)


def replace_the_tree_by_a_link(made: Made) -> None:
    made.tree.rename(made.folder / "other")
    made.tree.symlink_to(made.folder / "other")


def remove_the_tree(made: Made) -> None:
    shutil.rmtree(made.tree)


@pytest.mark.parametrize("change", [edit, add, chmod, take_permissions, replace_the_tree_by_a_link, remove_the_tree])
async def test_an_edited_checkout_is_made_anew_without_the_host(
    host: GitServer, made: Made, change: Callable[[Made], None]
) -> None:
    change(made)
    assert (await made.again(), host.requests) == (FILES, [])


async def test_an_edited_checkout_is_logged_with_the_difference(made: Made, logs: list[EventDict]) -> None:
    edit(made)
    await made.again()
    assert logs == [
        {
            "event": "local-build: checkout edited",
            "log_level": "warning",
            "runtime": "hermes",
            "commit": made.commit[:12],
            "difference": "'Dockerfile' has another content",
        }
    ]


async def test_an_edit_leaves_nothing_behind(made: Made) -> None:
    take_permissions(made)
    await made.again()
    assert {path.name for path in made.folder.iterdir()} == {made.commit, made.objects.name, "lock"}


def unmarked(made: Made) -> None:
    (made.place / "ready").unlink()
    edit(made)


def half(made: Made) -> None:
    (made.place / "ready").unlink()
    (made.tree / "Dockerfile").unlink()


def a_file(made: Made) -> None:
    shutil.rmtree(made.place)
    made.place.write_text("x")


def a_link_out_of_the_cache(made: Made) -> None:
    made.place.rename(made.folder.parent.parent / "outside")
    made.place.symlink_to(made.folder.parent.parent / "outside")


@pytest.mark.parametrize("damage", [unmarked, half, a_file, a_link_out_of_the_cache])
async def test_what_is_no_checkout_is_made_anew(host: GitServer, made: Made, damage: Callable[[Made], None]) -> None:
    damage(made)
    assert (await made.again(), host.requests, made.place.is_symlink()) == (FILES, [], False)


async def test_a_link_out_of_the_cache_is_removed_and_not_followed(made: Made) -> None:
    a_link_out_of_the_cache(made)
    await made.again()
    assert (made.folder.parent.parent / "outside" / "tree" / "Dockerfile").exists()


async def test_a_whole_checkout_without_marker_is_not_believed(made: Made) -> None:
    (made.place / "ready").unlink()
    with (made.tree / "Dockerfile").open() as before:  # open, so that its number is not given to another file
        await made.again()
        assert os.fstat(before.fileno()).st_nlink == 0


async def test_what_a_crash_left_is_swept_away(made: Made) -> None:
    for name in ("staging-abc", "discarded-abc"):
        (made.folder / name / "tree").mkdir(parents=True)
        (made.folder / name / "tree").chmod(0)
    await made.again()
    assert {path.name for path in made.folder.iterdir()} == {made.commit, made.objects.name, "lock"}


def every_object_cut(made: Made) -> None:
    for path in (made.objects / "objects").rglob("*"):
        if path.is_file():
            path.chmod(0o600)
            path.write_bytes(path.read_bytes()[:10])


def no_objects(made: Made) -> None:
    shutil.rmtree(made.objects / "objects")


def no_head(made: Made) -> None:
    (made.objects / "HEAD").unlink()


def empty_head(made: Made) -> None:
    (made.objects / "HEAD").write_text("")


def broken_config(made: Made) -> None:
    (made.objects / "config").write_text("[core")


def a_file_instead(made: Made) -> None:
    shutil.rmtree(made.objects)
    made.objects.write_text("x")


def a_link_instead(made: Made) -> None:
    made.objects.rename(made.folder.parent.parent / "outside.git")
    made.objects.symlink_to(made.folder.parent.parent / "outside.git")


def gone(made: Made) -> None:
    shutil.rmtree(made.objects)


def one_blob_gone(made: Made) -> None:
    for path in (made.objects / "objects").rglob("*"):
        if path.is_file() and path.stat().st_size < 40:
            path.unlink()


def one_blob_swapped(made: Made) -> None:
    blob = hashlib.sha1(b"blob 13\0FROM scratch\n", usedforsecurity=False).hexdigest()
    path = made.objects / "objects" / blob[:2] / blob[2:]
    path.unlink()
    path.write_bytes(zlib.compress(b"blob 13\0FROM scratcH\n"))


DAMAGES = [
    one_blob_swapped,
    every_object_cut,
    no_objects,
    empty_head,
    broken_config,
    a_file_instead,
    a_link_instead,
    gone,
    one_blob_gone,
]


@pytest.mark.parametrize("damage", [*DAMAGES, no_head])
async def test_a_damaged_store_still_gives_the_commit(made: Made, damage: Callable[[Made], None]) -> None:
    made.remove_checkout()
    damage(made)
    assert await made.again() == FILES


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_store_is_fetched_anew_once(
    host: GitServer, made: Made, logs: list[EventDict], damage: Callable[[Made], None]
) -> None:
    made.remove_checkout()
    damage(made)
    await made.again()
    repairs = events(logs).count("local-build: object store damaged, fetching anew")
    assert (repairs <= 1, 1 <= len(host.packs_sent()) <= 1 + repairs) == (True, True)


@pytest.mark.parametrize("damage", [*DAMAGES, no_head])
async def test_a_damaged_store_is_no_obstacle_to_the_next_commit(
    made: Made, repository: Repository, damage: Callable[[Made], None]
) -> None:
    damage(made)
    new = await repository.commit({"x": "x"})
    checkout = await made.store.checkout(made.template, new, Deadline(60))
    assert (checkout.path / "x").read_text() == "x"


async def test_a_damaged_store_is_told_from_a_commit_that_moved(
    host: GitServer, made: Made, repository: Repository
) -> None:
    host.faults.refuse_unadvertised()
    every_object_cut(made)
    await repository.tag("kept")
    await repository.commit({"x": "x"})
    assert await made.again() == FILES


async def test_a_damaged_store_is_logged(made: Made, logs: list[EventDict]) -> None:
    every_object_cut(made)
    await made.again()
    assert "local-build: object store damaged, fetching anew" in events(logs)


async def test_locks_of_a_killed_git_are_no_obstacle(host: GitServer, made: Made, repository: Repository) -> None:
    new = await repository.commit({"x": "x"})
    for name in ("shallow.lock", f"refs/commits/{new}.lock", "config.lock", "packed-refs.lock", "HEAD.lock"):
        (made.objects / name).touch()
    await made.store.checkout(made.template, new, Deadline(60))
    assert len(host.packs_sent()) == 1


async def test_half_a_pack_of_a_killed_git_is_removed(made: Made) -> None:
    left = [made.objects / "objects" / "pack" / "tmp_pack_abc", made.objects / "objects" / "aa" / "tmp_obj_abc"]
    for path in left:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    await made.again()
    assert [path for path in left if path.exists()] == []


async def test_a_commit_that_cannot_be_repaired_fails_and_does_not_loop(
    host: GitServer, made: Made, repository: Repository
) -> None:
    every_object_cut(made)
    await host.stop()
    with pytest.raises(Exception, match="Gitea unreachable"):
        await made.again()


async def test_a_link_in_place_of_a_runtimes_folder_is_refused(made: Made) -> None:
    made.folder.rename(made.folder.parent.parent / "outside")
    made.folder.symlink_to(made.folder.parent.parent / "outside")
    with pytest.raises(UnavailableError) as caught:
        await made.again()
    assert caught.value.message == (
        f"the build cache {made.folder} cannot be used: it is no folder of the user this server runs as"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
async def test_a_folder_of_another_user_is_refused(made: Made) -> None:
    os.chown(made.folder, 1000, 1000)
    with pytest.raises(UnavailableError) as caught:
        await made.again()
    assert caught.value.message == (
        f"the build cache {made.folder} cannot be used: it is no folder of the user this server runs as"
    )


async def test_a_file_in_place_of_a_runtimes_folder_is_said(made: Made) -> None:
    made.folder.rename(made.folder.parent / "away")
    made.folder.touch()
    with pytest.raises(UnavailableError) as caught:
        await made.again()
    assert caught.value.message == f"the build cache {made.folder.parent} cannot be used: File exists ({made.folder})"
