import asyncio
import os
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from structlog.typing import EventDict

from support.git_objects import FileMap, executable, submodule, symlink
from support.git_repository import Repository
from support.git_server import GitServer, git_server
from workspace_server.concurrency import Deadline, TaskScope
from workspace_server.errors import (
    DeadlineError,
    SourceError,
    TemplateError,
    UnavailableError,
    WorkspaceServerError,
)
from workspace_server.git import Checkout, CheckoutStore, CommitMovedError, GitAccess, Resolver
from workspace_server.runtimes import Template

from .conftest import FILES, events, template_at
from .spy import failing_git, spy_on_git

NOT_OUR_REF = b"0033ERR upload-pack: not our ref, whatever you want"


@pytest.fixture
def store_for(http: httpx.AsyncClient, scope: TaskScope, cache: Path) -> Callable[[GitAccess], CheckoutStore]:
    """Makes a store like ``store`` whose git has another environment."""

    def make(access: GitAccess) -> CheckoutStore:
        return CheckoutStore(cache=cache, access=access, resolver=Resolver(http=http, access=access, scope=scope))

    return make


@pytest.fixture
def umask() -> Iterator[Callable[[int], object]]:
    """Sets this process's umask until the end of the test."""
    before = os.umask(0o022)
    os.umask(before)
    yield os.umask
    os.umask(before)


@pytest.fixture
async def elsewhere(tmp_path: Path) -> AsyncIterator[GitServer]:
    """Another origin."""
    async with git_server(tmp_path / "elsewhere") as server:
        yield server


async def failure_of(store: CheckoutStore, template: Template, commit: str) -> WorkspaceServerError:
    with pytest.raises(WorkspaceServerError) as caught:
        await store.checkout(template, commit, Deadline(60))
    return caught.value


def files_below(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def contents(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): path.read_text() for path in files_below(root)}


def modes(root: Path) -> dict[str, int]:
    return {str(path.relative_to(root)): stat.S_IMODE(path.lstat().st_mode) for path in root.rglob("*")}


# What a checkout is


async def test_a_checkout_has_the_files_of_the_commit_and_no_git(
    store: CheckoutStore, repository: Repository, template: Template
) -> None:
    checkout = await store.checkout(template, repository.tip(), Deadline(60))
    assert contents(checkout.path) == FILES


async def test_a_checkout_lies_below_runtime_and_commit(
    store: CheckoutStore, cache: Path, repository: Repository, template: Template
) -> None:
    commit = repository.tip()
    checkout = await store.checkout(template, commit, Deadline(60))
    assert checkout == Checkout(path=cache / "hermes" / commit / "tree", commit=commit)
    assert sorted(path.name for path in (cache / "hermes" / commit).iterdir()) == ["ready", "tree"]


async def test_the_cache_has_nothing_else(
    store: CheckoutStore, cache: Path, repository: Repository, template: Template
) -> None:
    await store.checkout(template, repository.tip(), Deadline(60))
    names = {path.name for path in (cache / "hermes").iterdir()}
    assert names == {repository.tip(), f"git-{template.url.digest}", "lock"}


@pytest.mark.parametrize("ours", [0o000, 0o077])
async def test_files_have_gits_modes_whatever_the_servers_umask(
    host: GitServer, store: CheckoutStore, umask: Callable[[int], object], ours: int
) -> None:
    files: FileMap = {"plain": "x", "bin/run": executable("x"), "module": submodule("1" * 40)}
    repository = await host.create("o/modes", files)
    umask(ours)
    checkout = await store.checkout(template_at(repository.url), repository.tip(), Deadline(60))
    assert modes(checkout.path) == {"plain": 0o644, "bin": 0o755, "bin/run": 0o755, "module": 0o755}


async def test_nobody_else_may_look_into_the_cache(
    store: CheckoutStore, cache: Path, repository: Repository, template: Template, umask: Callable[[int], object]
) -> None:
    umask(0)
    checkout = await store.checkout(template, repository.tip(), Deadline(60))
    ours = {name: mode for name, mode in modes(cache).items() if not (cache / name).is_relative_to(checkout.path)}
    assert {name: oct(mode) for name, mode in ours.items() if mode & 0o077} == {}


async def test_a_link_stays_a_link(host: GitServer, store: CheckoutStore) -> None:
    repository = await host.create("o/links", {"Dockerfile": symlink("../../../etc/passwd")})
    checkout = await store.checkout(template_at(repository.url), repository.tip(), Deadline(60))
    assert (checkout.path / "Dockerfile").readlink() == Path("../../../etc/passwd")


