"""Jobs that are done once at a time, and what their records say at the end, whatever the end."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from workspace_server.concurrency import TaskScope
from workspace_server.errors import ConflictError, TemplateError, WorkspaceServerError
from workspace_server.images import BuildBook
from workspace_server.images.once import Job, OnceAtATime, Running
from workspace_server.model.build import BuildState

from .making import identity, template


class Site:
    """The jobs, of which one waits until it is let go."""

    def __init__(self, book: BuildBook, scope: TaskScope) -> None:
        self.book = book
        self.jobs: OnceAtATime[str] = OnceAtATime("build", book, scope)
        self.go: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.record = book.open(identity(template()), "no image").id

    def start(self) -> Running[str]:
        return self.jobs.start(Job(build_id=self.build_id, record_id=self.record, work=self._work, cancelled=cancelled))

    @property
    def build_id(self) -> str:
        return identity(template()).build_id

    async def _work(self) -> tuple[str, BuildState]:
        await self.go
        return "an image", BuildState.SUCCEEDED

    def end(self) -> tuple[BuildState, str | None]:
        record = self.book.get(self.record)
        return record.state, record.error["code"] if record.error else None


def cancelled(who: str) -> WorkspaceServerError:
    return WorkspaceServerError(f"{who} cancelled it", code="build_cancelled")


async def noted(_record_id: str) -> None:
    pass


@pytest.fixture
async def site(cache: Path) -> AsyncIterator[Site]:
    async with TaskScope() as scope:
        yield Site(BuildBook(cache), scope)


async def test_a_job_that_ends_well_is_recorded_as_it_says_and_under_way_no_more(site: Site) -> None:
    running = site.start()
    assert site.jobs.under_way(site.build_id) is running
    site.go.set_result(None)

    assert await site.jobs.wait(running, noted) == "an image"
    assert (site.jobs.under_way(site.build_id), site.end()) == (None, (BuildState.SUCCEEDED, None))


async def test_a_job_that_fails_is_recorded_in_its_words(site: Site) -> None:
    running = site.start()
    site.go.set_exception(TemplateError("no", code="build_failed"))

    with pytest.raises(TemplateError):
        await site.jobs.wait(running, noted)
    assert site.end() == (BuildState.FAILED, "build_failed")


async def test_a_job_that_fails_without_words_is_recorded_as_interrupted(site: Site) -> None:
    running = site.start()
    site.go.set_exception(LookupError("of this program"))

    with pytest.raises(LookupError):
        await site.jobs.wait(running, noted)
    assert site.end() == (BuildState.CANCELLED, "build_interrupted")


async def test_who_cancels_a_job_is_named_to_whoever_waits(site: Site) -> None:
    running = site.start()
    waiter = asyncio.ensure_future(site.jobs.wait(running, noted))
    await asyncio.sleep(0)
    await site.jobs.cancel(site.record, "ada")

    with pytest.raises(WorkspaceServerError, match="ada cancelled it"):
        await waiter
    assert site.end() == (BuildState.CANCELLED, "build_cancelled")


async def test_a_job_that_has_ended_cannot_be_cancelled(site: Site) -> None:
    running = site.start()
    site.go.set_result(None)
    await site.jobs.wait(running, noted)

    with pytest.raises(ConflictError, match="is not under way in this server"):
        await site.jobs.cancel(site.record, "ada")
