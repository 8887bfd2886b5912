"""Builds that a person begins ahead of need, and builds that a person ends."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from support.build_host import BuildHost, build_host
from support.engine import Engine as Api
from support.gate import Gate
from support.git_repository import Repository
from support.templates import calling_template
from workspace_server.concurrency import FileLock
from workspace_server.engine import ImageBuilder
from workspace_server.errors import ConflictError, NotFoundError
from workspace_server.images import BuildRecord, EnsuredImage, ImageService, RegistrySource
from workspace_server.images.build import BuildWish
from workspace_server.model.build import BuildFailure, BuildRequest, BuildState
from workspace_server.model.container import ImageInfo
from workspace_server.runtimes import Template

from .conftest import Heard, Server, ServerOf
from .making import identity, made_image

pytestmark = pytest.mark.engine

SECONDS = 5
WHO = "the owner"
FORCED, ORDINARY = BuildWish(force=True), BuildWish()


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A build that is in a RUN which waits at the gate."""

    server: Server
    service: ImageService
    runtime: str
    record: str
    gate: Gate
    waiters: "Sequence[asyncio.Task[EnsuredImage]]"

    async def cancel(self) -> BuildRecord:
        async with asyncio.timeout(SECONDS):
            await self.service.cancel_build(self.record, WHO)
        return self.server.book.get(self.record)

    async def errors(self) -> list[BaseException | EnsuredImage]:
        return await asyncio.gather(*self.waiters, return_exceptions=True)


@pytest.fixture
async def host(engine_url: str) -> AsyncIterator[BuildHost]:
    async with build_host(engine_url) as running:
        yield running


@pytest.fixture
def service(server: Server, template: Template) -> ImageService:
    return server.service(template)


@pytest.fixture
async def held(
    host: BuildHost, server: Server, service: ImageService, *, repository: Repository, runtime: str
) -> AsyncIterator[Held]:
    await repository.commit(calling_template(f"{host.url}/{runtime}"), replace=True)
    gate, heard = host.hold(f"/{runtime}"), Heard()
    waiters = [asyncio.create_task(service.ensure(runtime, heard)) for _ in range(2)]
    async with asyncio.timeout(60):
        await gate.arrived.wait()
    yield Held(server=server, service=service, runtime=runtime, record=heard.records[0], gate=gate, waiters=waiters)
    gate.release()
    await asyncio.gather(*waiters, return_exceptions=True)


async def begun(server: Server, service: ImageService, runtime: str, wish: BuildWish = ORDINARY) -> BuildRecord:
    """Begin a build and wait for its end."""
    record = await service.begin_build(runtime, wish)
    assert isinstance(record, str)
    await asyncio.wait([running.flight for running in server.builds._jobs._running.values()])
    return server.book.get(record)


async def there_already(api: Api, server: Server, repository: Repository, template: Template) -> str:
    build = identity(template, repository.tip())
    return await made_image(api, server.ledger, build, f"{build.repository}:{build.tag}")


# Ending


async def test_cancelling_ends_the_engines_step(held: Held) -> None:
    await held.cancel()

    async with asyncio.timeout(SECONDS):
        await held.gate.left.wait()
    assert held.gate.waiting == 0


async def test_cancelling_ends_the_builders_process(held: Held) -> None:
    """It inherited the lock of the build: nobody holds that any more."""
    lock = held.server.builds._lock_path(held.server.book.get(held.record).build_id)
    before = FileLock.is_held(lock)
    await held.cancel()

    assert (before, FileLock.is_held(lock)) == (True, False)


async def test_a_cancelled_build_is_recorded_with_the_step_it_was_at(held: Held) -> None:
    record = await held.cancel()

    assert (record.state, record.error and record.error["code"], record.image_id) == (
        BuildState.CANCELLED,
        "build_cancelled",
        None,
    )
    assert record.error is not None
    assert " was not built: the owner cancelled it; it was at: step 2 of 2, RUN python3" in record.error["error"]


async def test_everybody_who_waits_for_a_cancelled_build_is_told(held: Held) -> None:
    record = await held.cancel()

    errors = await held.errors()
    assert [error.as_dict() for error in errors if isinstance(error, ConflictError)] == [record.error] * 2


async def test_a_waiter_that_goes_away_in_the_middle_of_a_step_ends_nothing_for_the_others(held: Held) -> None:
    leaves, stays = held.waiters
    leaves.cancel()
    await asyncio.wait([leaves])
    still_held = held.gate.waiting
    held.gate.release()
    image = await asyncio.wait_for(stays, 60)

    record = held.server.book.get(held.record)
    assert (leaves.cancelled(), still_held, record.state, record.image_id) == (True, 1, BuildState.SUCCEEDED, image.id)


async def test_the_same_image_can_be_built_after_a_cancel(held: Held) -> None:
    cancelled = await held.cancel()
    await held.errors()
    held.gate.release()
    image = await held.service.ensure(held.runtime, heard := Heard())

    assert (image.build_id, heard.records != [held.record]) == (cancelled.build_id, True)


