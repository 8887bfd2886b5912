"""Pulls from a real registry: once for everybody who waits, with a record and its log, and with clocks of their own."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.engine_proxy import EngineProxy
from support.gate import Gate
from support.registry import PASSWORD, USER, Registry, registry
from support.registry_front import Refusal, RegistryFront, registry_front
from support.server import eventually
from workspace_server.concurrency import TaskScope
from workspace_server.engine import Engine
from workspace_server.errors import ConflictError, DeadlineError, NotFoundError, SourceError, WorkspaceServerError
from workspace_server.images import BuildRecord
from workspace_server.images.pull import PulledImage, Pulls
from workspace_server.model.build import BuildPhase, BuildState

from .conftest import Heard, Server, ServerOf
from .pulling import Shelf

pytestmark = pytest.mark.engine

PAIR = {"MOLECULE_REGISTRY_USER": USER, "MOLECULE_REGISTRY_TOKEN": PASSWORD}


@pytest.fixture
async def front(hub: Registry) -> AsyncIterator[RegistryFront]:
    """A registry that gives tokens to one user."""
    async with registry_front(hub, accounts={USER: PASSWORD}) as served:
        yield served


@pytest.fixture
def shelf(hub: Registry, runtime: str) -> Shelf:
    return Shelf(hub=hub, runtime=runtime, host=hub.host)


@pytest.fixture
def guarded(hub: Registry, front: RegistryFront, runtime: str) -> Shelf:
    """The same behind the front."""
    return Shelf(hub=hub, runtime=runtime, host=front.host)


@pytest.fixture
def server(server_of: ServerOf) -> Server:
    """A server that has the pair of the front's user."""
    return server_of(**PAIR)


async def pull(
    pulls: Pulls, shelf: Shelf, *, anew: bool = False, platform: str | None = None, heard: Heard | None = None
) -> PulledImage:
    return await pulls.pull(shelf.identity(platform), "no image", heard or Heard(), anew=anew)


async def failure(pulls: Pulls, shelf: Shelf, *, platform: str | None = None) -> WorkspaceServerError:
    with pytest.raises(WorkspaceServerError) as caught:
        await pull(pulls, shelf, platform=platform)
    return caught.value


def only(server: Server) -> BuildRecord:
    (record,) = server.book.newest()
    return record


def held(front: RegistryFront) -> Gate:
    """Layers wait until the gate is released."""
    front.gate = Gate()
    return front.gate


async def arrived(gate: Gate) -> None:
    async with asyncio.timeout(20):
        await gate.arrived.wait()


async def test_what_was_pulled_is_known_by_id_and_digest(server: Server, guarded: Shelf) -> None:
    image = await guarded.put()
    pulled = await pull(server.pulls, guarded)

    assert (pulled.image.id, pulled.digest, pulled.record) == (image.id, image.digest, only(server).id)


async def test_a_credential_helper_opens_a_registry_with_passwords(
    server_of: ServerOf, runtime: str, tmp_path: Path
) -> None:
    async with registry(tmp_path / "private", private=True) as private:
        shelf = Shelf(hub=private, runtime=runtime, host=private.host)
        image = await shelf.put()
        configured(tmp_path, {"credHelpers": {private.host: "ecr-login"}}, "ecr-login")
        pulled = await pull(server_of(PATH=f"{tmp_path}/bin:{os.environ['PATH']}").pulls, shelf)

    assert pulled.image.id == image.id


def configured(home: Path, configuration: object, helper: str) -> None:
    """Give a user a docker configuration, and a helper that has the registry's password."""
    (home / "bin").mkdir()
    (home / ".docker").mkdir()
    (home / ".docker" / "config.json").write_text(json.dumps(configuration))
    program = home / "bin" / f"docker-credential-{helper}"
    program.write_text(f"#!/bin/sh\necho '{json.dumps({'Username': USER, 'Secret': PASSWORD})}'\n")
    program.chmod(0o700)


async def test_everybody_who_wants_an_image_waits_for_one_pull(
    server: Server, guarded: Shelf, front: RegistryFront
) -> None:
    await guarded.put()
    gate, heard = held(front), Heard()
    waiting = [asyncio.ensure_future(pull(server.pulls, guarded, heard=heard)) for _ in range(50)]
    await arrived(gate)
    waiters = only(server).waiters
    gate.release()
    results = await asyncio.gather(*waiting)

    assert (waiters, len({each.image.id for each in results}), len(set(heard.records))) == (50, 1, 1)
    assert front.pulls() == 1


async def test_a_second_server_waits_and_finds_the_image(
    server: Server, server_of: ServerOf, guarded: Shelf, front: RegistryFront
) -> None:
    await guarded.put()
    gate, other = held(front), server_of(**PAIR)
    first = asyncio.ensure_future(pull(server.pulls, guarded))
    await arrived(gate)
    second = asyncio.ensure_future(pull(other.pulls, guarded))
    await eventually(lambda: len(server.book.newest()) == 2, "the second server waits")
    gate.release()
    await asyncio.gather(first, second)

    assert {record.state for record in server.book.newest()} == {BuildState.SUCCEEDED, BuildState.HIT}
    assert front.pulls() == 1


