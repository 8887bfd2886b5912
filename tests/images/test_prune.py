"""Local builds are kept under a budget: the least recently used go first, and never what is in use."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.engine import Engine as Api
from support.git_repository import Repository
from support.git_server import GitServer
from workspace_server.concurrency import FileLock
from workspace_server.git import holdings as git_holdings
from workspace_server.images import service as images_service
from workspace_server.images.build import lock_path
from workspace_server.images.ledger import ImageLedger
from workspace_server.images.lookup import Hit, Miss
from workspace_server.images.prune import Pruned
from workspace_server.images.template import TemplateFiles
from workspace_server.model import names
from workspace_server.runtimes import Template

from .conftest import Heard, Server
from .making import identity, made_image
from .shelf import Shelf, aged

pytestmark = pytest.mark.engine


def removed(report: Pruned) -> list[str]:
    return [f"{item.kind} {item.name}" for item, _ in report.removed]


def why_kept(report: Pruned) -> set[tuple[str, str]]:
    return {(item.kind, why) for item, why in report.kept}


@pytest.fixture
def shelf(server: Server, api: Api, template: Template, cache: Path) -> Shelf:
    return Shelf(server, api, template, cache)


@pytest.fixture
def commit(repository: Repository) -> str:
    return repository.tip()


# What goes


async def test_within_the_budget_everything_stays(shelf: Shelf) -> None:
    image = await shelf.image(1, hours=9)
    report = await shelf.prune()

    assert (report.removed, why_kept(report), await shelf.there(image)) == (
        [],
        {("image", "within the budget")},
        [True],
    )


async def test_beyond_the_number_of_images_the_least_recently_used_go(shelf: Shelf) -> None:
    images = [await shelf.image(number, hours=hours) for number, hours in enumerate([3, 9, 1, 5], 1)]
    await shelf.prune(images=2)

    assert await shelf.there(*images) == [True, False, True, False]


async def test_beyond_the_number_of_images_only_images_go(shelf: Shelf) -> None:
    await shelf.image(1, hours=1)
    log = shelf.log(hours=9)
    report = await shelf.prune(images=0)

    assert ([item.kind for item, _ in report.removed], shelf.server.book.get(log).id) == (["image"], log)


async def test_beyond_the_bytes_the_least_recently_used_of_every_kind_go(shelf: Shelf) -> None:
    images = [await shelf.image(1, hours=9), await shelf.image(2, hours=3)]
    log = shelf.log(hours=6)
    total = (await shelf.prune(dry_run=True)).total
    one = await shelf.server.engine.image(images[0])
    assert one is not None
    report = await shelf.prune(bytes=total - one.size - 1)

    assert [item.kind for item, _ in report.removed] == ["image", "log"]
    assert report.removed[1][0].name == log
    assert await shelf.there(*images) == [False, True]


async def test_nothing_more_goes_than_the_budget_asks_for(shelf: Shelf) -> None:
    logs = [shelf.log(hours=hours) for hours in (3, 2, 1)]
    total = (await shelf.prune(dry_run=True)).total
    report = await shelf.prune(bytes=total - 1)

    assert removed(report) == [f"log {logs[0]}"]


async def test_what_goes_says_why(shelf: Shelf) -> None:
    await shelf.image(1, hours=9)
    report = await shelf.prune(images=0)

    assert [why for _, why in report.removed] == ["least recently used"]


async def test_the_report_adds_up(shelf: Shelf) -> None:
    await shelf.image(1, hours=9)
    shelf.log(hours=3)
    before = (await shelf.prune(dry_run=True)).total
    report = await shelf.prune(images=0)

    assert (report.freed + report.total, report.freed) == (before, report.removed[0][0].bytes)


async def test_an_image_goes_with_all_its_tags(shelf: Shelf) -> None:
    image = await shelf.image(1, hours=9)
    await shelf.prune(images=0)

    assert (await shelf.there(image), shelf.server.ledger.find(image)) == ([False], None)


async def test_an_image_without_a_tag_goes_as_well(shelf: Shelf) -> None:
    build = identity(shelf.template)
    image = await made_image(shelf.api, shelf.server.ledger, build)
    aged(shelf.server.ledger._file(image), 9)
    await shelf.prune(images=0)

    assert await shelf.there(image) == [False]


async def test_checkouts_object_stores_and_logs_go_too(shelf: Shelf, commit: str) -> None:
    place = await shelf.checkout(commit, hours=9)
    shelf.log(hours=9)
    report = await shelf.prune(bytes=0)

    assert sorted(item.kind for item, _ in report.removed) == ["checkout", "log", "objects"]
    assert ([path.name for path in place.parent.iterdir()], shelf.server.book.newest()) == (["lock"], [])


async def test_a_dry_run_says_the_same_and_changes_nothing(shelf: Shelf, commit: str) -> None:
    image, place, log = await shelf.image(1, hours=9), await shelf.checkout(commit, hours=8), shelf.log(hours=7)
    said = await shelf.prune(bytes=0, dry_run=True)
    still = (await shelf.there(image), (place / "tree").is_dir(), shelf.server.book.get(log).id)
    done = await shelf.prune(bytes=0)

    assert still == ([True], True, log)
    assert (removed(said), said.freed) == (removed(done), done.freed)


# What stays


async def test_an_image_that_a_container_uses_stays(shelf: Shelf) -> None:
    image = await shelf.image(1, hours=9)
    labels = {names.MANAGED: "true", names.WORKSPACE_ID: "w"}
    container = await shelf.api.call("POST", "/containers/create", {"Image": image, "Cmd": ["/x"], "Labels": labels})
    try:
        report = await shelf.prune(bytes=0, images=0)
    finally:
        await shelf.api.call("DELETE", f"/containers/{container['Id']}")

    assert (why_kept(report), await shelf.there(image)) == ({("image", "in use by 1 workspaces")}, [True])


async def test_an_image_that_a_workspaces_row_names_stays(shelf: Shelf) -> None:
    image = await shelf.image(1, hours=9)
    shelf.rows.add(image)
    report = await shelf.prune(bytes=0, images=0)

    assert why_kept(report) == {("image", "a workspace will start from it again")}


async def test_what_was_used_in_the_last_ten_minutes_stays(shelf: Shelf, commit: str) -> None:
    await shelf.image(1, hours=0.1)
    await shelf.checkout(commit, hours=0.1)
    shelf.log(hours=0.1)
    report = await shelf.prune(bytes=0, images=0)

    fresh = {(kind, "used in the last ten minutes") for kind in ("image", "checkout", "objects", "log")}
    assert (report.removed, why_kept(report)) == ([], fresh)


async def test_an_image_that_this_cache_never_used_is_another_installations(shelf: Shelf) -> None:
    image = await shelf.image(1, hours=None)
    report = await shelf.prune(bytes=0, images=0)

    assert (report.removed, report.kept, await shelf.there(image)) == ([], [], [True])


async def test_what_a_build_works_with_stays(shelf: Shelf, commit: str) -> None:
    place = await shelf.checkout(commit, hours=9)
    record = shelf.server.book.open(identity(shelf.template, commit), "no image")
    report = await shelf.prune(bytes=0, images=0)

    assert {("checkout", "being built"), ("log", "being built")} <= why_kept(report)
    assert ((place / "tree").is_dir(), shelf.server.book.get(record.id).id) == (True, record.id)


async def test_what_cannot_be_removed_is_kept_with_the_reason(
    shelf: Shelf, commit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody fetches: the lock of the runtime is held."""
    monkeypatch.setattr(git_holdings, "_LOCK_SECONDS", 0.05)
    place = await shelf.checkout(commit, hours=9)
    async with FileLock(place.parent / "lock"):
        report = await shelf.prune(bytes=0)

    assert [why for _, why in report.kept] == [
        "waiting for another checkout of the runtime took longer than 0.05 s"
    ] * 2


