"""Directories of this machine as /workspace, on the real engine."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from workspace_server.model import names
from workspace_server.model.workspace import WorkspaceAccess, WorkspaceStatus

from .world import Supply, World, world

pytestmark = pytest.mark.engine


@pytest.fixture
def project(tmp_path: Path) -> Path:
    project = tmp_path / "projects" / "mine"
    project.mkdir(parents=True)
    (project / "README").write_text("hello")
    return project


@pytest.fixture
async def here(
    engine_url: str, supply: Supply, instance: str, workspace_network: None, project: Path
) -> AsyncIterator[World]:
    roots = {"MOLECULE_WORKSPACE_ROOTS": str(project.parent)}
    async with world(project.parent.parent / "data", engine_url, supply, instance, **roots) as opened:
        yield opened


@pytest.mark.parametrize(
    ("access", "writable"), [(WorkspaceAccess.READ_WRITE, True), (WorkspaceAccess.READ_ONLY, False)]
)
async def test_a_directory_is_mounted_instead_of_a_volume(
    here: World, project: Path, access: WorkspaceAccess, *, writable: bool
) -> None:
    workspace = await here.waiting_for_agent(workspace_dir=str(project), workspace_access=access)
    (mount,) = [each for each in (await here.inspected(workspace))["Mounts"] if each["Destination"] == "/workspace"]

    assert (mount["Type"], mount["Source"], mount["RW"]) == ("bind", str(project), writable)
    assert await here.volumes() == [names.config_volume(workspace)]


async def test_a_purge_leaves_the_directory_alone(here: World, project: Path) -> None:
    workspace = await here.waiting_for_agent(workspace_dir=str(project), workspace_access=WorkspaceAccess.READ_WRITE)
    await here.service.remove(workspace, confirmed=True, purge=True)
    await here.fulfil()

    assert (await here.containers(), (project / "README").read_text()) == ([], "hello")


async def test_a_directory_that_became_a_link_out_of_the_roots_is_not_mounted(
    here: World, project: Path, tmp_path: Path
) -> None:
    workspace = await here.create(workspace_dir=str(project), workspace_access=WorkspaceAccess.READ_WRITE)
    swapped(project, tmp_path)
    await here.fulfil()

    row = await here.row(workspace)
    assert row.failure is not None
    assert (row.status, row.failure.code) == (WorkspaceStatus.FAILED, "workspace_dir_refused")
    assert await here.containers() == []


def swapped(project: Path, target: Path) -> None:
    """Put a link in the place of a directory."""
    project.rename(project.parent / "moved")
    project.symlink_to(target)