async def test_a_submodule_is_an_empty_folder(host: GitServer, store: CheckoutStore) -> None:
    repository = await host.create("o/sub", {"x": "x", "module": submodule("1" * 40), ".gitmodules": "[submodule]\n"})
    checkout = await store.checkout(template_at(repository.url), repository.tip(), Deadline(60))
    assert list((checkout.path / "module").iterdir()) == []


@pytest.mark.parametrize(
    "attributes",
    [
        "* text eol=crlf",
        "* ident",
        "* filter=lfs diff=lfs merge=lfs -text",
        "* export-ignore",
        "* export-subst",
        "* text working-tree-encoding=UTF-16",
    ],
)
async def test_no_attribute_changes_a_file(host: GitServer, store: CheckoutStore, attributes: str) -> None:
    files = {
        ".gitattributes": attributes + "\n",
        "file": "version https://git-lfs.github.com/spec/v1\n$Id$ $Format:%H$\n",
    }
    repository = await host.create("o/attributes", files)
    checkout = await store.checkout(template_at(repository.url), repository.tip(), Deadline(60))
    assert contents(checkout.path) == files


async def test_a_name_may_be_any_bytes(host: GitServer, store: CheckoutStore) -> None:
    files: FileMap = {"new\nline": "1", 'quote"': "2", "tab\t": "3", "\udcff": "4", " ": "5", "-rf": "6"}
    repository = await host.create("o/names", files)
    checkout = await store.checkout(template_at(repository.url), repository.tip(), Deadline(60))
    assert contents(checkout.path) == files


async def test_an_empty_commit_is_an_empty_folder(host: GitServer, store: CheckoutStore) -> None:
    repository = await host.create("o/nothing", {})
    checkout = await store.checkout(template_at(repository.url), repository.tip(), Deadline(60))
    assert list(checkout.path.iterdir()) == []


async def test_a_sha256_repository_is_checked_out(host: GitServer, store: CheckoutStore) -> None:
    repository = await host.create("o/long", FILES, object_format="sha256")
    checkout = await store.checkout(template_at(repository.url), repository.tip(), Deadline(60))
    assert contents(checkout.path) == FILES


async def test_a_repository_made_anew_with_long_commits_is_checked_out(
    host: GitServer, store: CheckoutStore, repository: Repository, template: Template
) -> None:
    await store.checkout(template, repository.tip(), Deadline(60))
    new = await host.create("o/long", FILES, object_format="sha256")
    repository.faults.redirect(new.url)
    await store._resolver.look_up(template, Deadline(60))
    checkout = await store.checkout(template, new.tip(), Deadline(60))
    assert contents(checkout.path) == FILES


async def test_a_folder_is_a_source(host: GitServer, store: CheckoutStore, repository: Repository) -> None:
    template = template_at(f"file://{repository.directory}")
    checkout = await store.checkout(template, repository.tip(), Deadline(60))
    assert (contents(checkout.path), host.requests) == (FILES, [])


async def test_a_folder_of_another_user_is_a_source(store: CheckoutStore, repository: Repository) -> None:
    if os.geteuid() == 0:  # nobody else can give files away
        for path in [repository.directory, *repository.directory.rglob("*")]:
            os.chown(path, 1000, 1000)
    template = template_at(f"file://{repository.directory}")
    assert contents((await store.checkout(template, repository.tip(), Deadline(60))).path) == FILES


# What it costs


async def test_a_commit_is_fetched_with_one_pack(
    host: GitServer, store: CheckoutStore, repository: Repository, template: Template
) -> None:
    await store.checkout(template, repository.tip(), Deadline(60))
    assert len(host.pack_requests()) == len(host.packs_sent()) == 1


async def test_a_second_checkout_asks_nobody(
    host: GitServer, store: CheckoutStore, repository: Repository, template: Template
) -> None:
    first = await store.checkout(template, repository.tip(), Deadline(60))
    host.requests.clear()
    assert (await store.checkout(template, repository.tip(), Deadline(60)), host.requests) == (first, [])


async def test_the_next_commit_is_fetched_as_a_difference(
    host: GitServer, store: CheckoutStore, repository: Repository, template: Template
) -> None:
    old = repository.tip()
    await store.checkout(template, old, Deadline(60))
    new = await repository.commit({"x": "x"})
    await store.checkout(template, new, Deadline(60))
    assert f"have {old}".encode() in host.pack_requests()[-1].body