async def test_an_image_that_is_used_while_others_are_removed_stays(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = await shelf.image(1, hours=9), await shelf.image(2, hours=8)
    forget = ImageLedger.forget

    def then_use(ledger: ImageLedger, image: str) -> None:
        forget(ledger, image)
        ledger.touch(second)

    monkeypatch.setattr(ImageLedger, "forget", then_use)
    report = await shelf.prune(images=0)

    assert (await shelf.there(first, second), why_kept(report)) == ([False, True], {("image", "used meanwhile")})


async def test_an_image_that_is_being_built_stays(shelf: Shelf) -> None:
    image = await shelf.image(1, hours=9)
    made = shelf.server.ledger.find(image)
    assert made is not None
    (shelf.cache / "locks").mkdir(parents=True, exist_ok=True)
    async with FileLock(lock_path(shelf.cache / "locks", made.build_id)):
        report = await shelf.prune(images=0)

    assert (await shelf.there(image), why_kept(report)) == ([True], {("image", "being built")})


async def test_an_image_that_could_not_be_removed_can_be_used_again(shelf: Shelf) -> None:
    """A container that no workspace of ours has uses it."""
    image = await shelf.image(1, hours=9)
    container = await shelf.api.call("POST", "/containers/create", {"Image": image, "Cmd": ["/file"]})
    try:
        report = await shelf.prune(images=0)
    finally:
        await shelf.api.call("DELETE", f"/containers/{container['Id']}")

    assert ([item.name for item, _ in report.removed], shelf.server.ledger.touch(image)) == ([], True)


async def test_creates_that_race_with_prunes_always_get_an_image_that_is_there(shelf: Shelf) -> None:
    """Every image is old the moment before: only the order of looking and taking decides."""
    service, ledger, runtime = shelf.server.service(shelf.template), shelf.server.ledger, shelf.template.runtime
    image = (await service.ensure(runtime, Heard())).id
    there = []
    for prunes in range(6):
        aged(ledger._file(image), 9)
        ensuring = service.ensure(runtime, Heard())
        ensured, *_ = await asyncio.gather(ensuring, *(shelf.prune(images=0) for _ in range(prunes)))
        image = ensured.id
        there += await shelf.there(image)

    assert there == [True] * 6


async def test_an_image_that_is_removed_the_moment_it_was_found_is_built_again(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, ledger = shelf.server.service(shelf.template), shelf.server.ledger
    image = (await service.ensure(shelf.template.runtime, Heard())).id
    look_up = images_service.look_up

    async def then_take(*arguments: Any) -> Hit | Miss:
        found = await look_up(*arguments)
        made = ledger.find(image)
        assert made is not None
        assert ledger.take(made, image)
        return found

    monkeypatch.setattr(images_service, "look_up", then_take)
    again = await service.ensure(shelf.template.runtime, Heard())

    assert (again.build is not None, ledger.touch(again.id)) == (True, True)


# Afterwards


async def test_a_runtime_that_was_pruned_is_fetched_and_built_again(shelf: Shelf, git_host: GitServer) -> None:
    service = shelf.server.service(shelf.template)
    first = await service.ensure(shelf.template.runtime, Heard())
    for path in [*shelf.cache.glob("images/*"), *shelf.cache.glob("*/*/ready"), *shelf.cache.glob("*/git-*")]:
        aged(path, 9)
    report = await shelf.prune(bytes=0, images=0)
    fresh_service = shelf.server.service(shelf.template)
    again = await fresh_service.ensure(shelf.template.runtime, Heard())

    assert sorted(item.kind for item, _ in report.removed) == ["checkout", "image", "objects"]
    assert (again.build_id, len(git_host.packs_sent())) == (first.build_id, 2)
    assert await fresh_service.template_config(shelf.template.runtime, again) == b"name: Tiny\n"


async def test_the_configuration_of_a_pruned_checkout_can_be_had_again(shelf: Shelf, commit: str) -> None:
    image = await shelf.server.service(shelf.template).ensure(shelf.template.runtime, Heard())
    for path in [*shelf.cache.glob("*/*/ready"), *shelf.cache.glob("*/git-*")]:
        aged(path, 9)
    await shelf.prune(bytes=0)

    other = replace(shelf.server, files=TemplateFiles(shelf.server.checkouts))  # it has not seen the build
    assert await other.service(shelf.template).template_config(shelf.template.runtime, image) == b"name: Tiny\n"
