"""A server that is killed while it writes: what it said was written is there, and nothing is there by half."""

import asyncio
import contextlib
import signal
import sqlite3
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from workspace_server.db import WorkspaceStore, open_database
from workspace_server.model.workspace import WorkspaceStatus

from .conftest import spec

WRITER = """
import asyncio, os, sys
from pathlib import Path
from workspace_server.db import EventStore, WorkspaceStore, open_database
from workspace_server.model.event import Event, EventType
from workspace_server.model.workspace import WorkspaceSpec, WorkspaceStatus

async def write(database, name):
    store, events = WorkspaceStore(database), EventStore(database)
    spec = WorkspaceSpec(name=name * 100, runtime="langgraph", tier=2)
    async with database.write() as tx:
        await store.insert(tx, name, spec)
        await events.append(tx, Event(type=EventType.PROVISIONING, workspace_id=name, payload={"name": name * 100}))
        await store.move(tx, name, WorkspaceStatus.ONLINE)
        tx.on_commit(lambda: os.write(1, name.encode() + b"\\n"))

async def main():
    async with open_database(Path(sys.argv[1])) as database:
        for number in range(100_000):
            await asyncio.gather(*(write(database, f"{number}-{lane}") for lane in range(4)))

asyncio.run(main())
"""


DYING_INSIDE_A_CHANGE = """
import os, signal
from workspace_server.db import EventStore

async def die(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)

EventStore.append = die
"""

DYING_BEFORE_THE_SCHEMA_IS_COMMITTED = """
import os, signal
from workspace_server.db import migrate

create = migrate._create

def die(connection):
    create(connection)
    os.kill(os.getpid(), signal.SIGKILL)

migrate._create = die
"""


async def killed_by_itself(path: Path, when: str) -> None:
    writer = await asyncio.create_subprocess_exec(sys.executable, "-c", when + WRITER, str(path))
    assert await writer.wait() == -signal.SIGKILL


async def written_until_killed(path: Path, lines: int) -> set[str]:
    """Run the writer, kill it after so many answers, and return the ids of everything it said was written."""
    writer = await asyncio.create_subprocess_exec(sys.executable, "-c", WRITER, str(path), stdout=PIPE)
    assert writer.stdout is not None
    said = [await writer.stdout.readline() for _ in range(lines)]
    writer.kill()
    rest = await writer.stdout.read()
    assert await writer.wait() == -signal.SIGKILL
    return {line.decode() for line in b"".join([*said, rest]).splitlines()}


@pytest.mark.parametrize("lines", [1, 50, 111])
async def test_what_a_killed_server_said_was_written_is_there(path: Path, lines: int) -> None:
    said = await written_until_killed(path, lines)
    async with open_database(path) as database:
        present = {workspace.id for workspace in await WorkspaceStore(database).present()}

    assert said - present == set()


async def test_a_killed_server_leaves_no_change_by_half(path: Path) -> None:
    await written_until_killed(path, 60)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        workspaces = set(connection.execute("SELECT id, status FROM workspaces"))
        events = set(connection.execute("SELECT workspace_id, 'online' FROM structure_events"))

    assert workspaces == events


async def test_a_killed_server_leaves_a_sound_database(path: Path) -> None:
    await written_until_killed(path, 60)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        answers = [
            connection.execute(f"PRAGMA {check}").fetchall() for check in ("integrity_check", "foreign_key_check")
        ]

    assert answers == [[("ok",)], []]


async def test_the_next_server_goes_on_writing(path: Path) -> None:
    await written_until_killed(path, 10)
    async with open_database(path) as database:
        store = WorkspaceStore(database)
        async with database.write() as tx:
            await store.insert(tx, "after", spec())

        assert [each.id for each in await store.with_status(WorkspaceStatus.PROVISIONING)] == ["after"]


async def test_a_server_that_is_killed_inside_a_change_leaves_none_of_it(path: Path) -> None:
    await killed_by_itself(path, DYING_INSIDE_A_CHANGE)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        workspaces = connection.execute("SELECT id FROM workspaces").fetchall()

    assert workspaces == []


async def test_a_server_that_is_killed_while_it_makes_the_database_leaves_all_of_it_or_nothing(path: Path) -> None:
    await killed_by_itself(path, DYING_BEFORE_THE_SCHEMA_IS_COMMITTED)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master").fetchall()

    assert tables == []
