"""What a server's database holds, past the product's own code: its files, and every row."""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from . import database
from .postgres import Postgres

_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
_OWN_FILES = "SELECT oid FROM pg_database WHERE datname = current_database()"


async def files_of(data: Path, settings: Mapping[str, str]) -> list[Path]:
    """Return the files of the database of a server with this data directory and these settings."""
    if (cluster := database.cluster) is not None:
        return await _postgres_files(cluster, settings["DATABASE_URL"])
    file = data / "molecule.db"
    wal = file.with_name(f"{file.name}-wal")
    assert wal.stat().st_size > 0
    return [file, wal]


async def rows_of(data: Path, settings: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return every row of that database: its table, and its values as text, a line each."""
    if (cluster := database.cluster) is not None:
        return await _postgres_rows(cluster, settings["DATABASE_URL"])
    with closing(sqlite3.connect(f"{(data / 'molecule.db').as_uri()}?mode=ro", uri=True)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return [(table, _text(row)) for table in tables for row in connection.execute(f'SELECT * FROM "{table}"')]


async def _postgres_files(cluster: Postgres, url: str) -> list[Path]:
    async with cluster.connected(_name_in(url)) as connection:
        await connection.execute("CHECKPOINT")  # its log is of all databases, and in these files from then on
        (oid,) = await connection.fetchrow(_OWN_FILES)
    return [path for path in (cluster.data / f"base/{oid}").iterdir() if path.is_file()]


async def _postgres_rows(cluster: Postgres, url: str) -> list[tuple[str, str]]:
    async with cluster.connected(_name_in(url)) as connection:
        tables = [name for (name,) in await connection.fetch(_TABLES)]
        return [(table, _text(row)) for table in tables for row in await connection.fetch(f'SELECT * FROM "{table}"')]


def _name_in(url: str) -> str:
    return url.rpartition("/")[2]


def _text(row: tuple[object, ...]) -> str:
    return "\n".join(map(str, row))
