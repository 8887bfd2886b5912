"""What fetching keeps: how much, since when, and how it is removed."""

import asyncio
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from workspace_server.concurrency import FileLock
from workspace_server.errors import ConflictError, DeadlineError
from workspace_server.git import holdings as module
from workspace_server.git.holdings import Holding, HoldingKind, holdings, remove_holding, tree_bytes

from .conftest import FILES, Made

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


def of_kind(cache: Path, kind: HoldingKind) -> Holding:
    (found,) = [holding for holding in holdings(cache) if holding.kind is kind]
    return found


def checkout_of(made: Made, cache: Path) -> Holding:
    """The checkout, last used long ago."""
    os.utime(made.place / "ready", (LONG_AGO.timestamp(), LONG_AGO.timestamp()))
    return of_kind(cache, HoldingKind.CHECKOUT)


def test_a_cache_that_is_not_there_holds_nothing(cache: Path) -> None:
    assert holdings(cache) == []


def test_a_fetched_commit_is_a_checkout_and_an_object_store(made: Made, cache: Path) -> None:
    found = {(holding.kind, holding.runtime, holding.path, holding.commit) for holding in holdings(cache)}

    assert found == {
        (HoldingKind.CHECKOUT, "hermes", made.place, made.commit),
        (HoldingKind.OBJECTS, "hermes", made.objects, None),
    }


def test_a_checkout_takes_what_its_files_take(made: Made, cache: Path) -> None:
    assert of_kind(cache, HoldingKind.CHECKOUT).bytes == sum(len(content) for content in FILES.values())


def test_an_object_store_takes_what_its_files_take(made: Made, cache: Path) -> None:
    files = [path for path in made.objects.rglob("*") if path.is_file()]

    assert of_kind(cache, HoldingKind.OBJECTS).bytes == sum(path.stat().st_size for path in files)


def test_a_checkout_was_used_when_its_marker_says(made: Made, cache: Path) -> None:
    assert checkout_of(made, cache).used_at == LONG_AGO


async def test_asking_for_a_checkout_again_is_a_use(made: Made, cache: Path) -> None:
    checkout_of(made, cache)
    await made.again()

    assert datetime.now(UTC) - of_kind(cache, HoldingKind.CHECKOUT).used_at < timedelta(minutes=5)


def test_a_folder_without_a_lock_of_fetching_is_none_of_ours(made: Made, cache: Path) -> None:
    for name in ("git-12345678", made.commit):
        (cache / "builds" / name).mkdir(parents=True)
    (cache / "builds" / made.commit / "ready").touch()

    assert {holding.runtime for holding in holdings(cache)} == {"hermes"}


def test_a_checkout_that_is_not_finished_is_not_shown(made: Made, cache: Path) -> None:
    (made.place / "ready").unlink()

    assert [holding.kind for holding in holdings(cache)] == [HoldingKind.OBJECTS]


@pytest.mark.parametrize("name", ["git-12345678", "0" * 40])
def test_a_link_is_not_followed_out_of_the_cache(made: Made, cache: Path, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "ready").touch()
    (cache / "hermes" / name).symlink_to(outside)

    assert name not in {holding.path.name for holding in holdings(cache)}


def test_a_runtimes_folder_that_is_a_link_is_not_followed(made: Made, cache: Path) -> None:
    (cache / "linked").symlink_to(cache / "hermes")

    assert {holding.runtime for holding in holdings(cache)} == {"hermes"}


def test_what_vanishes_during_the_look_is_left_out(made: Made, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def vanished(path: Path) -> int:
        made.remove_checkout()
        return 0

    monkeypatch.setattr(module, "tree_bytes", vanished)

    assert HoldingKind.CHECKOUT not in {holding.kind for holding in holdings(cache)}


def test_the_target_of_a_link_takes_no_room(tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(bytes(10_000))
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link").symlink_to(tmp_path / "outside")

    assert tree_bytes(inside) < 10_000


async def test_a_removed_checkout_is_gone_and_nothing_else(made: Made, cache: Path) -> None:
    await remove_holding(checkout_of(made, cache))

    assert sorted(path.name for path in made.folder.iterdir()) == sorted([made.objects.name, "lock"])


async def test_a_removed_checkout_is_made_again_from_the_objects_that_stayed(made: Made, cache: Path) -> None:
    await remove_holding(checkout_of(made, cache))

    assert await made.again() == FILES


async def test_after_everything_was_removed_everything_is_fetched_again(made: Made, cache: Path) -> None:
    for holding in holdings(cache):
        await remove_holding(holding)

    assert (await made.again(), len(holdings(cache))) == (FILES, 2)


async def test_removing_what_is_gone_is_no_error(made: Made, cache: Path) -> None:
    holding = checkout_of(made, cache)
    made.remove_checkout()
    await remove_holding(holding)

    assert not made.place.exists()


async def test_nothing_is_removed_while_somebody_fetches(
    made: Made, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LOCK_SECONDS", 0.05)
    holding = checkout_of(made, cache)
    async with FileLock(made.folder / "lock"):
        with pytest.raises(DeadlineError):
            await remove_holding(holding)

    assert made.tree.is_dir()


async def test_a_checkout_that_was_used_while_its_removal_waited_stays(
    made: Made, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build is about to work with it, outside the lock."""
    holding, waits, attempt = checkout_of(made, cache), asyncio.Event(), FileLock._try

    def noticed(lock: FileLock) -> bool:
        waits.set()
        return attempt(lock)

    async with FileLock(made.folder / "lock"):
        monkeypatch.setattr(FileLock, "_try", noticed)
        removal = asyncio.create_task(remove_holding(holding))
        await waits.wait()
        (made.place / "ready").touch()
    with pytest.raises(ConflictError, match="used meanwhile"):
        await removal

    assert made.tree.is_dir()