async def test_who_goes_away_stops_waiting_and_the_image_is_kept(
    server: Server, engine: Engine, guarded: Shelf, front: RegistryFront
) -> None:
    image = await guarded.put()
    gate = held(front)
    waiting = asyncio.ensure_future(pull(server.pulls, guarded))
    await arrived(gate)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert (only(server).waiters, only(server).state) == (0, BuildState.RUNNING)
    gate.release()
    await eventually(lambda: only(server).state.ended, "the pull ended")

    found = await engine.image(guarded.reference)
    assert found is not None
    assert found.id == image.id


# Records


async def test_a_record_tells_what_is_pulled_and_how_far_each_layer_is(
    server: Server, guarded: Shelf, front: RegistryFront
) -> None:
    await guarded.put(guarded.image(layers=3))
    gate = held(front)
    waiting = asyncio.ensure_future(pull(server.pulls, guarded))
    await arrived(gate)
    await eventually(lambda: len(only(server).steps) == 3, "the layers are known")
    record = only(server)
    gate.release()
    await waiting

    assert (record.runtime, record.image, record.commit, record.reason) == (
        "hermes",
        guarded.reference,
        None,
        "no image",
    )
    assert (record.state, record.phase) == (BuildState.RUNNING, BuildPhase.PULL)
    assert [(step.n, step.of, step.seconds) for step in record.steps] == [(1, 3, None), (2, 3, None), (3, 3, None)]
    assert record.step == record.steps[0]  # the first that is not there yet


async def test_a_pull_that_ended_well_tells_its_image_and_every_layer(server: Server, shelf: Shelf) -> None:
    image = await shelf.put(shelf.image(layers=2, layer_bytes=1_500_000))
    await pull(server.pulls, shelf)
    record = only(server)

    assert (record.state, record.phase, record.error) == (BuildState.SUCCEEDED, BuildPhase.DONE, None)
    assert (record.image_id, record.digest) == (image.id, image.digest)
    sizes = [len(image.blobs[layer]) for layer in image.layers]
    assert sorted((step.done_bytes, step.total_bytes) for step in record.steps) == sorted(
        zip(sizes, sizes, strict=True)
    )
    assert [step.seconds is not None for step in record.steps] == [True, True]


async def test_the_log_of_a_pull_is_what_the_engine_said(server: Server, shelf: Shelf) -> None:
    image = await shelf.put()
    await pull(server.pulls, shelf)
    lines = server.book.log_path(only(server).id).read_text().splitlines()
    layer = image.layers[0].removeprefix("sha256:")[:12]

    assert lines[:2] == [f"Pulling from {shelf.repository}", f"{layer}: Pulling fs layer"]
    assert lines[-3:-1] == [f"{layer}: Pull complete", f"Digest: {image.digest}"]


async def test_a_layer_that_the_engine_has_is_cached(server: Server, shelf: Shelf) -> None:
    base = await shelf.put()
    await pull(server.pulls, shelf)
    await shelf.put(shelf.image(base=base))
    await pull(server.pulls, shelf, anew=True)

    assert [step.cached for step in server.book.newest()[0].steps] == [True, False]


async def test_a_pull_that_failed_tells_why_and_the_next_one_tries_again(server: Server, shelf: Shelf) -> None:
    error = await failure(server.pulls, shelf)
    record = only(server)
    assert (record.state, record.error) == (BuildState.FAILED, error.as_dict())

    await shelf.put()
    await pull(server.pulls, shelf)
    assert [each.state for each in server.book.newest()] == [BuildState.SUCCEEDED, BuildState.FAILED]


async def test_a_server_that_ends_during_a_pull_says_so(
    server_of: ServerOf, guarded: Shelf, front: RegistryFront
) -> None:
    await guarded.put()
    gate = held(front)
    async with TaskScope() as scope:
        server = server_of(scope=scope, **PAIR)
        waiting = asyncio.ensure_future(pull(server.pulls, guarded))
        await arrived(gate)
    await asyncio.wait([waiting])
    record = only(server)

    assert (record.state, record.error and record.error["code"]) == (BuildState.CANCELLED, "build_interrupted")


# Checking what is there


async def test_an_image_that_did_not_change_is_a_hit(server: Server, shelf: Shelf) -> None:
    image = await shelf.put()
    await pull(server.pulls, shelf)
    again = await pull(server.pulls, shelf, anew=True)

    assert (again.image.id, again.digest) == (image.id, image.digest)
    assert [record.state for record in server.book.newest()] == [BuildState.HIT, BuildState.SUCCEEDED]


async def test_an_image_that_changed_is_pulled(server: Server, shelf: Shelf) -> None:
    await shelf.put()
    await pull(server.pulls, shelf)
    newer = await shelf.put()
    again = await pull(server.pulls, shelf, anew=True)

    assert (again.image.id, again.digest) == (newer.id, newer.digest)
    assert [record.state for record in server.book.newest()] == [BuildState.SUCCEEDED, BuildState.SUCCEEDED]


