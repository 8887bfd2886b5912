"""Checkouts that were edited or cut short."""

import os
import shutil
from collections.abc import Callable

import pytest
from structlog.typing import EventDict

from support.git_server import GitServer
from workspace_server.errors import UnavailableError

from .conftest import FILES, Made


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


async def test_a_tree_behind_a_link_is_replaced_by_a_tree(made: Made) -> None:
    replace_the_tree_by_a_link(made)
    await made.again()
    assert not made.tree.is_symlink()


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


async def test_a_link_in_place_of_a_runtimes_folder_is_refused(made: Made) -> None:
    made.folder.rename(made.folder.parent.parent / "outside")
    made.folder.symlink_to(made.folder.parent.parent / "outside")
    with pytest.raises(UnavailableError) as caught:
        await made.again()
    assert caught.value.message == (
        f"the build cache {made.folder.parent} cannot be used: it is no folder of the user this server runs as"
        f" ({made.folder})"
    )


async def test_a_folder_of_another_user_is_refused(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: made.folder.stat().st_uid + 1)
    with pytest.raises(UnavailableError) as caught:
        await made.again()
    assert caught.value.message == (
        f"the build cache {made.folder.parent} cannot be used: it is no folder of the user this server runs as"
        f" ({made.folder})"
    )


async def test_a_file_in_place_of_a_runtimes_folder_is_said(made: Made) -> None:
    made.folder.rename(made.folder.parent / "away")
    made.folder.touch()
    with pytest.raises(UnavailableError) as caught:
        await made.again()
    assert caught.value.message == f"the build cache {made.folder.parent} cannot be used: File exists ({made.folder})"
