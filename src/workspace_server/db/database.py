"""One SQLite database: many readers, one writer, transactions whose after-effects wait for the commit."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from workspace_server.db.migrate import migrate
from workspace_server.errors import UnavailableError

BUSY_SECONDS = 5


class Transaction:
    """An open transaction. What is registered with ``on_commit`` happens after the commit, or never."""

    def __init__(self, connection: AsyncConnection) -> None:
        self.connection = connection
        self._after: list[Callable[[], None]] = []

    def on_commit(self, effect: Callable[[], None]) -> None:
        """Call ``effect`` once the transaction has been committed."""
        self._after.append(effect)

    def committed(self) -> None:
        """Run the registered effects."""
        for effect in self._after:
            effect()


class Database:
    """The open database. Readers never wait for the writer; writers queue up in this process."""

    def __init__(self, readers: AsyncEngine, writer: AsyncEngine, quick_writer: AsyncEngine) -> None:
        self._readers = readers
        self._writer = writer
        self._quick_writer = quick_writer
        self._writing = asyncio.Lock()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection with one consistent view. Raises UnavailableError ``database_unavailable``."""
        with translated():
            async with self._readers.connect() as connection:
                yield connection

    @asynccontextmanager
    async def write(self, *, durable: bool = True) -> AsyncIterator[Transaction]:
        """A transaction that holds the write lock from its start. Raises UnavailableError ``database_unavailable``.

        What somebody was told must be ``durable``: it is on the disk when this returns. Without it, the newest such
        transactions may be lost with the machine's power, never with this process alone: right for progress.
        """
        writer = self._writer if durable else self._quick_writer
        with translated():
            async with self._writing, writer.begin() as connection:
                transaction = Transaction(connection)
                yield transaction
        transaction.committed()

    async def ping(self) -> None:
        """Raise UnavailableError when the database cannot be read."""
        async with self.read() as connection:
            await connection.execute(sa.text("SELECT 1"))


@asynccontextmanager
async def open_database(path: Path) -> AsyncIterator[Database]:
    """Open the SQLite file, made and migrated when needed.

    Raises SettingsError ``newer_schema`` for a database of a newer program, UnavailableError when it cannot be used.
    """
    _make_private(path)
    readers = _engine(path, begin="BEGIN", pool_size=8)
    writer = _engine(path, begin="BEGIN IMMEDIATE", pool_size=1)
    quick_writer = _engine(path, begin="BEGIN IMMEDIATE", pool_size=1, synchronous="NORMAL")
    try:
        with translated():
            await migrate(writer)
        yield Database(readers, writer, quick_writer)
    finally:
        for engine in (readers, writer, quick_writer):
            await engine.dispose()


def _make_private(path: Path) -> None:
    """Make the file, empty, when it is missing; SQLite gives its other files the mode of this one."""
    with suppress(OSError):  # SQLite says what is wrong
        path.touch(mode=0o600, exist_ok=False)


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


@contextmanager
def translated() -> Iterator[None]:
    """Turn the driver's and SQLAlchemy's operational errors into ours. Mistakes in our SQL stay what they are: bugs."""
    try:
        yield
    except (sa.exc.OperationalError, sa.exc.TimeoutError, sqlite3.OperationalError, sa.exc.DatabaseError) as error:
        if isinstance(error, sa.exc.IntegrityError | sa.exc.ProgrammingError):
            raise
        raise UnavailableError(
            "the database cannot be used right now",
            code="database_unavailable",
            hint="see the server's log; check the space left and the permissions of MOLECULE_DATA_DIR",
        ) from error
