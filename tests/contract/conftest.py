"""Every backend, one after the other; what is waited for between two looks is short."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from workspace_server import wiring_control_plane
from workspace_server.workspaces import reconcile
from workspace_server.workspaces.control_plane_backend import Pace

from .stands import Stand, control_plane_stand, engine_stand


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "_FACTS_SECONDS", 0.3)
    monkeypatch.setattr(reconcile, "_WISHES_SECONDS", 0.3)
    monkeypatch.setattr(reconcile, "_FIRST_PAUSE", 0.1)
    monkeypatch.setattr(wiring_control_plane, "Pace", lambda: Pace(poll=0.05, look=1.0, end=1.0))


@pytest.fixture(params=["control plane", pytest.param("engine", marks=pytest.mark.engine)])
async def stand(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stand]:
    """A server on a backend, of which nothing runs any more at the end of a test that removed its workspaces."""
    (tmp_path / "home").mkdir()
    if request.param == "engine":
        request.getfixturevalue("workspace_network")
        async with engine_stand(tmp_path, request.getfixturevalue("engine_url")) as opened:
            yield opened
    else:
        async with control_plane_stand(tmp_path) as opened:
            yield opened
