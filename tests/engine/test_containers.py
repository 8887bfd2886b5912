"""Containers on a real engine."""

import asyncio
from contextlib import suppress
from dataclasses import replace

import pytest

from support.engine import engine as raw_engine
from support.engine_proxy import EngineProxy
from workspace_server.engine import Engine, EngineAddress
from workspace_server.errors import ConflictError, InvalidRequestError, NotFoundError
from workspace_server.model.container import ContainerFile, ContainerInfo, ContainerSpec, Mount
from workspace_server.model.names import INSTANCE

STOP = ContainerFile(path="/configs/stop", content=b"")


async def running(engine: Engine, spec: ContainerSpec) -> str:
    container_id = await engine.create_container(spec)
    await engine.start(container_id)
    return container_id


async def ended(engine: Engine, spec: ContainerSpec) -> str:
    """A container that ran and exited with 7."""
    container_id = await engine.create_container(spec)
    await engine.copy_files(container_id, [STOP])
    await engine.start(container_id)
    await engine.wait_exit(container_id)
    return container_id


async def found(engine: Engine, container_id: str) -> ContainerInfo:
    info = await engine.container(container_id)
    assert info is not None
    return info


@pytest.mark.engine
async def test_a_created_container_is_what_was_asked_for_and_does_not_run(engine: Engine, spec: ContainerSpec) -> None:
    container_id = await engine.create_container(spec)

    info = await found(engine, spec.name)
    assert info.labels.items() >= spec.labels.items()
    assert info == ContainerInfo(
        id=container_id,
        name=spec.name,
        labels=info.labels,
        image_id=spec.image_id,
        running=False,
        exit_code=None,
        addresses=(),
        agent_port=None,
    )


@pytest.mark.engine
async def test_a_running_container_has_an_address_and_a_port_on_loopback(engine: Engine, spec: ContainerSpec) -> None:
    info = await found(engine, await running(engine, spec))

    assert (info.running, len(info.addresses), info.agent_port is not None) == (True, 1, True)


@pytest.mark.engine
async def test_starting_a_running_container_changes_nothing(engine: Engine, spec: ContainerSpec) -> None:
    container_id = await running(engine, spec)

    await engine.start(container_id)

    assert (await found(engine, container_id)).running


@pytest.mark.engine
async def test_limits_reach_the_engine(engine: Engine, address: EngineAddress, spec: ContainerSpec) -> None:
    container_id = await engine.create_container(spec)

    async with raw_engine(address.url) as api:
        host = (await api.get(f"/containers/{container_id}/json"))["HostConfig"]
    assert (host["Memory"], host["NanoCpus"]) == (256 * 1024 * 1024, 500_000_000)


@pytest.mark.engine
@pytest.mark.parametrize("tier", [1, 2, 3])
async def test_the_engine_accepts_the_tiers_that_need_nothing_of_the_host(
    engine: Engine, spec: ContainerSpec, tier: int
) -> None:
    await engine.create_container(replace(spec, tier=tier))


@pytest.mark.engine
async def test_a_container_of_tier_4_finds_the_engines_socket_at_the_usual_place(
    engine: Engine, address: EngineAddress, spec: ContainerSpec
) -> None:
    container_id = await engine.create_container(replace(spec, tier=4))

    async with raw_engine(address.url) as api:
        mounts = (await api.get(f"/containers/{container_id}/json"))["HostConfig"]["Mounts"]
    sockets = [mount["Source"] for mount in mounts if mount["Target"] == "/var/run/docker.sock"]
    assert sockets == [address.url.removeprefix("unix://")]


@pytest.mark.engine
async def test_a_name_that_is_taken_is_a_conflict(engine: Engine, spec: ContainerSpec) -> None:
    await engine.create_container(spec)

    with pytest.raises(ConflictError) as caught:
        await engine.create_container(spec)

    assert caught.value.code == "container_name_taken"


@pytest.mark.engine
async def test_an_image_that_is_not_there_is_named(engine: Engine, spec: ContainerSpec) -> None:
    missing = "sha256:" + "0" * 64

    with pytest.raises(NotFoundError, match=missing) as caught:
        await engine.create_container(replace(spec, image_id=missing))

    assert caught.value.code == "image_not_found"