async def test_no_history_is_fetched(
    store: CheckoutStore, cache: Path, repository: Repository, template: Template
) -> None:
    old = repository.tip()
    new = await repository.commit({"x": "x"})
    await store.checkout(template, new, Deadline(60))
    objects = cache / "hermes" / f"git-{template.url.digest}" / "objects"
    assert not (objects / old[:2] / old[2:]).exists()


async def test_ten_checkouts_at_once_are_one_pack(
    host: GitServer, store: CheckoutStore, repository: Repository, template: Template
) -> None:
    commit = repository.tip()
    await asyncio.gather(*(store.checkout(template, commit, Deadline(60)) for _ in range(10)))
    assert len(host.packs_sent()) == 1


async def test_two_servers_on_one_cache_make_one_pack_request(
    host: GitServer,
    store_for: Callable[[GitAccess], CheckoutStore],
    access: GitAccess,
    repository: Repository,
    template: Template,
) -> None:
    stores = [store_for(access), store_for(access)]
    commit = repository.tip()
    first, second = await asyncio.gather(*(store.checkout(template, commit, Deadline(60)) for store in stores))
    assert (first, len(host.packs_sent())) == (second, 1)


# Which commit


async def test_the_very_commit_is_fetched_though_the_branch_moved(
    store: CheckoutStore, repository: Repository, template: Template
) -> None:
    old = repository.tip()
    await repository.commit({"Dockerfile": "FROM other\n"})
    checkout = await store.checkout(template, old, Deadline(60))
    assert (checkout.path / "Dockerfile").read_text() == FILES["Dockerfile"]


async def test_head_that_moves_between_look_up_and_fetch_changes_nothing(
    store: CheckoutStore, resolver: Resolver, repository: Repository, template: Template
) -> None:
    repository.faults.move_head_after(1, lambda: repository.commit({"Dockerfile": "FROM other\n"}))
    commit = await resolver.resolve(template, Deadline(60))
    checkout = await store.checkout(template, commit, Deadline(60))
    assert contents(checkout.path) == FILES


async def test_a_host_of_protocol_v0_gives_the_tip(
    host: GitServer, store: CheckoutStore, repository: Repository, template: Template
) -> None:
    host.faults.refuse_unadvertised()
    checkout = await store.checkout(template, repository.tip(), Deadline(60))
    assert contents(checkout.path) == FILES


async def test_a_commit_that_is_refused_and_no_longer_the_tip_has_moved(
    host: GitServer, store: CheckoutStore, repository: Repository, template: Template
) -> None:
    host.faults.refuse_unadvertised()
    old = repository.tip()
    new = await repository.commit({"x": "x"})
    with pytest.raises(CommitMovedError) as caught:
        await store.checkout(template, old, Deadline(60))
    assert caught.value.commit == new


async def test_a_ref_that_moves_during_the_fetch_of_it_has_moved(
    host: GitServer, store: CheckoutStore, repository: Repository, template: Template
) -> None:
    host.faults.answer(200, NOT_OUR_REF, "application/x-git-upload-pack-result", where="fetch", times=1)
    old = repository.tip()
    moved = []

    async def move() -> None:
        moved.append(await repository.commit({"x": "x"}))

    repository.faults.move_head_after(1, move)
    with pytest.raises(CommitMovedError) as caught:
        await store.checkout(template, old, Deadline(60))
    assert [caught.value.commit] == moved


@pytest.mark.parametrize("ref", [None, "main", "v1"])
async def test_a_host_that_gives_refs_only_is_asked_for_the_ref(
    host: GitServer, store: CheckoutStore, repository: Repository, ref: str | None
) -> None:
    await repository.tag("v1", annotated=True)
    host.faults.answer(200, NOT_OUR_REF, "application/x-git-upload-pack-result", where="fetch", times=1)
    checkout = await store.checkout(template_at(repository.url, ref=ref), repository.tip(), Deadline(60))
    assert contents(checkout.path) == FILES


async def test_a_pinned_commit_needs_no_look_up(host: GitServer, store: CheckoutStore, repository: Repository) -> None:
    old = repository.tip()
    await repository.commit({"x": "x"})
    await store.checkout(template_at(repository.url, ref=old), old, Deadline(60))
    assert host.ref_requests() == []


