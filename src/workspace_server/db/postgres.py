"""PostgreSQL: a database of several servers, which write one after the other and tell each other what they wrote."""

import asyncio
import re
import secrets
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import asyncpg
import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from workspace_server.db.backend import Notice, Topic
from workspace_server.errors import SettingsError, UnavailableError

log = structlog.get_logger(__name__)

WAIT_SECONDS = 5
_STATEMENT_SECONDS = 30
_AGAIN_SECONDS = 1.0
_SILENT_SECONDS = 15.0
_CHANNEL = "workspace_server"
# Of this program's writers among all that lock in the database; any number that is always the same.
_WRITE_LOCK = 0x6D6F6C6563756C65

_OUTAGES = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, sa.exc.DBAPIError, sa.exc.TimeoutError)
_OUR_MISTAKES = (sa.exc.IntegrityError, sa.exc.ProgrammingError, sa.exc.DataError)
_SHOWN = re.compile(r"://(?:[^/?#]*@)?([^?#]*)")

_SESSION = {
    "application_name": "workspace-server",
    # Whoever is stopped in the middle of a transaction, or is cut off, holds up the others so long at most.
    "idle_in_transaction_session_timeout": f"{_STATEMENT_SECONDS}s",
    "tcp_keepalives_idle": "15",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "lock_timeout": f"{WAIT_SECONDS}s",
}


class PostgreSQL:
    """The backend of a database that a URL names, as PostgreSQL's own programs understand it."""

    elsewhere = "name another database in DATABASE_URL"

    def __init__(self, url: str) -> None:
        self._url = url
        self._name = secrets.token_hex(8)  # by which this server knows its own notices

    @property
    def where(self) -> str:
        """Host, port and database."""
        match = _SHOWN.search(self._url)
        return f"PostgreSQL at {match[1]}" if match else "PostgreSQL"

    def engines(self) -> tuple[AsyncEngine, AsyncEngine, AsyncEngine]:
        """Of readers, of writers, and of writers whose newest changes may be lost with the machine's power."""
        readers = self._engine(pool_size=8, isolation_level="REPEATABLE READ")
        writer, quick_writer = self._engine(pool_size=1), self._engine(pool_size=1, synchronous_commit="off")
        for engine in (writer, quick_writer):
            sa.event.listen(engine.sync_engine, "begin", _lock_out_other_writers)
        return readers, writer, quick_writer

    def _engine(self, *, pool_size: int, isolation_level: Any = "READ COMMITTED", **session: str) -> AsyncEngine:
        return create_async_engine(
            "postgresql+asyncpg://",
            async_creator=lambda: self._connect(session),
            isolation_level=isolation_level,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=WAIT_SECONDS,
            pool_pre_ping=True,  # so that no request fails any more once the database is back
            hide_parameters=True,
        )

    async def _connect(self, session: Mapping[str, str]) -> Any:
        limits = {"timeout": WAIT_SECONDS, "command_timeout": _STATEMENT_SECONDS}
        try:
            return await asyncpg.connect(self._url, server_settings={**_SESSION, **session}, **limits)
        except ValueError as error:
            raise SettingsError(
                "DATABASE_URL cannot be understood",
                hint="for example DATABASE_URL=postgresql://user:password@db.example.org/molecule; a character that a"
                " URL cannot hold is written as % and its two hexadecimal digits",
            ) from error

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turn errors of the driver, of SQLAlchemy and of the connection into UnavailableError."""
        try:
            yield
        except _OUR_MISTAKES:
            raise
        except _OUTAGES as error:
            raise _unavailable(error) from error

    async def tell(self, connection: AsyncConnection, notices: Sequence[Notice]) -> None:
        """Let the other servers know, once the connection's transaction is committed."""
        statement = sa.text("SELECT pg_notify(:channel, :words)")
        if notices:
            words = [{"channel": _CHANNEL, "words": f"{self._name} {each.topic} {each.key}"} for each in notices]
            await connection.execute(statement, words)

    async def hear(self) -> AsyncGenerator[Notice | None, None]:
        """What the other servers tell, in the order of their commits; None whenever it begins anew."""
        while True:
            heard: asyncio.Queue[str | None] = asyncio.Queue()
            try:
                connection = await self._connect({})
                connection.add_termination_listener(lambda _, heard=heard: heard.put_nowait(None))
                await connection.add_listener(_CHANNEL, lambda *words, heard=heard: heard.put_nowait(words[-1]))
            except _OUTAGES:
                await asyncio.sleep(_AGAIN_SECONDS)
                continue
            try:
                yield None
                while (words := await self._next(connection, heard)) is not None:
                    name, topic, key = words.split(" ", 2)
                    if name != self._name:
                        yield Notice(Topic(topic), key)
            finally:
                connection.terminate()
            log.info("the connection to the other servers was lost; connecting again", database=self.where)

    async def _next(self, connection: Any, heard: "asyncio.Queue[str | None]") -> str | None:
        """What is heard next; None at the connection's end, of which a network may not tell by itself."""
        while True:
            try:
                async with asyncio.timeout(_SILENT_SECONDS):  # not wait_for: it may lose a cancel, until Python 3.12
                    return await heard.get()
            except TimeoutError:
                try:
                    await connection.execute("SELECT 1", timeout=WAIT_SECONDS)
                except _OUTAGES:
                    return None


def _unavailable(error: Exception) -> UnavailableError:
    message, hint = "the database cannot be used right now", "see the server's log and PostgreSQL's"
    match _first_cause(error):
        case asyncpg.InvalidAuthorizationSpecificationError():
            message, hint = "PostgreSQL refuses the user or the password", "correct DATABASE_URL"
        case asyncpg.InvalidCatalogNameError():
            message, hint = "the database that DATABASE_URL names does not exist", "make it, or correct DATABASE_URL"
        case OSError():
            message, hint = "the database cannot be reached", "is PostgreSQL running where DATABASE_URL says?"
    return UnavailableError(message, code="database_unavailable", hint=hint)


def _first_cause(error: BaseException) -> BaseException:
    """The driver's own error, below what SQLAlchemy makes of it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _lock_out_other_writers(connection: sa.Connection) -> None:
    """As SQLite's BEGIN IMMEDIATE: what a transaction reads stays true until its end, on both databases."""
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITE_LOCK})")
