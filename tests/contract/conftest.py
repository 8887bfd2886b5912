"""Every backend, one after the other; what is waited for between two looks is short."""

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from support.postgres import ENCRYPTION_KEY
from workspace_server.wiring import control_plane as wiring_control_plane
from workspace_server.workspaces import reconcile
from workspace_server.workspaces.control_plane_backend import Pace

from .ledger import Trial, markdown
from .stands import Stand, control_plane_stand, engine_stand


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "_FACTS_SECONDS", 0.3)
    monkeypatch.setattr(reconcile, "_WISHES_SECONDS", 0.3)
    monkeypatch.setattr(reconcile, "_FIRST_PAUSE", 0.1)
    monkeypatch.setattr(wiring_control_plane, "Pace", lambda: Pace(poll=0.05, look=1.0, end=1.0, absence=2.0))


@pytest.fixture(params=["control plane", pytest.param("engine", marks=pytest.mark.engine)])
def engine_at(request: pytest.FixtureRequest) -> str | None:
    """The engine's address; None: the control plane's turn."""
    if request.param != "engine":
        return None
    request.getfixturevalue("workspace_network")
    return str(request.getfixturevalue("engine_url"))


@pytest.fixture
def database(request: pytest.FixtureRequest) -> dict[str, str]:
    """The settings of the servers' database: SQLite, or what MOLECULE_TEST_DATABASE says."""
    if os.environ.get("MOLECULE_TEST_DATABASE", "sqlite") == "sqlite":
        return {}
    url = str(request.getfixturevalue("postgres_url"))
    return {"DATABASE_URL": url, "SECRETS_ENCRYPTION_KEY": ENCRYPTION_KEY}


@pytest.fixture
async def stand(engine_at: str | None, tmp_path: Path, database: dict[str, str]) -> AsyncIterator[Stand]:
    """A server on a backend."""
    (tmp_path / "home").mkdir()
    if engine_at is None:
        opening = control_plane_stand(tmp_path, **database)
    else:
        opening = engine_stand(tmp_path, engine_at, **database)
    async with opening as opened:
        yield opened


_TRIALS: list[Trial] = []


@pytest.fixture
def trial() -> Callable[[str, str], Trial]:
    """Begin a row of the table. It is there whatever becomes of the test."""

    def begin(during: str, name: str) -> Trial:
        _TRIALS.append(Trial(during, name))
        return _TRIALS[-1]

    return begin


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _TRIALS:
        terminalreporter.section("faults of the control plane")
        for line in markdown(_TRIALS):
            terminalreporter.write_line(line)