async def test_what_is_present_has_the_digest_it_was_pulled_by(server: Server, shelf: Shelf) -> None:
    image = await shelf.put()
    await pull(server.pulls, shelf)
    present = await server.pulls.present(shelf.identity())

    assert present is not None
    assert (present.image.id, present.digest, present.record) == (image.id, image.digest, None)


# Cancelling


async def test_a_pull_that_is_cancelled_is_over_for_everybody(
    server: Server, guarded: Shelf, front: RegistryFront
) -> None:
    await guarded.put()
    gate = held(front)
    waiting = asyncio.ensure_future(pull(server.pulls, guarded))
    await arrived(gate)
    await server.pulls.cancel(only(server).id, "the owner")

    with pytest.raises(ConflictError, match="the owner cancelled it") as caught:
        await waiting
    record = only(server)
    assert (caught.value.code, record.state) == ("pull_cancelled", BuildState.CANCELLED)
    assert record.error == caught.value.as_dict()


async def test_what_has_ended_cannot_be_cancelled(server: Server, shelf: Shelf) -> None:
    await shelf.put()
    await pull(server.pulls, shelf)

    with pytest.raises(ConflictError) as caught:
        await server.pulls.cancel(only(server).id, "the owner")
    assert caught.value.code == "build_ended"


async def test_what_never_was_cannot_be_cancelled(server: Server) -> None:
    with pytest.raises(NotFoundError):
        await server.pulls.cancel("01ARZ3NDEKTSV4RRFFQ69G5FAV", "the owner")


# Clocks


async def test_a_pull_without_progress_is_given_up(server_of: ServerOf, guarded: Shelf, front: RegistryFront) -> None:
    server = server_of(stall_seconds=1, **PAIR)
    await guarded.put()
    held(front)
    error = await failure(server.pulls, guarded)

    assert (type(error), error.code) == (DeadlineError, "pull_stalled")
    assert "made no progress for 1 s; it was at: step 1 of 1, layer " in error.message
    assert "MOLECULE_IMAGE_PULL_STALL_SECONDS" in error.hint


async def test_a_pull_that_is_never_answered_is_given_up(
    server_of: ServerOf, proxied: Engine, proxy: EngineProxy, shelf: Shelf
) -> None:
    server = server_of(engine=proxied, stall_seconds=1)
    proxy.faults.hold("POST", "/images/create")
    error = await failure(server.pulls, shelf)

    assert (error.code, error.message.endswith("it was at: pull")) == ("pull_stalled", True)


async def test_a_pull_that_takes_too_long_is_given_up(
    server_of: ServerOf, guarded: Shelf, front: RegistryFront
) -> None:
    server = server_of(seconds=1, **PAIR)
    await guarded.put()
    held(front)
    async with asyncio.timeout(20):
        error = await failure(server.pulls, guarded)

    assert (type(error), error.code) == (DeadlineError, "pull_timeout")
    assert ("was not pulled within 1 s" in error.message, "MOLECULE_IMAGE_PULL_MAX_SECONDS" in error.hint) == (
        True,
        True,
    )


# What came


async def test_an_image_for_another_platform_is_none(server: Server, shelf: Shelf) -> None:
    await shelf.put(shelf.image("linux/arm64"))
    error = await failure(server.pulls, shelf, platform="linux/amd64")

    assert (type(error), error.code) == (SourceError, "image_platform_mismatch")
    assert "not for linux/amd64: it is for linux/arm64" in error.message


async def test_a_pull_that_ended_well_and_left_nothing_is_an_error(
    server: Server, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def pruned_at_once(*_: object) -> None:
        """A pull whose image is pruned in the same moment."""

    monkeypatch.setattr(Engine, "pull", pruned_at_once)
    error = await failure(server.pulls, shelf)

    assert (error.code, shelf.reference in error.message) == ("image_not_found", True)


async def test_a_time_to_wait_that_the_engine_does_not_pass_on_is_asked_for(
    server: Server, guarded: Shelf, front: RegistryFront
) -> None:
    await guarded.put()
    front.refusal = Refusal(
        status=429,
        code="TOOMANYREQUESTS",
        message="You have reached your pull rate limit.",
        headers={"Retry-After": "37"},
    )
    error = await failure(server.pulls, guarded)

    assert (error.code, "it may be asked again in 37 s" in error.message) == ("registry_rate_limited", True)


async def test_a_registry_that_is_asked_too_often_is_not_asked_again(
    server: Server, guarded: Shelf, front: RegistryFront
) -> None:
    await guarded.put()
    message = "retry-after: 37.5s, allowed: 44000/minute"
    front.refusal = Refusal(status=429, code="TOOMANYREQUESTS", message=message)
    error = await failure(server.pulls, guarded)

    assert (error.code, "it may be asked again in 38 s" in error.message) == ("registry_rate_limited", True)
    assert front.pulls() == 1
