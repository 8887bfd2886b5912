"""What starts an installation's workspaces is not changed while there are any that it would leave behind."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.control_plane import ControlPlane, control_plane, variables
from support.rows import workspace
from support.server import InProcess, in_process
from workspace_server.errors import SettingsError
from workspace_server.model.workspace import WorkspaceStatus


@pytest.fixture
async def served() -> AsyncIterator[ControlPlane]:
    async with control_plane() as opened:
        yield opened


async def refused(directory: Path, **settings: str) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        async with in_process(directory, **settings):
            pass
    return caught.value


async def clear(app: InProcess, identity: str) -> None:
    """Remove it, and all of it has gone from wherever it was."""
    await app.services.workspaces.remove(identity, confirmed=True, purge=False)
    async with app.services.database.write() as tx:
        await app.services.store.mark_cleared(tx, identity)


@pytest.mark.parametrize("status", [WorkspaceStatus.ONLINE, WorkspaceStatus.PAUSED, WorkspaceStatus.FAILED])
async def test_an_installation_with_workspaces_of_an_engine_refuses_a_control_plane(
    tmp_path: Path, served: ControlPlane, status: WorkspaceStatus
) -> None:
    async with in_process(tmp_path) as app:
        await workspace(app, status=status)
    error = await refused(tmp_path, **variables(served))

    assert error.code == "another_backend"
    assert error.message == (
        "the workspaces of this database were started by the engine, and this server would start them by the"
        " control plane of org-of-tests: nobody would look after those that run"
    )
    assert error.hint.startswith("unset MOLECULE_ORG_ID, as it was; ")
    assert served.calls == []


async def test_an_installation_with_machines_of_a_control_plane_refuses_an_engine(
    tmp_path: Path, served: ControlPlane
) -> None:
    async with in_process(tmp_path, **variables(served)) as app:
        await workspace(app)
    error = await refused(tmp_path)

    assert error.code == "another_backend"
    assert error.hint.startswith("set MOLECULE_ORG_ID=org-of-tests, as it was; ")


async def test_another_organisations_control_plane_is_another_one(tmp_path: Path, served: ControlPlane) -> None:
    async with in_process(tmp_path, **variables(served)) as app:
        await workspace(app)

    assert (await refused(tmp_path, **variables(served, MOLECULE_ORG_ID="other"))).code == "another_backend"


async def test_what_was_removed_and_is_still_there_counts(tmp_path: Path, served: ControlPlane) -> None:
    async with in_process(tmp_path) as app:  # its engine is away: nothing is cleared
        identity = await workspace(app)
        await app.services.workspaces.remove(identity, confirmed=True, purge=False)

    assert (await refused(tmp_path, **variables(served))).code == "another_backend"


async def test_a_refusal_changes_nothing(tmp_path: Path, served: ControlPlane) -> None:
    async with in_process(tmp_path) as app:
        identity = await workspace(app)
    await refused(tmp_path, **variables(served))

    async with in_process(tmp_path) as app:
        assert await app.services.store.get(identity) is not None


async def test_an_installation_without_workspaces_may_change_it_both_ways(tmp_path: Path, served: ControlPlane) -> None:
    async with in_process(tmp_path) as app:
        await clear(app, await workspace(app))
    async with in_process(tmp_path, **variables(served)) as app:
        await clear(app, await workspace(app))
    async with in_process(tmp_path) as app:
        await workspace(app)

    assert (await refused(tmp_path, **variables(served))).code == "another_backend"


async def test_agents_that_run_elsewhere_are_nobodys(tmp_path: Path, served: ControlPlane) -> None:
    async with in_process(tmp_path) as app:
        await workspace(app, spec={"runtime": "external"})

    async with in_process(tmp_path, **variables(served)):
        pass
