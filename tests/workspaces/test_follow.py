"""Following a provisioning: what is told, when, and at what cost."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import pytest

from images.making import identity, template
from workspace_server.db import Database, WorkspaceStore
from workspace_server.errors import TemplateError
from workspace_server.images import BuildBook, BuildRecord
from workspace_server.model.build import BuildPhase, BuildState, BuildStep, BuildWait
from workspace_server.model.workspace import Failure, ImageOnRow, Phase, WorkspaceSpec, WorkspaceStatus
from workspace_server.workspaces.follow import Progress, build_of, follow
from workspace_server.workspaces.progress import Phases

from .making import workspace as made

W = "w"
STEP = BuildStep(n=1, of=2, name="FROM scratch")
FAILURE = Failure(code="engine_unavailable", message="away", hint="start it")


@pytest.fixture
def book(tmp_path: Path) -> BuildBook:
    return BuildBook(tmp_path / "cache")


@pytest.fixture
def build(book: BuildBook) -> BuildRecord:
    return book.open(identity(template()), "no image")


@pytest.fixture
async def rows(database: Database, store: WorkspaceStore) -> WorkspaceStore:
    async with database.write() as tx:
        await store.insert(tx, W, WorkspaceSpec(name="Ada", runtime="hermes", tier=2))
    return store


Write = Callable[..., Awaitable[None]]


@pytest.fixture
def write(database: Database, rows: WorkspaceStore) -> Write:
    """Changes the row as a provisioning does."""

    async def changed(**changes: Any) -> None:
        async with database.write() as tx:
            assert await rows.progress(tx, W, 0, **changes)

    return changed


async def upcoming(news: AsyncGenerator[Progress, None]) -> Progress:
    async with asyncio.timeout(10):
        return await anext(news)


async def is_silent(news: "asyncio.Task[Progress]") -> bool:
    """Whether nothing comes although everything that can run did so."""
    await asyncio.sleep(0.05)  # the database works in threads of its own
    return not news.done()


def phases(*entered: Phase) -> dict[str, Any]:
    kept = Phases()
    for phase in entered:
        kept.enter(phase)
    return kept.as_json()


async def test_the_present_state_comes_at_once(rows: WorkspaceStore, book: BuildBook) -> None:
    async with aclosing(follow(rows, book, W)) as news:
        workspace, build = await upcoming(news)

    assert (workspace, build) == (await rows.get(W), None)


@pytest.mark.parametrize(
    "changes",
    [
        {"phases": {"image": {"state": "running", "started_at": "2026-01-01T00:00:00+00:00"}}},
        {"image": ImageOnRow(source="local-build", id="sha256:1")},
        {"failure": FAILURE},
    ],
    ids=["phase", "image", "error"],
)
async def test_a_change_of_the_row_is_told(
    rows: WorkspaceStore, book: BuildBook, write: Write, changes: dict[str, Any]
) -> None:
    async with aclosing(follow(rows, book, W)) as news:
        await upcoming(news)
        await write(**changes)
        workspace, _ = await upcoming(news)

    assert workspace == await rows.get(W)


async def test_what_nobody_sees_is_not_told(rows: WorkspaceStore, book: BuildBook, write: Write) -> None:
    async with aclosing(follow(rows, book, W)) as news:
        await upcoming(news)
        upcoming_one = asyncio.create_task(upcoming(news))
        await write(uptime_seconds=5)

        assert await is_silent(upcoming_one)
        await write(failure=FAILURE)
        assert (await upcoming_one)[0].failure == FAILURE


async def test_the_build_that_is_waited_for_is_told_of(
    rows: WorkspaceStore, book: BuildBook, build: BuildRecord, write: Write
) -> None:
    async with aclosing(follow(rows, book, W)) as news:
        await upcoming(news)
        await write(image=ImageOnRow(source="local-build", build=build.id))

        assert (await upcoming(news))[1] == book.get(build.id)


CHANGES: dict[str, Callable[[BuildBook, str], object]] = {
    "state and phase": lambda book, build: book.update(build, state=BuildState.RUNNING, phase=BuildPhase.FETCH),
    "a wait": lambda book, build: book.note_wait(build, BuildWait.PLACE),
    "a step": lambda book, build: book.note_step(build, STEP),
    "its end": lambda book, build: book.close(build, BuildState.SUCCEEDED),
    "its failure": lambda book, build: book.close(build, BuildState.FAILED, error=TemplateError("it", code="failed")),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
async def test_a_change_of_the_build_is_told(
    rows: WorkspaceStore,
    book: BuildBook,
    build: BuildRecord,
    write: Write,
    change: Callable[[BuildBook, str], object],
) -> None:
    await write(image=ImageOnRow(source="local-build", build=build.id))
    async with aclosing(follow(rows, book, W)) as news:
        await upcoming(news)
        change(book, build.id)

        assert (await upcoming(news))[1] == book.get(build.id)


async def test_who_else_waits_for_the_build_and_what_it_writes_is_not_told(
    rows: WorkspaceStore, book: BuildBook, build: BuildRecord, write: Write
) -> None:
    await write(image=ImageOnRow(source="local-build", build=build.id))
    async with aclosing(follow(rows, book, W)) as news:
        await upcoming(news)
        upcoming_one = asyncio.create_task(upcoming(news))
        book.count_waiter(build.id, +1)
        with book.open_log(build.id) as log:
            log.write(b"a line\n")

        assert await is_silent(upcoming_one)
        book.note_step(build.id, STEP)
        await upcoming_one


async def test_a_build_is_told_of_without_asking_the_database(
    rows: WorkspaceStore, book: BuildBook, build: BuildRecord, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write(image=ImageOnRow(source="local-build", build=build.id))
    asked = 0

    async def get(workspace_id: str) -> object:
        nonlocal asked
        asked += 1
        return await WorkspaceStore.get(rows, workspace_id)

    monkeypatch.setattr(rows, "get", get)
    followers = [follow(rows, book, W) for _ in range(20)]
    for each in followers:
        await upcoming(each)
    for n in range(1, 11):
        book.note_step(build.id, BuildStep(n=n, of=10, name="RUN"))
        await asyncio.gather(*(upcoming(each) for each in followers))
    for each in followers:
        await each.aclose()

    assert asked == len(followers)


@pytest.mark.parametrize("status", [WorkspaceStatus.ONLINE, WorkspaceStatus.FAILED, WorkspaceStatus.REMOVED])
async def test_it_ends_with_the_status_that_ends_the_provisioning(
    rows: WorkspaceStore, database: Database, book: BuildBook, status: WorkspaceStatus
) -> None:
    news = follow(rows, book, W)
    await upcoming(news)
    async with database.write() as tx:
        assert await rows.move(tx, W, status)

    assert [workspace.status async for workspace, _ in news] == [status]


async def test_a_removal_ends_it(rows: WorkspaceStore, database: Database, book: BuildBook) -> None:
    news = follow(rows, book, W)
    await upcoming(news)
    async with database.write() as tx:
        await rows.remove(tx, W, purge=False)

    assert [workspace.status async for workspace, _ in news] == [WorkspaceStatus.REMOVED]


async def test_a_workspace_that_is_forgotten_ends_it(rows: WorkspaceStore, database: Database, book: BuildBook) -> None:
    news = follow(rows, book, W)
    await upcoming(news)
    async with database.write() as tx:
        await rows.remove(tx, W, purge=True)
        await rows.mark_cleared(tx, W)

    assert [each async for each in news] == []


async def test_a_workspace_that_is_not_provisioned_is_told_of_once(
    rows: WorkspaceStore, database: Database, book: BuildBook
) -> None:
    async with database.write() as tx:
        assert await rows.move(tx, W, WorkspaceStatus.FAILED)

    assert [workspace.status async for workspace, _ in follow(rows, book, W)] == [WorkspaceStatus.FAILED]


async def test_a_change_that_is_rolled_back_is_not_told(
    rows: WorkspaceStore, database: Database, book: BuildBook, write: Write
) -> None:
    async with aclosing(follow(rows, book, W)) as news:
        await upcoming(news)
        upcoming_one = asyncio.create_task(upcoming(news))
        with suppress(ZeroDivisionError):
            async with database.write() as tx:
                await rows.progress(tx, W, 0, failure=FAILURE)
                raise ZeroDivisionError

        assert await is_silent(upcoming_one)
        await write(phases=phases(Phase.IMAGE))
        assert (await upcoming_one)[0].failure is None


async def test_a_follower_that_stops_listens_no_more(
    rows: WorkspaceStore, book: BuildBook, build: BuildRecord, write: Write
) -> None:
    await write(image=ImageOnRow(source="local-build", build=build.id))
    news = follow(rows, book, W)
    await upcoming(news)
    waiting = asyncio.create_task(upcoming(news))
    await asyncio.sleep(0)
    before = len(rows.changes._bells), len(book.changes._bells)
    waiting.cancel()
    await asyncio.wait([waiting])
    await news.aclose()

    assert (before, rows.changes._bells, book.changes._bells) == ((1, 1), {}, {})


async def test_a_build_whose_record_is_gone_is_none(book: BuildBook) -> None:
    gone = made(image=ImageOnRow(source="local-build", build="01ARZ3NDEKTSV4RRFFQ69G5FAV"))

    assert build_of(gone, book) is None
