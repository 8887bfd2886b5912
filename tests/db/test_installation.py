"""One installation, one id: in the database and beside it."""

from pathlib import Path
from uuid import UUID

import pytest

from workspace_server.db import Database, open_database
from workspace_server.db.directory import DataDirectory
from workspace_server.db.installation import installation_id

ID = "0123abcd-4567-89ab-cdef-0123456789ab"


@pytest.fixture
def directory(tmp_path: Path) -> DataDirectory:
    return DataDirectory(path=tmp_path)


async def test_the_first_start_makes_an_id(database: Database, directory: DataDirectory) -> None:
    identity = await installation_id(database, directory)

    assert str(UUID(identity)) == identity


async def test_the_id_stays_the_same(database: Database, directory: DataDirectory) -> None:
    assert await installation_id(database, directory) == await installation_id(database, directory)


async def test_the_id_is_mirrored(database: Database, directory: DataDirectory) -> None:
    identity = await installation_id(database, directory)

    assert directory.known_instance() == identity


async def test_an_empty_database_adopts_the_mirrors(database: Database, directory: DataDirectory) -> None:
    directory.mirror_instance(ID)

    assert await installation_id(database, directory) == ID


async def test_a_lost_mirror_is_made_again(database: Database, directory: DataDirectory) -> None:
    identity = await installation_id(database, directory)
    (directory.path / "instance").unlink()
    await installation_id(database, directory)

    assert directory.known_instance() == identity


async def test_the_database_overrules_a_mirror_that_differs(database: Database, directory: DataDirectory) -> None:
    identity = await installation_id(database, directory)
    directory.mirror_instance(ID)

    assert (await installation_id(database, directory), directory.known_instance()) == (identity, identity)


async def test_a_lost_database_costs_no_identity(directory: DataDirectory) -> None:
    async with open_database(directory.path / "lost.db") as database:
        before = await installation_id(database, directory)
    async with open_database(directory.path / "new.db") as database:
        after = await installation_id(database, directory)

    assert after == before
