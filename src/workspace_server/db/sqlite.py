"""SQLite: a file of one server; many readers, one writer."""

import sqlite3
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from workspace_server.db.backend import Notice
from workspace_server.errors import UnavailableError

BUSY_SECONDS = 5


class SQLite:
    """The backend of a file, which is made, empty and private, when it is missing."""

    elsewhere = "set MOLECULE_DATA_DIR to another directory"

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def where(self) -> str:
        """The data directory."""
        return str(self._path.parent)

    def engines(self) -> tuple[AsyncEngine, AsyncEngine, AsyncEngine]:
        """Of readers, of writers, and of writers whose newest changes may be lost with the machine's power."""
        with suppress(OSError):  # SQLite says what is wrong; it gives its other files the mode of this one
            self._path.touch(mode=0o600, exist_ok=False)
        return (
            _engine(self._path, begin="BEGIN", pool_size=8),
            _engine(self._path, begin="BEGIN IMMEDIATE", pool_size=1),
            _engine(self._path, begin="BEGIN IMMEDIATE", pool_size=1, synchronous="NORMAL"),
        )

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turn the driver's and SQLAlchemy's operational errors into UnavailableError."""
        try:
            yield
        except (sa.exc.IntegrityError, sa.exc.ProgrammingError):
            raise
        except (sa.exc.TimeoutError, sqlite3.OperationalError, sa.exc.DatabaseError) as error:
            raise UnavailableError(
                "the database cannot be used right now",
                code="database_unavailable",
                hint="see the server's log; check the space left and the permissions of MOLECULE_DATA_DIR",
            ) from error

    async def tell(self, connection: AsyncConnection, notices: Sequence[Notice]) -> None:
        """Nobody else is there."""

    async def hear(self) -> AsyncGenerator[Notice | None, None]:
        """Nothing: the data directory's lock keeps other servers out."""
        nothing: tuple[Notice, ...] = ()
        for notice in nothing:
            yield notice


def _engine(path: Path, *, begin: str, pool_size: int, synchronous: str = "FULL") -> AsyncEngine:
    engine = create_async_engine(
        f"sqlite+aiosqlite:///{path}",
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=30,
        connect_args={"timeout": BUSY_SECONDS, "isolation_level": None},
    )

    @sa.event.listens_for(engine.sync_engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        for pragma in (
            "journal_mode=WAL",
            f"synchronous={synchronous}",
            "foreign_keys=ON",
            f"busy_timeout={BUSY_SECONDS * 1000}",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    # A connection whose work was cancelled is closed, but SQLite keeps its transaction open, and everybody else out,
    # for as long as some statement of it has rows left: whoever holds the exception may hold that one, too.
    @sa.event.listens_for(engine.sync_engine, "invalidate")
    def end_transaction(connection: Any, _record: Any, _error: BaseException | None) -> None:
        with suppress(sqlite3.Error):
            connection.rollback()

    # With isolation_level None the driver starts no transactions of its own: ours begin the way that fits the engine.
    @sa.event.listens_for(engine.sync_engine, "begin")
    def start(connection: sa.Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine
