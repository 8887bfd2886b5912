import asyncio
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from structlog.typing import EventDict, WrappedLogger

from support.git_repository import Repository
from support.git_server import GitServer
from workspace_server.concurrency import Deadline, FileLock
from workspace_server.errors import DeadlineError
from workspace_server.git import CheckoutStore, GitAccess, Resolver
from workspace_server.runtimes import Template

from .conftest import fetch_failure
from .spy import spy_on_git

WAITING = "local-build: waiting for another checkout of this runtime"


class Heard:
    """A processor of log lines: ``waiting`` is set when somebody says that it waits for the lock."""

    def __init__(self) -> None:
        self.waiting = asyncio.Event()
        self.lines: list[EventDict] = []

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        self.lines.append(dict(event))
        if event["event"] == WAITING:
            self.waiting.set()
        raise structlog.DropEvent


@pytest.fixture
def heard() -> Iterator[Heard]:
    before = structlog.get_config()
    heard = Heard()
    structlog.configure(processors=[heard])
    yield heard
    structlog.configure(**before)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workspace_server.git.folders.NOTICE_SECONDS", 0)


@pytest.mark.usefixtures("impatient")
async def test_who_waits_for_the_lock_says_so(
    store: CheckoutStore, cache: Path, repository: Repository, template: Template, heard: Heard
) -> None:
    (cache / "hermes").mkdir(parents=True)
    async with FileLock(cache / "hermes" / "lock"):
        task = asyncio.create_task(store.checkout(template, repository.tip(), Deadline(60)))
        await heard.waiting.wait()
    await task
    assert heard.lines[0] == {"event": WAITING, "runtime": "hermes", "commit": repository.tip()[:12]}


@pytest.mark.usefixtures("impatient")
async def test_who_need_not_wait_says_nothing(
    store: CheckoutStore, repository: Repository, template: Template, heard: Heard
) -> None:
    await store.checkout(template, repository.tip(), Deadline(60))
    assert WAITING not in [line["event"] for line in heard.lines]


async def test_waiting_for_the_lock_ends_with_the_deadline(
    store: CheckoutStore, cache: Path, repository: Repository, template: Template
) -> None:
    (cache / "hermes").mkdir(parents=True)
    async with FileLock(cache / "hermes" / "lock"):
        with pytest.raises(DeadlineError) as caught:
            await store.checkout(template, repository.tip(), Deadline(0.1))
    assert caught.value.message == "waiting for another checkout of the runtime took longer than 0.1 s"


async def test_runtimes_do_not_wait_for_each_other(
    host: GitServer, store: CheckoutStore, cache: Path, repository: Repository, template: Template
) -> None:
    (cache / "codex").mkdir(parents=True)
    async with FileLock(cache / "codex" / "lock"):
        assert (await store.checkout(template, repository.tip(), Deadline(60))).commit == repository.tip()


async def test_a_git_that_outlives_its_server_keeps_the_lock(
    access: GitAccess, resolver: Resolver, repository: Repository, template: Template, tmp_path: Path
) -> None:
    own, spy = spy_on_git(access, tmp_path / "spy")
    cache = tmp_path / "cache"
    await CheckoutStore(cache=cache, access=own, resolver=resolver).checkout(template, repository.tip(), Deadline(60))
    lock = str(cache / "hermes" / "lock")
    assert [call.arguments[0] for call in spy.calls() if lock not in call.inherited] == []


async def test_a_cache_that_is_made_is_private(
    store: CheckoutStore, cache: Path, repository: Repository, template: Template
) -> None:
    await store.checkout(template, repository.tip(), Deadline(60))
    assert [stat.S_IMODE(path.stat().st_mode) for path in (cache, cache / "hermes")] == [0o700, 0o700]


async def test_a_cache_that_others_may_write_to_is_made_private(
    store: CheckoutStore, cache: Path, repository: Repository, template: Template
) -> None:
    (cache / "builds").mkdir(parents=True)
    (cache / "builds").parent.chmod(0o777)
    await store.checkout(template, repository.tip(), Deadline(60))
    assert stat.S_IMODE((cache / "builds").parent.stat().st_mode) == 0o700


async def test_a_place_that_others_fill_is_no_cache(
    store: CheckoutStore, cache: Path, repository: Repository, template: Template
) -> None:
    (cache / "of-others").mkdir(parents=True)
    (cache / "of-others").parent.chmod(0o777)
    error = await fetch_failure(store, template, repository.tip())
    assert error.message == (
        f"the build cache {cache} cannot be used: others may write to it, and it has other things in it ({cache})"
    )


async def test_the_operator_may_put_the_cache_elsewhere_with_a_link(
    store: CheckoutStore, cache: Path, repository: Repository, template: Template
) -> None:
    (cache.parent / "large disk").mkdir()
    (cache.parent / cache.name).symlink_to("large disk")
    await store.checkout(template, repository.tip(), Deadline(60))
    assert stat.S_IMODE((cache.parent / "large disk" / "hermes").stat().st_mode) == 0o700


async def test_a_runtimes_folder_that_others_may_read_is_made_private(
    store: CheckoutStore, cache: Path, repository: Repository, template: Template
) -> None:
    (cache / "hermes").mkdir(parents=True)
    (cache / "hermes").chmod(0o2775)
    await store.checkout(template, repository.tip(), Deadline(60))
    assert stat.S_IMODE((cache / "hermes").stat().st_mode) == 0o700