async def test_a_pinned_commit_that_is_not_there_is_missing(store: CheckoutStore, repository: Repository) -> None:
    missing = "0123456789" * 4
    error = await failure_of(store, template_at(repository.url, ref=missing), missing)
    assert (error.code, error.message) == (
        "template_ref_missing",
        f"the ref {missing} was not found in the template repository {repository.url} of runtime hermes",
    )


async def test_the_fetch_goes_where_the_redirects_of_the_look_up_ended(
    host: GitServer, store: CheckoutStore, resolver: Resolver, repository: Repository
) -> None:
    host.faults_at("o/old").redirect(repository.url)
    template = template_at(host.url + "o/old")
    commit = await resolver.resolve(template, Deadline(60))
    await store.checkout(template, commit, Deadline(60))
    assert host.count(repository="o/old") == 1


async def test_the_fetch_of_a_pinned_commit_finds_redirects(
    host: GitServer, store: CheckoutStore, repository: Repository
) -> None:
    host.faults_at("o/old").redirect(repository.url)
    template = template_at(host.url + "o/old", ref=repository.tip())
    checkout = await store.checkout(template, repository.tip(), Deadline(60))
    assert contents(checkout.path) == FILES


# The token


@pytest.fixture
def with_token(store_for: Callable[[GitAccess], CheckoutStore], access: GitAccess) -> CheckoutStore:
    """A store whose operator set the token ``s3cret`` for the host."""
    return store_for(replace(access, token="s3cret"))


async def test_every_request_of_a_fetch_carries_the_token(
    host: GitServer, with_token: CheckoutStore, repository: Repository, template: Template
) -> None:
    host.faults.require_token("s3cret")
    await with_token.checkout(template, repository.tip(), Deadline(60))
    assert [request.authorized for request in host.requests] == [True] * len(host.requests)


async def test_a_fetch_from_another_origin_does_not_carry_the_token(
    elsewhere: GitServer, with_token: CheckoutStore
) -> None:
    repository = await elsewhere.create("o/n", FILES)
    await with_token.checkout(template_at(repository.url), repository.tip(), Deadline(60))
    assert [request.headers.get("Authorization") for request in elsewhere.requests] == [None] * elsewhere.count()


@pytest.mark.parametrize("where", ["info/refs", "upload-pack"])
async def test_git_does_not_carry_the_token_away_after_a_redirect(
    elsewhere: GitServer, with_token: CheckoutStore, repository: Repository, where: str
) -> None:
    other = await elsewhere.create("o/n", FILES)
    repository.faults.redirect(other.url, where=where, status=307)  # type: ignore[arg-type]
    await failure_of(with_token, template_at(repository.url, ref=repository.tip()), repository.tip())
    assert elsewhere.requests == []


async def test_only_the_fetch_itself_knows_the_token(
    store_for: Callable[[GitAccess], CheckoutStore],
    access: GitAccess,
    repository: Repository,
    template: Template,
    tmp_path: Path,
) -> None:
    own, spy = spy_on_git(replace(access, token="s3cret"), tmp_path / "spy")
    header = str(own.authorization(template.url))
    await store_for(own).checkout(template, repository.tip(), Deadline(60))
    told = [call.arguments[0] for call in spy.calls() if any(header in value for value in call.environment.values())]
    assert told == ["fetch"]


async def test_no_argument_has_the_token(
    store_for: Callable[[GitAccess], CheckoutStore],
    access: GitAccess,
    repository: Repository,
    template: Template,
    tmp_path: Path,
) -> None:
    own, spy = spy_on_git(replace(access, token="s3cret"), tmp_path / "spy")
    header = str(own.authorization(template.url)).removeprefix("Basic ")
    await store_for(own).checkout(template, repository.tip(), Deadline(60))
    assert [call for call in spy.calls() if header in str(call.arguments) or "s3cret" in str(call.arguments)] == []


async def test_no_file_has_the_token(
    host: GitServer, with_token: CheckoutStore, cache: Path, repository: Repository, template: Template
) -> None:
    host.faults.require_token("s3cret")
    await with_token.checkout(template, repository.tip(), Deadline(60))
    header = str(with_token._access.authorization(template.url)).removeprefix("Basic ").encode()
    assert [path for path in files_below(cache) if header in path.read_bytes()] == []


async def test_git_is_started_with_the_scrubbed_environment(
    store_for: Callable[[GitAccess], CheckoutStore],
    access: GitAccess,
    repository: Repository,
    template: Template,
    tmp_path: Path,
) -> None:
    own, spy = spy_on_git(access, tmp_path / "spy")
    await store_for(own).checkout(template, repository.tip(), Deadline(60))
    ours = own.environment(template.url).keys() | {"GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"}
    assert [call.arguments for call in spy.calls() if call.environment.keys() - ours] == []


