"""What SQLite alone can promise, or fail."""

import contextlib
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa

from workspace_server.db import WorkspaceStore, open_database
from workspace_server.errors import UnavailableError

from .conftest import spec
from .test_database import names


async def test_a_database_that_others_keep_locked_is_unavailable(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workspace_server.db.sqlite.BUSY_SECONDS", 0.01)
    async with open_database(path) as impatient:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(UnavailableError) as caught:
                async with impatient.write():
                    pass

    assert (caught.value.code, caught.value.message) == (
        "database_unavailable",
        "the database cannot be used right now",
    )


async def test_a_database_that_was_unavailable_works_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workspace_server.db.sqlite.BUSY_SECONDS", 0.01)
    async with open_database(path) as database:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(UnavailableError):
                async with database.write():
                    pass
        async with database.write() as tx:
            await WorkspaceStore(database).insert(tx, "w", spec())

        assert await names(database) == ["a"]


@pytest.mark.parametrize(
    ("pragma", "value"), [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1), ("busy_timeout", 5000)]
)
async def test_what_was_told_is_on_the_disk_and_holds_together(path: Path, pragma: str, value: object) -> None:
    async with open_database(path) as database, database.write() as tx:
        assert (await tx.connection.execute(sa.text(f"PRAGMA {pragma}"))).scalar() == value


async def test_progress_need_not_be_on_the_disk(path: Path) -> None:
    async with open_database(path) as database, database.write(durable=False) as tx:
        assert (await tx.connection.execute(sa.text("PRAGMA synchronous"))).scalar() == 1
