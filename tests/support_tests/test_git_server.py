import asyncio
import base64
from pathlib import Path

import pytest

from support.git_cli import git
from support.git_objects import FileMap, executable, submodule, symlink
from support.git_repository import Repository
from support.git_requests import Kind
from support.git_server import GitServer, git_server

from .git_client import V0, clone, fetch_commit, get, git_error, ls_remote, refused

REFS = "info/refs?service=git-upload-pack"


@pytest.fixture
async def repository(host: GitServer) -> Repository:
    return await host.create_template("langgraph", {"Dockerfile": "FROM scratch\n"})


async def test_a_template_is_found_below_the_prefix(host: GitServer, repository: Repository) -> None:
    assert repository.url == f"{host.repo_prefix}langgraph"
    assert await ls_remote(repository.url, "HEAD") == {"HEAD": repository.tip()}


async def test_a_dot_git_at_the_end_names_the_same_repository(repository: Repository) -> None:
    assert (await ls_remote(f"{repository.url}.git"))["refs/heads/main"] == repository.tip()


async def test_a_missing_repository_is_404(host: GitServer) -> None:
    assert (await get(f"{host.url}owner/none/{REFS}")).status == 404


async def test_a_clone_has_every_kind_of_file(host: GitServer, tmp_path: Path) -> None:
    files: FileMap = {
        "a/b/text": "text\n",
        "bytes": b"\0\xff",
        "run.sh": executable("#!/bin/sh\n"),
        "link": symlink("a/b/text"),
        "a.b": "sorts between a and a/",
        "module": submodule("1" * 40),
    }
    repository = await host.create("o/n", files)
    await repository.fsck()
    work = await clone(repository.url, tmp_path / "work")
    assert (work / "link").readlink() == Path("a/b/text")
    assert (work / "link").read_text() == "text\n"
    assert (work / "bytes").read_bytes() == b"\0\xff"
    assert (work / "run.sh").stat().st_mode & 0o777 == 0o755
    assert (await git("ls-tree", "HEAD", "module", cwd=work)).startswith("160000 commit 1111")
    assert await git("status", "--porcelain", cwd=work) == ""


async def test_a_folder_becomes_a_repository(host: GitServer, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "folder").mkdir(parents=True)
    (source / "folder" / "run").write_text("x")
    (source / "folder" / "run").chmod(0o755)
    (source / "link").symlink_to("folder/run")
    repository = await host.create("o/n", source)
    work = await clone(repository.url, tmp_path / "work")
    assert (work / "folder" / "run").stat().st_mode & 0o777 == 0o755
    assert (work / "link").readlink() == Path("folder/run")


async def test_equal_content_gives_equal_commits(host: GitServer) -> None:
    one, two = [await host.create(f"o/{name}", {"file": "same"}) for name in ("one", "two")]
    assert one.tip() == two.tip()
    assert await one.commit({"file": "new"}) == await two.commit({"file": "new"})


async def test_a_commit_edits_its_parents_files(repository: Repository) -> None:
    first = repository.tip()
    second = await repository.commit({"added": "x", "Dockerfile": None})
    assert await git(f"--git-dir={repository.directory}", "ls-tree", "-r", "--name-only", second) == "added"
    assert await repository.show(f"{second}^") == first


async def test_a_forced_push_leaves_the_old_commit_until_pruned(repository: Repository, tmp_path: Path) -> None:
    first = repository.tip()
    lost = await repository.commit({"file": "lost"})
    forced = await repository.commit({"file": "forced"}, onto=first)
    assert await ls_remote(repository.url, "refs/heads/main") == {"refs/heads/main": forced}
    assert await fetch_commit(repository, lost, tmp_path / "before") == lost
    await repository.prune()
    assert "not our ref" in await git_error(
        f"--git-dir={tmp_path / 'before'}", "fetch", "--refetch", "--depth=1", repository.url, lost
    )


async def test_branches_and_tags_come_and_go(repository: Repository) -> None:
    sha = repository.tip()
    await repository.branch("feature/main", sha)
    await repository.branch("gone", sha)
    await repository.remove_branch("gone")
    assert await repository.tag("light") == sha
    tag = await repository.tag("heavy", annotated=True)
    await repository.fsck()
    assert await ls_remote(repository.url) == {
        "HEAD": sha,
        "refs/heads/feature/main": sha,
        "refs/heads/main": sha,
        "refs/tags/heavy": tag,
        "refs/tags/heavy^{}": sha,
        "refs/tags/light": sha,
    }


async def test_head_can_name_another_branch_be_detached_or_be_missing(repository: Repository) -> None:
    first = repository.tip()
    other = await repository.commit({"x": "y"}, branch="other", onto=first)
    await repository.set_head("other")
    assert (await ls_remote(repository.url, "HEAD"))["HEAD"] == other
    await repository.detach_head(first)
    assert (await ls_remote(repository.url, "HEAD"))["HEAD"] == first
    await repository.delete_head()
    assert await ls_remote(repository.url, "HEAD") == {}