@pytest.mark.engine
async def test_an_image_of_another_platform_is_not_a_missing_image(engine: Engine, spec: ContainerSpec) -> None:
    with pytest.raises(ConflictError, match="linux/s390x") as caught:
        await engine.create_container(replace(spec, platform="linux/s390x"))

    assert caught.value.code == "image_platform_mismatch"


@pytest.mark.engine
async def test_a_host_path_that_does_not_exist_is_refused_and_not_made(engine: Engine, spec: ContainerSpec) -> None:
    mounts = [*spec.mounts, Mount(source="/does/not/exist", target="/workspace")]

    with pytest.raises(InvalidRequestError, match="/does/not/exist"):
        await engine.create_container(replace(spec, mounts=mounts))


@pytest.mark.engine
async def test_no_container_is_none(engine: Engine) -> None:
    assert await engine.container("none-such") is None


@pytest.mark.engine
async def test_all_containers_of_a_label_are_found_running_or_not(engine: Engine, spec: ContainerSpec) -> None:
    mine = {INSTANCE: spec.labels[INSTANCE], "test": spec.name}
    await engine.ensure_volume(f"{spec.name}-2", mine)
    await engine.create_container(replace(spec, name=f"{spec.name}-0", labels=mine))
    await running(engine, replace(spec, name=f"{spec.name}-1", labels=mine))
    volume = Mount(source=f"{spec.name}-2", target="/configs")
    await ended(engine, replace(spec, name=f"{spec.name}-2", labels=mine, mounts=[volume]))

    listed = await engine.containers(mine)

    assert {each.name: (each.running, each.exit_code) for each in listed} == {
        f"{spec.name}-0": (False, None),
        f"{spec.name}-1": (True, None),
        f"{spec.name}-2": (False, 7),
    }


@pytest.mark.engine
async def test_a_listed_container_is_the_same_as_an_inspected_one(engine: Engine, spec: ContainerSpec) -> None:
    mine = {**spec.labels, "test": spec.name}
    container_id = await running(engine, replace(spec, labels=mine))

    assert await engine.containers(mine) == [await engine.container(container_id)]


@pytest.mark.engine
async def test_a_removed_container_is_gone(engine: Engine, spec: ContainerSpec) -> None:
    container_id = await running(engine, spec)

    await engine.remove_container(container_id)

    assert await engine.container(container_id) is None


@pytest.mark.engine
async def test_removing_what_is_gone_is_no_error(engine: Engine) -> None:
    await engine.remove_container("none-such")


@pytest.mark.engine
async def test_removing_at_once_is_no_error_and_everybody_returns_when_it_is_gone(
    engine: Engine, spec: ContainerSpec
) -> None:
    container_id = await running(engine, spec)

    async def remove() -> ContainerInfo | None:
        await engine.remove_container(container_id)
        return await engine.container(container_id)

    assert await asyncio.gather(*(remove() for _ in range(5))) == [None] * 5


@pytest.mark.engine
async def test_waiting_ends_with_the_container(engine: Engine, spec: ContainerSpec) -> None:
    container_id = await running(engine, spec)
    waiting = asyncio.create_task(engine.wait_exit(container_id))

    await engine.copy_files(container_id, [STOP])

    assert await waiting == 7


@pytest.mark.engine
async def test_waiting_ends_when_the_container_is_removed(
    proxy: EngineProxy, proxied: Engine, engine: Engine, spec: ContainerSpec
) -> None:
    container_id = await running(engine, spec)
    answered = proxy.faults.hold("POST", f"/containers/{container_id}/wait")
    waiting = asyncio.create_task(proxied.wait_exit(container_id))
    await answered.arrived.wait()
    answered.release()

    await engine.remove_container(container_id)

    with suppress(NotFoundError):  # when the engine was asked after the removal
        assert await waiting == 137


@pytest.mark.engine
async def test_waiting_for_no_container_is_an_error(engine: Engine) -> None:
    with pytest.raises(NotFoundError):
        await engine.wait_exit("none-such")
