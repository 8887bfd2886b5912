"""Which tables there are, however the database came to them, and what is never touched."""

import asyncio
import hashlib
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from workspace_server.db import open_database
from workspace_server.db.migrate import MIGRATIONS
from workspace_server.db.schema import REVISION, metadata
from workspace_server.errors import SettingsError, UnavailableError


def configuration() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config


@contextmanager
def connected(path: Path) -> Iterator[sa.Connection]:
    engine = sa.create_engine(f"sqlite:///{path}")
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def migrate_step_by_step(path: Path) -> None:
    config = configuration()
    with connected(path) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


async def make_at_once(path: Path) -> None:
    async with open_database(path):
        pass


def differences_from_the_schema(path: Path) -> list[object]:
    with connected(path) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        return compare_metadata(context, metadata)


def inspected(path: Path) -> dict[str, object]:
    """Everything SQLite knows of the tables: columns, indexes, foreign keys, constraints."""
    with connected(path) as connection:
        look = sa.inspect(connection)
        return {
            table: {
                "columns": {
                    column["name"]: {**column, "type": str(column["type"])} for column in look.get_columns(table)
                },
                "primary key": look.get_pk_constraint(table)["constrained_columns"],
                "indexes": sorted(look.get_indexes(table), key=lambda index: str(index["name"])),
                "foreign keys": look.get_foreign_keys(table),
                "unique": look.get_unique_constraints(table),
                "checks": look.get_check_constraints(table),
            }
            for table in look.get_table_names()
        }


def revision_of(path: Path) -> str | None:
    with connected(path) as connection:
        return MigrationContext.configure(connection).get_current_revision()


def set_revision(path: Path, revision: str) -> None:
    with connected(path) as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})


def checksums(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_the_named_revision_is_the_newest_migration() -> None:
    assert ScriptDirectory.from_config(configuration()).get_current_head() == REVISION


def test_the_migrations_leave_exactly_the_tables_of_the_schema(path: Path) -> None:
    migrate_step_by_step(path)

    assert differences_from_the_schema(path) == []


async def test_a_new_database_has_exactly_the_tables_of_the_schema(path: Path) -> None:
    await make_at_once(path)

    assert differences_from_the_schema(path) == []


async def test_a_new_database_is_what_the_migrations_would_have_made(path: Path, tmp_path: Path) -> None:
    await make_at_once(path)
    migrate_step_by_step(tmp_path / "migrated.db")

    assert inspected(path) == inspected(tmp_path / "migrated.db")


async def test_a_new_database_names_its_revision_the_way_alembic_does(path: Path) -> None:
    await make_at_once(path)

    assert revision_of(path) == REVISION


async def test_an_existing_database_without_tables_of_ours_gets_them_by_migration(path: Path) -> None:
    with connected(path) as connection:
        connection.execute(sa.text("CREATE TABLE notes (text TEXT)"))
    await make_at_once(path)

    assert (revision_of(path), set(inspected(path)) - set(metadata.tables)) == (REVISION, {"notes", "alembic_version"})


async def test_opening_again_changes_nothing(path: Path) -> None:
    await make_at_once(path)
    before = checksums(path.parent)
    await make_at_once(path)

    assert checksums(path.parent) == before


async def test_a_newer_schema_is_refused_with_what_to_do(path: Path) -> None:
    await make_at_once(path)
    set_revision(path, "9999")
    with pytest.raises(SettingsError) as caught:
        await make_at_once(path)

    assert caught.value.as_dict() == {
        "error": "the database has schema 9999, which this version does not know",
        "code": "newer_schema",
        "hint": "run the newer version that made it, or set MOLECULE_DATA_DIR to another directory",
    }


async def test_a_newer_schema_is_left_untouched(path: Path) -> None:
    await make_at_once(path)
    set_revision(path, "9999")
    before = checksums(path.parent)
    with pytest.raises(SettingsError):
        await make_at_once(path)

    assert checksums(path.parent) == before


@pytest.fixture
def no_database(path: Path) -> Path:
    path.write_bytes(b"not a database" * 400)
    return path


async def test_what_is_no_database_is_refused(no_database: Path) -> None:
    with pytest.raises(UnavailableError) as caught:
        await make_at_once(no_database)

    assert caught.value.code == "database_unavailable"


async def test_what_is_no_database_is_left_untouched(no_database: Path) -> None:
    before = checksums(no_database.parent)
    with pytest.raises(UnavailableError):
        await make_at_once(no_database)

    assert checksums(no_database.parent) == before


async def test_what_is_no_database_leaves_no_thread_behind(no_database: Path) -> None:
    before = set(threading.enumerate())
    with pytest.raises(UnavailableError) as caught:
        await make_at_once(no_database)
    started = set(threading.enumerate()) - before
    for thread in started:
        await asyncio.to_thread(thread.join, 10)

    assert ([thread for thread in started if thread.is_alive()], caught.value.code) == ([], "database_unavailable")


async def test_a_migration_that_fails_leaves_the_database_as_it_was(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(connection: sa.Connection) -> None:
        metadata.create_all(connection)
        raise UnavailableError("no space", code="no_space")

    monkeypatch.setattr("workspace_server.db.migrate._create", fail)
    with pytest.raises(UnavailableError):
        await make_at_once(path)

    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []
