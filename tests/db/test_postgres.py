"""What PostgreSQL alone can promise, or fail: several servers, a connection that breaks, a database of others."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy.ext.asyncio import create_async_engine

from support.ports import free_port
from support.postgres import Postgres, postgres
from support.server import eventually
from workspace_server.db import Database, EventStore, WorkspaceStore, open_database
from workspace_server.db.backend import Notice, Topic
from workspace_server.db.migrate import MIGRATIONS
from workspace_server.db.postgres import PostgreSQL
from workspace_server.db.schema import REVISION, metadata
from workspace_server.errors import SettingsError, UnavailableError
from workspace_server.model.event import Event, EventType

from .conftest import spec
from .test_database import names

OTHERS_TABLES = ("CREATE TABLE schema_migrations (filename TEXT)", "CREATE TABLE workspaces (id UUID PRIMARY KEY)")


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[sa.ext.asyncio.AsyncConnection]:
    """Past the product's own code."""
    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://"))
    try:
        async with engine.begin() as connection:
            yield connection
    finally:
        await engine.dispose()


async def run(url: str, *statements: str) -> list[object]:
    async with connected(url) as connection:
        results = [await connection.execute(sa.text(statement)) for statement in statements]
        return [tuple(row) for row in results[-1]] if results[-1].returns_rows else []


async def tables(url: str) -> set[str]:
    async with connected(url) as connection:
        return set(await connection.run_sync(lambda sync: sa.inspect(sync).get_table_names()))


async def insert(database: Database, name: str = "w") -> None:
    async with database.write() as tx:
        await WorkspaceStore(database).insert(tx, name, spec())


# Which tables there are


async def test_the_migrations_leave_exactly_the_tables_of_the_schema(postgres_url: str) -> None:
    def step_by_step(connection: sa.Connection) -> list[object]:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        return differences(connection)

    async with connected(postgres_url) as connection:
        assert await connection.run_sync(step_by_step) == []


async def test_a_new_database_has_exactly_the_tables_of_the_schema(postgres_url: str) -> None:
    async with open_database(postgres_url):
        pass
    async with connected(postgres_url) as connection:
        assert await connection.run_sync(differences) == []


def differences(connection: sa.Connection) -> list[object]:
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return list(compare_metadata(context, metadata))


async def test_two_servers_that_start_at_once_make_one_database(postgres_url: str) -> None:
    async def start() -> None:
        async with open_database(postgres_url):
            pass

    await asyncio.gather(start(), start(), start())

    assert await run(postgres_url, "SELECT version_num FROM alembic_version") == [(REVISION,)]


async def test_a_newer_schema_is_refused_with_what_to_do(postgres_url: str) -> None:
    async with open_database(postgres_url):
        pass
    await run(postgres_url, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SettingsError) as caught:
        async with open_database(postgres_url):
            pass

    assert caught.value.as_dict() == {
        "error": "the database has schema 9999, which this version does not know",
        "code": "newer_schema",
        "hint": "run the newer version that made it, or name another database in DATABASE_URL",
    }


async def test_the_database_of_the_server_this_one_replaces_is_refused_with_the_choices(postgres_url: str) -> None:
    await run(postgres_url, *OTHERS_TABLES)
    with pytest.raises(SettingsError) as caught:
        async with open_database(postgres_url):
            pass

    assert caught.value.as_dict() == {
        "error": "the database is another server's: it has the table schema_migrations; nothing in it was changed",
        "code": "foreign_database",
        "hint": "name another database in DATABASE_URL, an empty one, and create the workspaces anew;"
        " or go on with the server that made it",
    }


async def test_the_database_of_the_server_this_one_replaces_is_left_untouched(postgres_url: str) -> None:
    await run(postgres_url, *OTHERS_TABLES)
    with pytest.raises(SettingsError):
        async with open_database(postgres_url):
            pass

    assert await tables(postgres_url) == {"schema_migrations", "workspaces"}


# How it is reached


async def test_the_short_scheme_is_understood(postgres_url: str) -> None:
    async with open_database(postgres_url.replace("postgresql://", "postgres://")) as database:
        await database.ping()


async def test_the_database_is_shown_without_user_and_password(cluster: Postgres, postgres_url: str) -> None:
    async with open_database(f"{postgres_url}?application_name=hush") as database:
        assert database.where == f"PostgreSQL at 127.0.0.1:{cluster.port}/{postgres_url.rpartition('/')[2]}"


async def refused(url: str) -> tuple[str, str]:
    with pytest.raises(UnavailableError) as caught:
        async with open_database(url):
            pass
    assert caught.value.code == "database_unavailable"
    return caught.value.message, caught.value.hint


async def test_a_wrong_password_is_named_as_such(cluster: Postgres) -> None:
    url = f"postgresql://owner:wrong@127.0.0.1:{cluster.port}/postgres"

    assert await refused(url) == ("PostgreSQL refuses the user or the password", "correct DATABASE_URL")


async def test_a_database_that_does_not_exist_is_named_as_such(cluster: Postgres) -> None:
    assert (await refused(cluster.url("nobody")))[0] == "the database that DATABASE_URL names does not exist"


async def test_a_server_that_does_not_listen_is_named_as_such() -> None:
    message = (await refused(f"postgresql://127.0.0.1:{free_port()}/x"))[0]

    assert message == "the database cannot be reached"