# Failures, each made to happen


async def test_a_host_that_is_off_is_unreachable(
    host: GitServer, store: CheckoutStore, repository: Repository, template: Template
) -> None:
    await host.stop()
    assert (await failure_of(store, template, repository.tip())).as_dict() == {
        "error": f"local-build mode: Gitea unreachable at http://127.0.0.1:{host.port} — verify network or set"
        " MOLECULE_IMAGE_REGISTRY to a reachable registry",
        "code": "git_unreachable",
        "hint": f"the connection failed: connection refused (runtime hermes, {template.url})",
    }


@pytest.mark.parametrize(
    ("status", "code"), [(404, "template_repo_missing"), (401, "template_repo_missing"), (500, "git_unreachable")]
)
async def test_what_the_host_answers_names_the_failure(
    host: GitServer, store: CheckoutStore, template: Template, status: int, code: str
) -> None:
    host.faults.answer(status)
    assert (await failure_of(store, template, "0123456789" * 4)).code == code


async def test_a_refused_token_is_denied(
    host: GitServer, with_token: CheckoutStore, repository: Repository, template: Template
) -> None:
    host.faults.require_token("another", wrong="403")
    assert (await failure_of(with_token, template, repository.tip())).code == "git_denied"


@pytest.mark.parametrize("after", [0, 1, 100])
async def test_a_pack_that_is_cut_off_is_unreachable(
    host: GitServer, store: CheckoutStore, repository: Repository, template: Template, after: int
) -> None:
    host.faults.cut_off(after, "fetch")
    error = await failure_of(store, template, repository.tip())
    assert (error.code, error.hint) == (
        "git_unreachable",
        f"the transfer of the files broke off (runtime hermes, {template.url})",
    )


async def test_a_pack_that_is_cut_off_once_is_fetched_again(
    host: GitServer, store: CheckoutStore, repository: Repository, template: Template
) -> None:
    host.faults.cut_off(100, "fetch", times=1)
    assert contents((await store.checkout(template, repository.tip(), Deadline(60))).path) == FILES


async def test_after_a_cut_nothing_is_in_the_way_of_the_next_checkout(
    host: GitServer, store: CheckoutStore, repository: Repository, template: Template
) -> None:
    fault = host.faults.cut_off(100, "fetch")
    await failure_of(store, template, repository.tip())
    host.faults.remove(fault)
    assert contents((await store.checkout(template, repository.tip(), Deadline(60))).path) == FILES


async def test_a_folder_whose_objects_are_gone_is_missing(store: CheckoutStore, repository: Repository) -> None:
    tree = await repository.show("main^{tree}")
    (repository.directory / "objects" / tree[:2] / tree[2:]).unlink()
    error = await failure_of(store, template_at(f"file://{repository.directory}"), repository.tip())
    assert error.code == "template_repo_missing"


async def test_a_deadline_ends_the_fetch(
    host: GitServer, store: CheckoutStore, repository: Repository, template: Template
) -> None:
    host.faults.hold("fetch")
    with pytest.raises(DeadlineError, match=r"^git [a-z]+ took longer than 0\.3 s$"):
        await store.checkout(template, repository.tip(), Deadline(0.3))


async def test_after_a_deadline_the_next_checkout_works(
    host: GitServer, store: CheckoutStore, repository: Repository, template: Template
) -> None:
    hold = host.faults.hold("fetch")
    with pytest.raises(DeadlineError):
        await store.checkout(template, repository.tip(), Deadline(0.3))
    host.faults.remove(hold)
    assert contents((await store.checkout(template, repository.tip(), Deadline(60))).path) == FILES


async def test_after_a_cancelled_checkout_the_next_one_works(
    host: GitServer, store: CheckoutStore, repository: Repository, template: Template
) -> None:
    hold = host.faults.hold("fetch", after_bytes=50)
    task = asyncio.create_task(store.checkout(template, repository.tip(), Deadline(60)))
    await hold.arrived.wait()
    task.cancel()
    await asyncio.wait([task])
    host.faults.remove(hold)
    assert contents((await store.checkout(template, repository.tip(), Deadline(60))).path) == FILES


