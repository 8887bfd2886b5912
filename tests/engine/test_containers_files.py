"""Files put into containers before they start."""

import io
import tarfile
from dataclasses import replace

import pytest

from support.engine import engine as raw_engine
from workspace_server.engine import Engine, EngineAddress
from workspace_server.engine.containers import archive
from workspace_server.errors import NotFoundError
from workspace_server.model.container import ContainerFile, ContainerSpec
from workspace_server.model.names import INSTANCE

TOKEN = ContainerFile(path="/configs/.auth_token", content=b"t0ken", mode=0o600)


async def members(address: EngineAddress, container_id: str, path: str) -> dict[str, tarfile.TarInfo]:
    """What is in a container's directory, as an archive of it says."""
    async with (
        raw_engine(address.url) as api,
        api.stream(f"/containers/{container_id}/archive", path=path) as body,
    ):
        content = await body.read()
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return {member.name: member for member in tar.getmembers()}


@pytest.mark.engine
@pytest.mark.parametrize("tier", [1, 2])
async def test_files_belong_to_the_agent_in_a_volume_the_agent_owns(
    engine: Engine, address: EngineAddress, spec: ContainerSpec, tier: int
) -> None:
    container_id = await engine.create_container(replace(spec, tier=tier))

    await engine.copy_files(container_id, [TOKEN, ContainerFile(path="/configs/skills/a/skill.md", content=b"s")])

    there = await members(address, container_id, "/configs")
    assert {name: (each.uid, each.gid, oct(each.mode & 0o777)) for name, each in there.items()} == {
        "configs": (1000, 1000, "0o755"),
        "configs/.auth_token": (1000, 1000, "0o600"),
        "configs/skills": (1000, 1000, "0o755"),
        "configs/skills/a": (1000, 1000, "0o755"),
        "configs/skills/a/skill.md": (1000, 1000, "0o644"),
    }


@pytest.mark.engine
async def test_files_for_a_container_that_does_not_exist_are_an_error(engine: Engine) -> None:
    with pytest.raises(NotFoundError):
        await engine.copy_files("none", [TOKEN])


@pytest.mark.engine
async def test_copying_into_a_sandbox_leaves_no_container_behind(engine: Engine, spec: ContainerSpec) -> None:
    mine = {**spec.labels, INSTANCE: f"{spec.labels[INSTANCE]}-{spec.name}"}
    container_id = await engine.create_container(replace(spec, tier=1, labels=mine))
    try:
        await engine.copy_files(container_id, [TOKEN])

        assert [each.id for each in await engine.containers({INSTANCE: mine[INSTANCE]})] == [container_id]
    finally:
        await engine.remove_container(container_id)


def test_an_archive_has_every_directory_once_and_before_what_is_in_it() -> None:
    deep = ContainerFile(path="/configs/skills/a", content=b"")

    with tarfile.open(fileobj=io.BytesIO(archive([deep, TOKEN]))) as tar:
        names = [member.name for member in tar.getmembers()]

    assert names == ["configs", "configs/skills", "configs/.auth_token", "configs/skills/a"]
