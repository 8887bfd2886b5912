"""Where the faults are tried, and the table of what became of them."""

import os
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from support.private_engine import OWN_NETWORK, PrivateEngine, private_engine

from .databases import Database, postgresql, sqlite
from .ground import Ground, open_ground
from .table import POSTGRESQL, SQLITE, Kind, Trial, markdown

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
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, soon full."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m,mode=700", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture(scope="session")
def kind() -> Kind:
    """The kind of database that the servers use: what MOLECULE_TEST_DATABASE says, or SQLite."""
    match os.environ.get("MOLECULE_TEST_DATABASE", "sqlite"):
        case "sqlite":
            return SQLITE
        case "postgresql":
            return POSTGRESQL
        case unknown:
            pytest.fail(f"MOLECULE_TEST_DATABASE={unknown} is neither sqlite nor postgresql", pytrace=False)


@pytest.fixture
def row(request: pytest.FixtureRequest, kind: Kind) -> Trial:
    """The table's row of a fault of one database alone, which its mark names: not applicable where another is used."""
    of, name = request.node.get_closest_marker("fault_of").args
    parameters = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    begun = Trial(of, name.format(**parameters), applicable=of == kind)
    _TRIALS.append(begun)
    if not begun.applicable:
        pytest.skip(f"it is a fault of {of}, and this run uses {kind}")
    return begun


@pytest.fixture
def database(request: pytest.FixtureRequest, kind: Kind) -> Database:
    """An empty database of the run's kind."""
    return sqlite() if kind == SQLITE else postgresql(str(request.getfixturevalue("postgres_url")))


@pytest.fixture
async def ground(
    faulty_engine: str, workspace_network: None, tmp_path: Path, database: Database
) -> AsyncIterator[Ground]:
    async with open_ground(tmp_path, faulty_engine, **database.settings) as opened:
        yield opened
