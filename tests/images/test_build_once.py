"""One build per build id: for any number of waiters, and for every server that shares the cache and the engine."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from support.git_faults import Hold
from support.git_repository import Repository
from support.git_server import GitServer
from workspace_server.concurrency import FileLock, TaskScope
from workspace_server.errors import TemplateError
from workspace_server.images.identity import BuildIdentity
from workspace_server.model.build import BuildPhase, BuildState, BuildWait
from workspace_server.model.container import ImageInfo
from workspace_server.runtimes import Template

from .conftest import NO_IMAGE, Heard, Server, ServerOf
from .making import identity, template

pytestmark = pytest.mark.engine


@asynccontextmanager
async def fetch_held(repository: Repository) -> AsyncIterator[Hold]:
    """A build stays in its fetch as long as this block lasts."""
    hold = repository.faults.hold("fetch")
    try:
        yield hold
    finally:
        repository.faults.remove(hold)


def waiting(server: Server, wanted: BuildIdentity, heard: Heard | None = None) -> "asyncio.Task[ImageInfo]":
    return asyncio.create_task(server.builds.build(wanted, NO_IMAGE, heard or Heard()))


async def until(reached: Callable[[], bool]) -> None:
    """Let the other tasks run until it is so."""
    async with asyncio.timeout(10):
        while not reached():  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0)


async def until_all_wait(server: Server, count: int) -> None:
    await until(lambda: [record.waiters for record in server.book.newest()][:1] == [count])


# In one process


async def test_fifty_callers_share_one_fetch_and_one_build(
    server: Server, repository: Repository, wanted: BuildIdentity, git_host: GitServer
) -> None:
    heard = Heard()
    async with fetch_held(repository) as hold:
        callers = [waiting(server, wanted, heard) for _ in range(50)]
        await hold.arrived.wait()
        await until_all_wait(server, 50)
    images = await asyncio.gather(*callers)

    (record,) = server.book.newest()
    assert ({image.id for image in images}, set(heard.records)) == ({record.image_id}, {record.id})
    assert (len(heard.records), len(git_host.packs_sent())) == (50, 1)


async def test_a_waiter_that_goes_away_stops_waiting_and_the_others_get_the_image(
    server: Server, repository: Repository, wanted: BuildIdentity
) -> None:
    async with fetch_held(repository) as hold:
        leaves, stays = waiting(server, wanted), waiting(server, wanted)
        await hold.arrived.wait()
        leaves.cancel()
        await asyncio.wait([leaves])
        assert (leaves.cancelled(), server.book.newest()[0].waiters) == (True, 1)

    assert (await stays).labels["molecule.image.build_id"] == wanted.build_id


async def test_a_build_whose_only_waiter_goes_away_goes_on_and_is_kept(
    server: Server, repository: Repository, wanted: BuildIdentity
) -> None:
    async with fetch_held(repository) as hold:
        leaves = waiting(server, wanted)
        await hold.arrived.wait()
        leaves.cancel()
        await asyncio.wait([leaves])
        joins = waiting(server, wanted)
        await until_all_wait(server, 1)
    await joins

    assert [record.state for record in server.book.newest()] == [BuildState.SUCCEEDED]


async def test_a_waiter_that_goes_away_before_the_first_step_leaves_a_build_that_goes_on(
    server: Server, wanted: BuildIdentity
) -> None:
    leaves = waiting(server, wanted)
    leaves.cancel()
    await asyncio.wait([leaves])

    assert (await waiting(server, wanted)).labels["molecule.image.build_id"] == wanted.build_id


async def test_a_waiter_that_cannot_be_told_of_the_build_does_not_end_it(server: Server, wanted: BuildIdentity) -> None:
    async def superseded(record: str) -> None:
        raise LookupError(record)

    with pytest.raises(LookupError):
        await server.builds.build(wanted, NO_IMAGE, superseded)
    (record,) = server.book.newest()
    await waiting(server, wanted)

    assert server.book.get(record.id).state is BuildState.SUCCEEDED


async def test_everybody_who_waits_gets_the_error(server: Server, repository: Repository, template: Template) -> None:
    wanted = identity(template, await repository.commit({"Dockerfile": "FROM scratch\nCOPY missing /x\n"}))

    ended = await asyncio.gather(*(waiting(server, wanted) for _ in range(3)), return_exceptions=True)

    assert ([type(error) for error in ended], len(server.book.newest())) == ([TemplateError] * 3, 1)


async def test_a_build_is_queued_until_there_is_a_place(
    server_of: ServerOf, repository: Repository, wanted: BuildIdentity
) -> None:
    server = server_of(concurrency=1)
    second = identity(wanted.template, await repository.commit({"content": "y"}))
    async with fetch_held(repository) as hold:
        first_waiter = waiting(server, wanted)
        await hold.arrived.wait()
        second_waiter = waiting(server, second, heard := Heard())
        await until(lambda: heard.records != [])
        await until(lambda: server.book.get(heard.records[0]).waits_for is BuildWait.PLACE)
        states = {record.commit: (record.state, record.phase, record.waits_for) for record in server.book.newest()}
    await asyncio.gather(first_waiter, second_waiter)

    assert states == {
        wanted.commit: (BuildState.RUNNING, BuildPhase.FETCH, None),
        second.commit: (BuildState.QUEUED, BuildPhase.QUEUED, BuildWait.PLACE),
    }
    assert {(record.state, record.waits_for) for record in server.book.newest()} == {(BuildState.SUCCEEDED, None)}


async def test_different_builds_run_side_by_side(
    server: Server, repository: Repository, wanted: BuildIdentity, git_host: GitServer
) -> None:
    other_repository = await git_host.create("team/other", {"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"})
    other = identity(template(f"{wanted.template.runtime}-2", other_repository.url), other_repository.tip())
    async with fetch_held(repository) as one, fetch_held(other_repository) as two:
        callers = [waiting(server, wanted), waiting(server, other)]
        await one.arrived.wait()
        await two.arrived.wait()
        states = [record.state for record in server.book.newest()]
    try:
        await asyncio.gather(*callers)
    finally:
        for image in await server.engine.images({"molecule.image.runtime": other.template.runtime}):
            await server.engine.remove_image(image.id, force=True)

    assert states == [BuildState.RUNNING] * 2


# On one machine


async def test_two_servers_build_once_and_the_second_finds_what_the_first_made(
    server_of: ServerOf, repository: Repository, wanted: BuildIdentity, git_host: GitServer
) -> None:
    first, second = server_of(), server_of()
    async with fetch_held(repository) as hold:
        one = waiting(first, wanted)
        await hold.arrived.wait()
        other = waiting(second, wanted)
        await until_all_wait(second, 1)
    images = await asyncio.gather(one, other)

    assert len({image.id for image in images}) == 1
    assert sorted((record.state, record.image_id) for record in first.book.newest()) == [
        (BuildState.HIT, images[0].id),
        (BuildState.SUCCEEDED, images[0].id),
    ]
    assert len(git_host.packs_sent()) == 1


async def test_a_build_waits_as_long_as_another_process_holds_its_lock(
    server: Server, wanted: BuildIdentity, git_host: GitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt, attempts = FileLock._try, 0

    def counted(lock: FileLock) -> bool:
        nonlocal attempts
        attempts += 1
        return attempt(lock)

    server.builds._locks.mkdir(parents=True)
    async with FileLock(server.builds._lock_path(wanted.build_id)):
        monkeypatch.setattr(FileLock, "_try", counted)
        waiter = waiting(server, wanted)
        await until(lambda: attempts == 3)
        assert (waiter.done(), git_host.pack_requests()) == (False, [])
        assert [record.waits_for for record in server.book.newest()] == [BuildWait.LOCK]

    assert (await waiter).labels["molecule.image.build_id"] == wanted.build_id


# Servers that end


async def test_a_server_that_ends_closes_the_record_of_its_build(
    server_of: ServerOf, repository: Repository, wanted: BuildIdentity
) -> None:
    async with TaskScope() as scope:
        server = server_of(scope=scope)
        async with fetch_held(repository) as hold:
            waiter = waiting(server, wanted)
            await hold.arrived.wait()
            await scope.__aexit__(None, None, None)
    await asyncio.wait([waiter])

    (record,) = server_of().book.newest()
    assert (waiter.cancelled(), record.state, record.error and record.error["code"]) == (
        True,
        BuildState.CANCELLED,
        "build_interrupted",
    )


async def test_the_next_server_builds_what_an_ended_one_began(
    server_of: ServerOf, repository: Repository, wanted: BuildIdentity
) -> None:
    async with TaskScope() as scope, fetch_held(repository) as hold:
        waiter = waiting(server_of(scope=scope), wanted)
        await hold.arrived.wait()
        await scope.__aexit__(None, None, None)
        await asyncio.wait([waiter])

    assert (await waiting(server_of(), wanted)).labels["molecule.image.build_id"] == wanted.build_id


async def test_a_new_server_closes_the_records_of_one_that_died(server_of: ServerOf, wanted: BuildIdentity) -> None:
    record = server_of().book.open(wanted, "no image")  # and killed
    later = server_of()
    later.builds.settle_interrupted()

    assert (later.book.get(record.id).state, later.book.get(record.id).phase) == (
        BuildState.CANCELLED,
        BuildPhase.DONE,
    )


async def test_a_new_server_leaves_the_record_of_a_build_that_another_runs(
    server_of: ServerOf, repository: Repository, wanted: BuildIdentity
) -> None:
    running, later = server_of(), server_of()
    async with fetch_held(repository) as hold:
        waiter = waiting(running, wanted)
        await hold.arrived.wait()
        later.builds.settle_interrupted()
        (record,) = later.book.newest()
    await waiter

    assert record.state is BuildState.RUNNING
