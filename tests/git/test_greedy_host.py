"""A host, or a template, that wants all of the disk, the memory or the time of this machine."""

import shutil
import time
from pathlib import Path

import pytest

from support.git_objects import Entry
from support.git_repository import Repository
from support.git_server import GitServer
from workspace_server.concurrency import Deadline
from workspace_server.errors import TemplateError
from workspace_server.git import CheckoutStore, command
from workspace_server.runtimes import Template

from .conftest import fetch_failure, files_below, template_at

BOUNDED = pytest.mark.skipif(shutil.which("prlimit") is None, reason="nothing here bounds git: util-linux is missing")
SECONDS = 30
FOLDER = 0o40000
ROOM = "the template of runtime hermes cannot be used: git needs more room for it than it is given"


@pytest.fixture
def little_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "FILE_BYTES", 200_000)


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "MEMORY_BYTES", 50_000_000)


async def a_bomb(host: GitServer) -> Repository:
    """A repository of a dozen objects whose tree has 10^10 files."""
    repository = await host.create("o/bomb", {"Dockerfile": "FROM scratch\n"})
    store = repository._objects
    tree = store.tree({f"f{n}": store.entry("x") for n in range(10)})
    for _ in range(9):
        tree = store.tree({f"d{n}": Entry(FOLDER, tree) for n in range(10)})
    await repository.branch("main", store.commit(tree=tree, parents=(), message="bomb", second=1))
    return repository


async def test_a_tree_that_names_itself_without_end_is_given_up_at_once(host: GitServer, store: CheckoutStore) -> None:
    repository = await a_bomb(host)
    began = time.monotonic()
    error = await fetch_failure(store, template_at(repository.url), repository.tip())
    assert (type(error), error.code, time.monotonic() - began < SECONDS) == (TemplateError, "template_malformed", True)


@BOUNDED
@pytest.mark.usefixtures("little_room")
async def test_a_pack_that_is_larger_than_any_template_is_not_written(
    host: GitServer, store: CheckoutStore, cache: Path
) -> None:
    repository = await host.create("o/large", {"Dockerfile": "FROM scratch\n", "noise": noise(1_000_000)})
    error = await fetch_failure(store, template_at(repository.url), repository.tip())
    left = sum(path.stat().st_size for path in files_below(cache))
    assert ((error.code, error.message), left < 100_000) == (("template_malformed", ROOM), True)


@BOUNDED
@pytest.mark.usefixtures("little_memory")
async def test_an_object_that_fills_the_memory_is_refused(host: GitServer, store: CheckoutStore) -> None:
    repository = await host.create("o/large", {"Dockerfile": "FROM scratch\n", "zeros": bytes(60_000_000)})
    # Below the size from which git passes files on in pieces, and twice in memory.
    error = await fetch_failure(store, template_at(repository.url), repository.tip())
    assert (error.code, error.message) == ("template_malformed", ROOM)


@BOUNDED
async def test_a_template_within_the_limits_is_checked_out(
    store: CheckoutStore, repository: Repository, template: Template, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = await repository.commit({"noise": noise(150_000)})
    monkeypatch.setattr(command, "FILE_BYTES", 200_000)
    checkout = await store.checkout(template, commit, Deadline(60))
    assert (checkout.path / "noise").stat().st_size == 150_000


async def test_what_a_host_says_without_end_ends_the_fetch(
    host: GitServer, store: CheckoutStore, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that sends messages for people instead of a pack."""
    monkeypatch.setattr("workspace_server.process._OUTPUT_LIMIT", 50_000)
    line = b"\x02" + b"x" * 60_000 + b"\n"
    packet = b"%04x%s" % (len(line) + 4, line)
    body = b"000dpackfile\n" + packet * 20
    repository.faults.answer(200, body, "application/x-git-upload-pack-result", where="fetch")
    error = await fetch_failure(store, template_at(repository.url), repository.tip())
    assert error.code == "template_malformed"


def noise(size: int) -> bytes:
    """Bytes that nothing makes smaller, the same ones every time."""
    import random  # noqa: PLC0415

    return random.Random(1).randbytes(size)
