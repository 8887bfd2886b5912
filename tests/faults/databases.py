"""The database that the servers of a run use, and how somebody else locks it."""

import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from support.postgres import ENCRYPTION_KEY

from .ground import Ground
from .table import POSTGRESQL, SQLITE, Kind

WRITERS = "EXCLUSIVE"
EVERYBODY = "ACCESS EXCLUSIVE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """SQLite or PostgreSQL. ``settings`` are those of a server that uses it; ``locked`` keeps all other writers out."""

    kind: Kind
    settings: Mapping[str, str]
    locked: Callable[[Ground], AbstractAsyncContextManager[None]]


def sqlite() -> Database:
    """The file in each server's data directory."""
    return Database(kind=SQLITE, settings={}, locked=_locked_file)


def postgresql(url: str) -> Database:
    """The database at a URL."""
    return Database(
        kind=POSTGRESQL,
        settings={"DATABASE_URL": url, "SECRETS_ENCRYPTION_KEY": ENCRYPTION_KEY},
        locked=lambda _: locked_table(url, WRITERS),
    )


def file_of(ground: Ground) -> Path:
    """The file of SQLite."""
    return ground.server.data / "molecule.db"


@asynccontextmanager
async def _locked_file(ground: Ground) -> AsyncIterator[None]:
    with closing(sqlite3.connect(file_of(ground), isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


@asynccontextmanager
async def locked_table(url: str, whom: str) -> AsyncIterator[None]:
    """The table of workspaces locked, against ``WRITERS`` or ``EVERYBODY``."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            await connection.execute(f"LOCK TABLE workspaces IN {whom} MODE")
            yield
    finally:
        await connection.close()