async def test_a_build_that_was_cancelled_cannot_be_cancelled_again(held: Held) -> None:
    await held.cancel()

    with pytest.raises(ConflictError) as caught:
        await held.service.cancel_build(held.record, WHO)
    assert caught.value.code == "build_ended"


async def test_a_build_that_waits_for_a_place_can_be_cancelled(
    server_of: ServerOf, host: BuildHost, repository: Repository, template: Template
) -> None:
    server = server_of(concurrency=1)
    service = server.service(template)
    await repository.commit(calling_template(f"{host.url}/{template.runtime}"), replace=True)
    gate = host.hold(f"/{template.runtime}")
    first = await service.begin_build(template.runtime, ORDINARY)
    await asyncio.wait_for(gate.arrived.wait(), 60)
    await repository.commit({"second": "x"})
    second = await service.begin_build(template.runtime, ORDINARY)
    assert isinstance(first, str)
    assert isinstance(second, str)
    await service.cancel_build(second, WHO)
    states = [server.book.get(build).state for build in (first, second)]
    await service.cancel_build(first, WHO)

    assert states == [BuildState.RUNNING, BuildState.CANCELLED]


async def test_an_ended_build_cannot_be_cancelled(
    server: Server, service: ImageService, repository: Repository
) -> None:
    ended = await begun(server, service, service._runtimes.names[0])

    with pytest.raises(ConflictError) as caught:
        await service.cancel_build(ended.id, WHO)
    assert (caught.value.code, server.book.get(ended.id).state) == ("build_ended", BuildState.SUCCEEDED)


async def test_an_unknown_build_cannot_be_cancelled(service: ImageService) -> None:
    with pytest.raises(NotFoundError) as caught:
        await service.cancel_build("01ARZ3NDEKTSV4RRFFQ69G5FAV", WHO)
    assert caught.value.code == "unknown_build"


async def test_a_build_of_another_server_cannot_be_cancelled_here(held: Held, server_of: ServerOf) -> None:
    with pytest.raises(ConflictError):
        await server_of().builds.cancel(held.record, WHO)

    assert held.server.book.get(held.record).state is BuildState.RUNNING


# Beginning


async def test_an_image_that_is_there_is_not_built_ahead_of_need(
    api: Api, server: Server, service: ImageService, *, repository: Repository, template: Template
) -> None:
    present = await there_already(api, server, repository, template)
    found = await service.begin_build(template.runtime, ORDINARY)

    assert isinstance(found, ImageInfo)
    assert (found.id, server.book.newest()) == (present, [])


async def test_a_forced_build_is_made_although_the_image_is_there(
    api: Api, server: Server, service: ImageService, *, repository: Repository, template: Template
) -> None:
    present = await there_already(api, server, repository, template)
    record = await begun(server, service, template.runtime, FORCED)

    assert (record.state, record.reason, record.image_id != present) == (BuildState.SUCCEEDED, "forced", True)


async def test_a_build_ahead_of_need_says_why(server: Server, service: ImageService, template: Template) -> None:
    record = await begun(server, service, template.runtime)

    assert (record.state, record.reason) == (BuildState.SUCCEEDED, "no image")


async def test_what_is_built_ahead_of_need_counts_as_used(
    server: Server, service: ImageService, template: Template
) -> None:
    record = await begun(server, service, template.runtime)

    assert record.image_id is not None
    assert server.ledger.find(record.image_id) is not None


@pytest.mark.parametrize("wish", [ORDINARY, FORCED], ids=["ordinary", "forced"])
async def test_an_equal_build_that_runs_is_joined(held: Held, wish: BuildWish) -> None:
    joined = await held.service.begin_build(held.runtime, wish)

    assert (joined, [record.id for record in held.server.book.newest()]) == (held.record, [held.record])


@pytest.mark.parametrize("no_cache", [True, False])
async def test_the_wish_for_no_cached_layer_reaches_the_builder(
    server: Server,
    service: ImageService,
    template: Template,
    *,
    no_cache: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    build, requests = ImageBuilder.build, list[BuildRequest]()

    async def noted(builder: ImageBuilder, request: BuildRequest, *others: Any, **named: Any) -> str | BuildFailure:
        requests.append(request)
        return await build(builder, request, *others, **named)

    monkeypatch.setattr(ImageBuilder, "build", noted)
    await begun(server, service, template.runtime, BuildWish(no_cache=no_cache))

    assert [request.no_cache for request in requests] == [no_cache]


async def test_nothing_is_built_where_images_come_from_a_registry(service: ImageService, template: Template) -> None:
    service.source = RegistrySource(prefix="registry.example.org/team", platform=None)

    with pytest.raises(ConflictError) as caught:
        await service.begin_build(template.runtime, ORDINARY)
    assert caught.value.code == "not_built_here"
