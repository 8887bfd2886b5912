"""The open database: many readers, one writer, transactions whose after-effects wait for the commit."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from workspace_server.db.backend import Backend, Notice
from workspace_server.db.migrate import migrate
from workspace_server.db.sqlite import SQLite
from workspace_server.errors import UnavailableError

_TURN_SECONDS = 30.0


class Transaction:
    """An open transaction. What is registered with ``on_commit`` happens after the commit, or never."""

    def __init__(self, connection: AsyncConnection) -> None:
        self.connection = connection
        self.notices: list[Notice] = []
        self._after: list[Callable[[], None]] = []

    def tell(self, notice: Notice) -> None:
        """Let the other servers on this database know, once the transaction has been committed."""
        if notice not in self.notices:
            self.notices.append(notice)

    def on_commit(self, effect: Callable[[], None]) -> None:
        """Call ``effect`` once the transaction has been committed."""
        self._after.append(effect)

    def committed(self) -> None:
        """Run the registered effects."""
        for effect in self._after:
            effect()


class Database:
    """The open database. Readers never wait for the writer; writers queue up, in this process and among servers.

    ``failed_at``: when it was last found unusable. Who wanted to tell it something then may have seemed silent.
    """

    def __init__(self, backend: Backend, readers: AsyncEngine, writer: AsyncEngine, quick_writer: AsyncEngine) -> None:
        self._backend = backend
        self._readers = readers
        self._writer = writer
        self._quick_writer = quick_writer
        self._writing = asyncio.Lock()
        self.failed_at: datetime | None = None

    @property
    def where(self) -> str:
        """The database, to be shown to its owner: without a password."""
        return self._backend.where

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection with one consistent view. Raises UnavailableError ``database_unavailable``."""
        with self._translated():
            async with self._readers.connect() as connection:
                yield connection

    @asynccontextmanager
    async def write(self, *, durable: bool = True) -> AsyncIterator[Transaction]:
        """A transaction that holds the write lock from its start. Raises UnavailableError ``database_unavailable``.

        What somebody was told must be ``durable``: it is on the disk when this returns. Without it, the newest such
        transactions may be lost with the machine's power, never with this process alone: right for progress.
        """
        writer = self._writer if durable else self._quick_writer
        with self._translated():
            async with self._turn(), writer.begin() as connection:
                transaction = Transaction(connection)
                yield transaction
                await self._backend.tell(connection, transaction.notices)
        transaction.committed()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            with self._backend.translated():
                yield
        except UnavailableError as error:
            if error.code == "database_unavailable":
                self.failed_at = datetime.now(UTC)
            raise

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """The turn to write. Each writer learns by itself that a database is silent: nobody waits for all of them."""
        try:
            async with asyncio.timeout(_TURN_SECONDS):
                await self._writing.acquire()
        except TimeoutError as error:
            raise UnavailableError(
                "the database is busy: others have waited to write for too long",
                code="database_unavailable",
                hint="try again; see the server's log",
            ) from error
        try:
            yield
        finally:
            self._writing.release()

    async def ping(self) -> None:
        """Raise UnavailableError when the database cannot be read."""
        async with self.read() as connection:
            await connection.execute(sa.text("SELECT 1"))

    def hear(self) -> AsyncGenerator[Notice | None, None]:
        """What other servers on this database tell; None when something may have been missed. See ``Backend``."""
        return self._backend.hear()


@asynccontextmanager
async def open_database(place: Path | str) -> AsyncIterator[Database]:
    """Open the SQLite file, made when it is missing, or the PostgreSQL database of a URL; migrated when needed.

    Raises SettingsError ``newer_schema`` for a database of a newer program, ``foreign_database`` for another one's,
    UnavailableError when it cannot be used.
    """
    backend = SQLite(place) if isinstance(place, Path) else _postgres(place)
    readers, writer, quick_writer = backend.engines()
    try:
        with backend.translated():
            await migrate(writer, backend.elsewhere)
        yield Database(backend, readers, writer, quick_writer)
    finally:
        for engine in (readers, writer, quick_writer):
            await engine.dispose()


def _postgres(url: str) -> Backend:
    # Imported here: most installations have no PostgreSQL, and need not wait for its driver at each start.
    from workspace_server.db.postgres import PostgreSQL  # noqa: PLC0415

    return PostgreSQL(url)