@pytest.fixture(params=["init", "fetch", "read-tree", "checkout-index"])
def on_a_full_disk(
    request: pytest.FixtureRequest,
    store_for: Callable[[GitAccess], CheckoutStore],
    access: GitAccess,
    tmp_path: Path,
) -> CheckoutStore:
    message = "fatal: write error: No space left on device"
    return store_for(failing_git(access, tmp_path / "bin", request.param, message))


async def test_a_disk_that_is_full_under_git_is_no_space(
    on_a_full_disk: CheckoutStore, repository: Repository, template: Template
) -> None:
    assert (await failure_of(on_a_full_disk, template, repository.tip())).code == "no_space"


async def test_a_missing_git_is_a_missing_tool(
    store_for: Callable[[GitAccess], CheckoutStore], access: GitAccess, repository: Repository, template: Template
) -> None:
    error = await failure_of(store_for(replace(access, passed_on={"PATH": "/nowhere"})), template, repository.tip())
    assert (type(error), error.code) == (UnavailableError, "tool_missing")


@pytest.mark.parametrize("name", [".git/config", "a/.GIT/hooks/post-checkout", "git~1", "../../outside"])
async def test_a_tree_that_git_refuses_is_malformed(host: GitServer, store: CheckoutStore, name: str) -> None:
    repository = await host.create("o/hostile", {"Dockerfile": "FROM scratch\n", name: "x"})
    error = await failure_of(store, template_at(repository.url), repository.tip())
    assert (type(error), error.code) == (TemplateError, "template_malformed")


async def test_too_many_files_are_malformed_with_the_limit(host: GitServer, store: CheckoutStore) -> None:
    repository = await host.create("o/many", {f"{n}": "x" for n in range(20_001)})
    error = await failure_of(store, template_at(repository.url), repository.tip())
    assert error.as_dict() == {
        "error": "the template of runtime hermes cannot be used: it has more than 20000 files",
        "code": "template_malformed",
        "hint": f"change {repository.url}, commit {repository.tip()}",
    }


async def test_too_large_files_are_not_written(
    store: CheckoutStore, cache: Path, repository: Repository, template: Template, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workspace_server.git.tree.MAX_BYTES", 10)
    error = await failure_of(store, template, repository.tip())
    assert (error.code, {path.name for path in files_below(cache)} & FILES.keys()) == ("template_malformed", set())


async def test_a_file_that_git_refuses_in_the_end_is_malformed(
    store_for: Callable[[GitAccess], CheckoutStore],
    access: GitAccess,
    repository: Repository,
    template: Template,
    tmp_path: Path,
) -> None:
    refusing = failing_git(access, tmp_path / "bin", "read-tree", "error: invalid path")
    assert (await failure_of(store_for(refusing), template, repository.tip())).code == "template_malformed"


async def test_a_file_system_that_changes_files_is_unusable(
    store: CheckoutStore, cache: Path, repository: Repository, template: Template, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workspace_server.git.fetch.difference", lambda *_: "'a' has the mode 100777")
    error = await failure_of(store, template, repository.tip())
    assert (error.message, (cache / "hermes" / repository.tip()).exists()) == (
        (
            f"the build cache {cache} cannot be used: its file system does not keep what git writes: 'a' has the mode"
            " 100777"
        ),
        False,
    )


# What is said


async def test_a_fetch_is_logged_in_the_words_of_the_design(
    store: CheckoutStore, repository: Repository, template: Template, logs: list[EventDict]
) -> None:
    await store.checkout(template, repository.tip(), Deadline(60))
    who = {"log_level": "info", "runtime": "hermes", "commit": repository.tip()[:12]}
    assert logs == [
        {"event": f"local-build: cloning {template.url}", **who},
        {"event": f"local-build: clone complete ({repository.tip()[:12]})", **who},
    ]


async def test_without_a_fetch_none_is_logged(
    store: CheckoutStore, repository: Repository, template: Template, logs: list[EventDict]
) -> None:
    await store.checkout(template, repository.tip(), Deadline(60))
    logs.clear()
    await store.checkout(template, repository.tip(), Deadline(60))
    assert logs == []


async def test_a_fetch_that_failed_is_not_complete(
    host: GitServer, store: CheckoutStore, repository: Repository, template: Template, logs: list[EventDict]
) -> None:
    await host.stop()
    with pytest.raises(SourceError) as caught:
        await store.checkout(template, repository.tip(), Deadline(60))
    assert events(logs) == [f"local-build: cloning {template.url}", caught.value.message]
