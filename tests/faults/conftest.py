"""Where the faults are tried, and the table of what became of them."""

import os
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from support.postgres import ENCRYPTION_KEY
from support.private_engine import OWN_NETWORK, PrivateEngine, private_engine

from .ground import Ground, open_ground
from .table import Trial, markdown

_TRIALS: list[Trial] = []
_ENGINES_DISK = "size=6g"


@pytest.fixture
def trial() -> Callable[[str, str], Trial]:
    """Begin a row of the table. It is there whatever becomes of the test."""

    def begin(group: str, name: str) -> Trial:
        _TRIALS.append(Trial(group, name))
        return _TRIALS[-1]

    return begin


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _TRIALS:
        terminalreporter.section("faults")
        for line in markdown(_TRIALS):
            terminalreporter.write_line(line)
        for left in (f"left over after {each.name}: {each.after}" for each in _TRIALS if each.after):
            terminalreporter.write_line(left)


@pytest.fixture(scope="session")
def own_engine(engine_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateEngine]:
    """An engine that may be stopped, killed and filled; its disk is a small one in memory."""
    disk = tmp_path_factory.mktemp("engines-disk")
    subprocess.run(["mount", "-t", "tmpfs", "-o", _ENGINES_DISK, "tmpfs", disk], check=True)
    try:
        with private_engine(engine_url, disk) as engine:
            yield engine
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


@pytest.fixture(scope="session")
def faulty_engine(request: pytest.FixtureRequest, engine_url: str) -> str:
    """The engine of faults that leave it alone: its own where there is one, else the one of all tests."""
    if os.environ.get(OWN_NETWORK):
        return str(request.getfixturevalue("own_engine").address)
    return engine_url


@pytest.fixture
def database(request: pytest.FixtureRequest) -> dict[str, str]:
    """The settings of the database that the servers use: SQLite, or what MOLECULE_TEST_DATABASE says."""
    match os.environ.get("MOLECULE_TEST_DATABASE", "sqlite"):
        case "sqlite":
            return {}
        case "postgresql":
            url = str(request.getfixturevalue("postgres_url"))
            return {"DATABASE_URL": url, "SECRETS_ENCRYPTION_KEY": ENCRYPTION_KEY}
        case unknown:
            pytest.fail(f"MOLECULE_TEST_DATABASE={unknown} is neither sqlite nor postgresql", pytrace=False)


@pytest.fixture
def only_sqlite(database: dict[str, str]) -> None:
    """What is about the files of SQLite is not tried on another database."""
    if database:
        pytest.skip("it is about the files of SQLite")


@pytest.fixture
async def ground(
    faulty_engine: str, workspace_network: None, tmp_path: Path, database: dict[str, str]
) -> AsyncIterator[Ground]:
    async with open_ground(tmp_path, faulty_engine, **database) as opened:
        yield opened
