"""Volumes on a real engine."""

import secrets
from collections.abc import Mapping

import pytest

from workspace_server.engine import Engine, VolumeInfo
from workspace_server.errors import ConflictError
from workspace_server.model.container import ContainerSpec


@pytest.fixture
def name() -> str:
    return f"v-{secrets.token_hex(6)}"


@pytest.mark.engine
async def test_a_volume_is_found_by_its_labels(engine: Engine, name: str, labels: Mapping[str, str]) -> None:
    mine = {**labels, "test": name}

    await engine.ensure_volume(name, mine)

    assert await engine.volumes(mine) == [VolumeInfo(name=name, labels=mine)]


@pytest.mark.engine
async def test_a_volume_that_exists_stays_as_it_is(engine: Engine, name: str, labels: Mapping[str, str]) -> None:
    mine = {**labels, "test": name}
    await engine.ensure_volume(name, mine)

    await engine.ensure_volume(name, labels)

    assert await engine.volumes(mine) == [VolumeInfo(name=name, labels=mine)]


@pytest.mark.engine
async def test_a_removed_volume_is_gone(engine: Engine, name: str, labels: Mapping[str, str]) -> None:
    mine = {**labels, "test": name}
    await engine.ensure_volume(name, mine)

    await engine.remove_volume(name)

    assert await engine.volumes(mine) == []


@pytest.mark.engine
async def test_removing_what_is_gone_is_no_error(engine: Engine, name: str) -> None:
    await engine.remove_volume(name)


@pytest.mark.engine
async def test_a_volume_in_use_is_not_removed(engine: Engine, spec: ContainerSpec) -> None:
    await engine.create_container(spec)

    with pytest.raises(ConflictError):
        await engine.remove_volume(spec.mounts[0].source)