async def test_a_url_that_makes_no_sense_is_named_as_such() -> None:
    with pytest.raises(SettingsError) as caught:
        async with open_database("postgresql://u:hush@h:port/x"):
            pass

    assert (caught.value.message, "hush" in str(caught.value)) == ("DATABASE_URL cannot be understood", False)


def test_the_driver_is_not_loaded_where_there_is_no_postgresql() -> None:
    program = "import sys, workspace_server.server; print([name for name in sys.modules if 'asyncpg' in name])"
    found = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)

    assert found.stdout == "[]\n"


# When it fails


async def test_a_database_that_others_keep_locked_is_unavailable(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_database(postgres_url) as holder:
        monkeypatch.setitem(sys.modules["workspace_server.db.postgres"]._SESSION, "lock_timeout", "50ms")
        async with open_database(postgres_url) as impatient:
            async with holder.write():
                with pytest.raises(UnavailableError) as caught:
                    await insert(impatient)
            await insert(impatient)

            assert (caught.value.code, await names(holder)) == ("database_unavailable", ["a"])


async def test_a_mistake_in_our_sql_is_no_outage(postgres_url: str) -> None:
    async with open_database(postgres_url) as database:
        with pytest.raises(sa.exc.ProgrammingError):
            async with database.read() as connection:
                await connection.execute(sa.text("SELECT nothing FROM nowhere"))


async def test_a_nul_in_a_text_is_no_outage(postgres_url: str) -> None:
    async with open_database(postgres_url) as database:
        async with database.write() as tx:
            await WorkspaceStore(database).insert(tx, "w", spec(name="a\0b"))

        assert (await names(database), await WorkspaceStore(database).get("\0")) == (
            ["a\N{REPLACEMENT CHARACTER}b"],
            None,
        )


@contextmanager
def stopped(cluster: Postgres) -> Iterator[None]:
    cluster.stop()
    yield
    cluster.start()


@pytest.mark.slow
async def test_what_was_acknowledged_outlasts_the_database_and_requests_go_on_when_it_is_back() -> None:
    with postgres() as alone:
        async with alone.database() as name, open_database(alone.url(name)) as database:
            await insert(database, "before")
            with stopped(alone):
                with pytest.raises(UnavailableError):
                    await insert(database, "while it is away")
                with pytest.raises(UnavailableError):
                    await database.ping()
            await insert(database, "after")
            with stopped(alone):
                pass  # nobody noticed: the connections look alive
            await insert(database, "later")

            assert {row.id for row in await WorkspaceStore(database).present()} == {"before", "after", "later"}


# What servers tell each other


@asynccontextmanager
async def hearing(database: Database) -> AsyncIterator["asyncio.Queue[Notice | None]"]:
    """What the others tell from now on."""
    heard: asyncio.Queue[Notice | None] = asyncio.Queue()

    async def listen() -> None:
        async with aclosing(database.hear()) as notices:
            async for notice in notices:
                heard.put_nowait(notice)

    task = asyncio.create_task(listen())
    assert await asyncio.wait_for(heard.get(), 10) is None
    yield heard
    task.cancel()
    await asyncio.wait([task])


async def test_another_server_hears_of_what_was_written_in_order(postgres_url: str) -> None:
    async with open_database(postgres_url) as one, open_database(postgres_url) as other, hearing(other) as heard:
        event = Event(type=EventType.ONLINE, workspace_id="w", payload={})
        await insert(one)
        async with one.write() as tx:
            await WorkspaceStore(one).touch(tx, "w", url="x")
            await EventStore(one).append(tx, event)

        expected = [Notice(Topic.WORKSPACE, "w"), Notice(Topic.EVENT, event.id)]
        assert [await asyncio.wait_for(heard.get(), 10) for _ in expected] == expected


async def test_a_server_does_not_hear_itself_nor_what_was_undone(postgres_url: str) -> None:
    async def undone(database: Database) -> None:
        async with database.write() as tx:
            await WorkspaceStore(database).touch(tx, "w", url="undone")
            raise ValueError("no")

    async with open_database(postgres_url) as one, open_database(postgres_url) as other, hearing(other) as heard:
        await insert(other)
        with pytest.raises(ValueError, match="no"):
            await undone(one)
        async with other.write() as tx:
            await WorkspaceStore(other).touch(tx, "w", url="own")
        async with one.write() as tx:
            tx.tell(Notice(Topic.WORKSPACE, "last"))

        assert (await asyncio.wait_for(heard.get(), 10), heard.qsize()) == (Notice(Topic.WORKSPACE, "last"), 0)


async def test_a_server_whose_connection_broke_is_told_that_it_may_have_missed_something(postgres_url: str) -> None:
    async with open_database(postgres_url) as one, open_database(postgres_url) as other, hearing(other) as heard:
        listening = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
        await eventually(lambda: run(postgres_url, listening), "the listening connection is ended")

        assert await asyncio.wait_for(heard.get(), 10) is None
        async with one.write() as tx:
            tx.tell(Notice(Topic.WORKSPACE, "w"))
        assert await asyncio.wait_for(heard.get(), 10) == Notice(Topic.WORKSPACE, "w")


async def test_whoever_listens_can_be_ended_in_the_moment_in_which_something_is_heard() -> None:
    heard: asyncio.Queue[str | None] = asyncio.Queue()
    listening = asyncio.ensure_future(PostgreSQL("postgresql://u@db/x")._next(None, heard))
    for _ in range(5):  # until it waits
        await asyncio.sleep(0)
    heard.put_nowait("a server tells")
    listening.cancel()

    with pytest.raises(asyncio.CancelledError):
        await listening
