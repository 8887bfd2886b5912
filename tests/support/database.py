"""Which database the tests use: SQLite, or PostgreSQL where MOLECULE_TEST_DATABASE says so."""

import hashlib
import os
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest

from .postgres import ENCRYPTION_KEY, Postgres

_CHOICE = "MOLECULE_TEST_DATABASE"

cluster: Postgres | None = None
"""Where the databases are, if PostgreSQL was chosen; set while tests run."""


def is_postgresql() -> bool:
    """Whether PostgreSQL was chosen; fails for a word that is no choice."""
    match os.environ.get(_CHOICE, "sqlite"):
        case "sqlite":
            return False
        case "postgresql":
            return True
        case unknown:
            pytest.fail(f"{_CHOICE}={unknown} is neither sqlite nor postgresql", pytrace=False)


def only_sqlite(why: str) -> pytest.MarkDecorator:
    """The mark of a test that is not tried on another database, and why."""
    return pytest.mark.skipif(is_postgresql(), reason=why)


async def place_in(directory: Path) -> Path | str:
    """The database of a data directory: always the same, and empty when it is first asked for."""
    if cluster is None:
        return directory / "molecule.db"
    name = "d_" + hashlib.sha256(bytes(directory)).hexdigest()[:16]
    async with cluster.connected() as connection:
        with suppress(asyncpg.DuplicateDatabaseError):
            await connection.execute(f"CREATE DATABASE {name}")
    return cluster.url(name)


async def settings_in(directory: Path) -> dict[str, str]:
    """The settings of a server whose data directory is in ``directory``; none for SQLite."""
    place = await place_in(directory)
    return {"DATABASE_URL": place, "SECRETS_ENCRYPTION_KEY": ENCRYPTION_KEY} if isinstance(place, str) else {}
