"""Object stores that were damaged, or left behind by a git that was killed."""

import hashlib
import os
import shutil
import subprocess
import zlib
from collections.abc import Callable

import pytest
from structlog.typing import EventDict

from support.git_repository import Repository
from support.git_server import GitServer
from workspace_server.concurrency import Deadline

from .conftest import FILES, Made, events


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


def one_file_an_object(made: Made) -> None:
    """Take the pack apart, so that one object can be damaged."""
    (pack,) = (made.objects / "objects" / "pack").glob("*.pack")
    content = pack.read_bytes()
    shutil.rmtree(pack.parent)
    env = {"PATH": os.environ["PATH"], "GIT_DIR": str(made.objects)}
    subprocess.run(["git", "unpack-objects", "-q"], input=content, env=env, check=True)


def one_blob_gone(made: Made) -> None:
    one_file_an_object(made)
    for path in (made.objects / "objects").rglob("*"):
        if path.is_file() and path.stat().st_size < 40:
            path.unlink()


def one_blob_swapped(made: Made) -> None:
    one_file_an_object(made)
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