@pytest.mark.parametrize("env", [{}, V0])
async def test_an_empty_repository_has_no_refs(host: GitServer, env: dict[str, str]) -> None:
    repository = await host.create("o/empty")
    assert await ls_remote(repository.url, env=env) == {}


async def test_a_sha256_repository_is_served_under_both_protocols(host: GitServer, tmp_path: Path) -> None:
    repository = await host.create("o/n", {"f": "x"}, object_format="sha256", default_branch="trunk")
    await repository.fsck()
    assert len(repository.tip()) == 64
    expected = {"HEAD": repository.tip(), "refs/heads/trunk": repository.tip()}
    assert await ls_remote(repository.url) == await ls_remote(repository.url, env=V0) == expected
    assert await fetch_commit(repository, repository.tip(), tmp_path / "store") == repository.tip()


async def test_ten_thousand_refs_are_made_at_once(repository: Repository) -> None:
    await repository.refs({f"refs/heads/many/{n}": repository.tip() for n in range(10_000)})
    assert len(await ls_remote(repository.url)) == 10_002


async def test_requests_are_told_apart_under_v2(host: GitServer, repository: Repository, tmp_path: Path) -> None:
    await fetch_commit(repository, repository.tip(), tmp_path / "store")
    assert {request.protocol for request in host.requests} == {2}
    assert host.requests[0].kind is Kind.CAPABILITIES
    assert (host.requests[0].method, host.requests[0].query) == ("GET", "service=git-upload-pack")
    assert host.requests[0].path == "/molecule-ai/molecule-ai-workspace-template-langgraph/info/refs"
    assert host.count("info/refs") == host.count("info/refs", repository.path) == 1
    assert host.count("info/refs", "other/repository") == 0
    assert len(host.pack_requests()) == len(host.packs_sent()) == 1
    assert all(request.complete and request.status == 200 for request in host.requests)
    assert "git/" in host.requests[0].headers["user-agent"]


async def test_requests_are_told_apart_under_v0(host: GitServer, repository: Repository, tmp_path: Path) -> None:
    await fetch_commit(repository, repository.tip(), tmp_path / "store", env=V0)
    assert {request.protocol for request in host.requests} == {0}
    assert [request.kind for request in host.ref_requests()] == [Kind.REFS]
    assert len(host.packs_sent()) == 1


async def test_a_look_up_asks_for_refs_and_no_pack(host: GitServer, repository: Repository) -> None:
    await ls_remote(repository.url, "HEAD")
    assert [request.kind for request in host.ref_requests()] == [Kind.LS_REFS]
    assert host.pack_requests() == host.packs_sent() == []


@pytest.mark.parametrize("env", [{}, V0])
async def test_a_fetch_of_news_sends_one_pack(
    host: GitServer, repository: Repository, tmp_path: Path, env: dict[str, str]
) -> None:
    for n in range(100):
        await repository.commit({f"file-{n}": str(n)})
    work = await clone(repository.url, tmp_path / "work")
    await repository.commit({"news": "x"})
    # Local commits that the server does not know make the negotiation long, and its requests compressed.
    await git(
        *("-c", "user.name=x", "-c", "user.email=x@example.invalid", "commit", "--quiet", "--allow-empty", "-m", "x"),
        cwd=work,
    )
    host.requests.clear()
    await git("fetch", "--quiet", "origin", cwd=work, env=env)
    assert len(host.packs_sent()) == 1
    assert await git("rev-parse", "origin/main", cwd=work) == repository.tip()


async def test_the_host_goes_off_and_comes_back_at_the_same_address(host: GitServer, repository: Repository) -> None:
    url, before = host.url, host.repositories
    hold = host.faults.hold()
    client = asyncio.create_task(git_error("ls-remote", repository.url))
    await hold.arrived.wait()
    await host.stop()
    assert "ls-remote" in await client
    assert await refused(host.port)
    assert "Failed to connect" in await git_error("ls-remote", repository.url)
    host.faults.clear()
    await host.start()
    assert (host.url, host.repositories) == (url, before)
    assert await ls_remote(repository.url, "HEAD") == {"HEAD": repository.tip()}


async def test_what_goes_wrong_in_the_server_itself_is_raised_at_its_end(tmp_path: Path) -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    async def provoke() -> None:
        async with git_server(tmp_path) as host:
            repository = await host.create("o/n", {"f": "x"})
            host.faults.move_head_after(1, fail)
            await git_error("ls-remote", repository.url)

    with pytest.raises(ExceptionGroup, match="the Git server failed") as caught:
        await provoke()
    assert isinstance(caught.value.exceptions[0], ZeroDivisionError)


async def test_credentials_of_the_request_are_recorded(host: GitServer, repository: Repository) -> None:
    value = "Basic " + base64.b64encode(b"u:p").decode()
    await get(f"{repository.url}/{REFS}", headers={"Authorization": value})
    assert host.requests[0].headers["Authorization"] == value
    assert host.requests[0].authorized is None
