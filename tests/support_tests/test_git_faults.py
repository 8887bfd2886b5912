import asyncio
import base64
from pathlib import Path
from typing import Literal

import aiohttp
import pytest

from support.git_cli import git
from support.git_repository import Repository
from support.git_requests import Where
from support.git_server import GitServer, git_server

from .git_client import V0, clone, fetch_commit, get, git_error, ls_remote

REFS = "info/refs?service=git-upload-pack"


@pytest.fixture
async def repository(host: GitServer) -> Repository:
    return await host.create("owner/name", {"Dockerfile": "FROM scratch\n", "noise": bytes(range(256)) * 400})


def basic(user: str, secret: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode()}


@pytest.mark.parametrize(("missing", "status"), [("401", 401), ("404", 404)])
async def test_a_private_repository_refuses_who_brings_no_token(
    host: GitServer, repository: Repository, missing: Literal["401", "404"], status: int
) -> None:
    repository.faults.require_token("secret", missing=missing)
    answer = await get(f"{repository.url}/{REFS}")
    assert answer.status == status
    assert ("WWW-Authenticate" in answer.headers) == (status == 401)
    assert host.requests[0].authorized is False
    assert b"refs/heads" not in answer.body


@pytest.mark.parametrize(("wrong", "status"), [("401", 401), ("403", 403)])
async def test_a_private_repository_refuses_a_wrong_token(
    repository: Repository, wrong: Literal["401", "403"], status: int
) -> None:
    repository.faults.require_token("secret", wrong=wrong)
    assert (await get(f"{repository.url}/{REFS}", basic("oauth2", "guess"))).status == status
    assert (await get(f"{repository.url}/{REFS}", basic("somebody", "secret"))).status == status


async def test_a_private_repository_serves_its_token_and_records_it(
    host: GitServer, repository: Repository, tmp_path: Path
) -> None:
    repository.faults.require_token("secret")
    header = basic("oauth2", "secret")["Authorization"]
    env = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "http.extraHeader",
        "GIT_CONFIG_VALUE_0": f"authorization: {header}",
    }
    assert await fetch_commit(repository, repository.tip(), tmp_path / "store", env) == repository.tip()
    assert all(request.authorized for request in host.requests)
    assert {request.headers["Authorization"] for request in host.requests} == {header}


async def test_a_token_for_the_whole_host_hides_missing_repositories_too(host: GitServer) -> None:
    host.faults.require_token("secret")
    assert (await get(f"{host.url}owner/none/{REFS}")).status == 401
    assert (await get(f"{host.url}owner/none/{REFS}", basic("oauth2", "secret"))).status == 404


@pytest.mark.parametrize("status", [401, 403, 404, 500, 503])
async def test_a_fixed_status_is_answered(repository: Repository, status: int) -> None:
    repository.faults.answer(status, "no")
    answer = await get(f"{repository.url}/{REFS}")
    assert (answer.status, answer.body) == (status, b"no")


async def test_a_log_in_page_is_answered_with_200(repository: Repository) -> None:
    repository.faults.answer(200, "<html>Sign in</html>", "text/html")
    answer = await get(f"{repository.url}/{REFS}")
    assert (answer.status, answer.headers["Content-Type"], answer.body) == (200, "text/html", b"<html>Sign in</html>")


async def test_a_fault_can_end_by_itself_after_some_requests(repository: Repository) -> None:
    repository.faults.answer(503, times=2)
    assert [(await get(f"{repository.url}/{REFS}")).status for _ in range(3)] == [503, 503, 200]


async def test_a_fault_can_be_taken_away(host: GitServer, repository: Repository) -> None:
    one = repository.faults.answer(500)
    repository.faults.answer(501)
    host.faults.answer(503)
    assert (await get(f"{repository.url}/{REFS}")).status == 501
    repository.faults.remove(one)
    assert (await get(f"{repository.url}/{REFS}")).status == 501
    repository.faults.clear()
    assert (await get(f"{repository.url}/{REFS}")).status == 503
    host.faults.clear()
    assert (await get(f"{repository.url}/{REFS}")).status == 200


async def test_a_fault_of_one_repository_spares_the_others(host: GitServer, repository: Repository) -> None:
    other = await host.create("owner/other", {"f": "x"})
    repository.faults.answer(500)
    assert (await get(f"{other.url}/{REFS}")).status == 200


async def test_a_missing_repository_can_have_faults(host: GitServer) -> None:
    host.faults_at("owner/none").answer(401)
    assert (await get(f"{host.url}owner/none/{REFS}")).status == 401


async def test_a_redirect_keeps_service_and_query(host: GitServer, repository: Repository, tmp_path: Path) -> None:
    host.faults_at("old/name").redirect(repository.url)
    answer = await get(f"{host.url}old/name/{REFS}")
    assert (answer.status, answer.headers["Location"]) == (301, f"{repository.url}/{REFS}")
    work = await clone(f"{host.url}old/name", tmp_path / "work")
    assert await git("rev-parse", "HEAD", cwd=work) == repository.tip()


async def test_a_redirect_can_lead_to_another_origin(host: GitServer, repository: Repository, tmp_path: Path) -> None:
    async with git_server(tmp_path / "elsewhere") as elsewhere:
        target = await elsewhere.create("owner/name", {"f": "elsewhere"})
        repository.faults.redirect(target.url, status=302)
        assert await ls_remote(repository.url, "HEAD") == {"HEAD": target.tip()}
        assert elsewhere.count("info/refs") == 1


@pytest.mark.parametrize(("where", "asked"), [("info/refs", "info/refs"), ("upload-pack", "git-upload-pack")])
async def test_a_held_request_waits_for_the_release(
    host: GitServer, repository: Repository, tmp_path: Path, where: Where, asked: str
) -> None:
    hold = host.faults.hold(where)
    task = asyncio.create_task(clone(repository.url, tmp_path / "work"))
    await hold.arrived.wait()
    assert (hold.waiting, host.requests[-1].service, host.requests[-1].status) == (1, asked, None)
    hold.release()
    assert (await task / "Dockerfile").exists()
    assert hold.waiting == 0


async def test_a_pack_can_be_held_in_the_middle(host: GitServer, repository: Repository, tmp_path: Path) -> None:
    hold = host.faults.hold("fetch", after_bytes=300)
    task = asyncio.create_task(clone(repository.url, tmp_path / "work"))
    await hold.arrived.wait()
    assert (host.requests[-1].status, host.requests[-1].sent_pack, host.requests[-1].complete) == (200, True, False)
    hold.release()
    await task
    assert host.requests[-1].complete


async def test_a_client_that_dies_while_held_is_forgotten(host: GitServer, repository: Repository) -> None:
    hold = host.faults.hold()
    async with aiohttp.ClientSession() as session:
        request = asyncio.create_task(session.get(f"{repository.url}/{REFS}"))
        await hold.arrived.wait()
        request.cancel()
        await asyncio.wait([request])
    await hold.left.wait()
    assert hold.waiting == 0


async def test_a_delay_outlasts_a_short_patience(repository: Repository) -> None:
    delay = repository.faults.delay(600)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await get(f"{repository.url}/{REFS}")
    assert delay.arrived.is_set()


async def test_a_delay_ends_by_itself(repository: Repository) -> None:
    delay = repository.faults.delay(0.001)
    assert (await get(f"{repository.url}/{REFS}")).status == 200
    assert delay.arrived.is_set()


async def test_refs_can_be_cut_off(host: GitServer, repository: Repository) -> None:
    repository.faults.cut_off(20, "info/refs")
    with pytest.raises(aiohttp.ClientPayloadError):
        await get(f"{repository.url}/{REFS}")
    assert (host.requests[0].status, host.requests[0].complete) == (200, False)


async def test_a_cut_off_sends_exactly_the_bytes_asked_for(host: GitServer, repository: Repository) -> None:
    whole = (await get(f"{repository.url}/{REFS}")).body
    repository.faults.cut_off(20, times=1)
    reader, writer = await asyncio.open_connection("127.0.0.1", host.port)
    writer.write(f"GET /owner/name/{REFS} HTTP/1.0\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    assert b" 200 " in head
    assert body == whole[:20]


async def test_a_connection_can_end_before_any_answer(host: GitServer, repository: Repository) -> None:
    repository.faults.cut_off(0)
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await get(f"{repository.url}/{REFS}")
    assert host.requests[0].status is None


async def test_a_pack_can_be_cut_off(host: GitServer, repository: Repository, tmp_path: Path) -> None:
    repository.faults.cut_off(1000, "fetch")
    error = await git_error("clone", "--quiet", repository.url, str(tmp_path / "work"))
    assert "early EOF" in error or "unexpected disconnect" in error or "transfer closed" in error
    assert host.packs_sent()[0].complete is False


@pytest.mark.parametrize("env", [{}, V0])
async def test_head_moves_between_look_up_and_fetch(
    host: GitServer, repository: Repository, env: dict[str, str]
) -> None:
    before = repository.tip()
    host.faults.move_head_after(2, lambda: repository.commit({"new": "x"}))
    seen = [(await ls_remote(repository.url, "HEAD", env=env))["HEAD"] for _ in range(4)]
    after = repository.tip()
    assert after != before
    assert seen == [before, before, after, after]


async def test_several_hooks_count_the_same_look_ups(host: GitServer, repository: Repository) -> None:
    host.faults.move_head_after(1, lambda: repository.commit({"new": "1"}, "one"))
    host.faults.move_head_after(2, lambda: repository.commit({"new": "2"}, "two"))
    for _ in range(2):
        await ls_remote(repository.url, "HEAD")
    message = await git(f"--git-dir={repository.directory}", "log", "-1", "--format=%s")
    assert message == "two"


async def test_a_host_can_refuse_unadvertised_commits(host: GitServer, repository: Repository, tmp_path: Path) -> None:
    old = repository.tip()
    tip = await repository.commit({"new": "x"})
    await repository.config("uploadpack.allowAnySHA1InWant", "true")
    fault = repository.faults.refuse_unadvertised()
    error = await _fetch_error(repository, old, tmp_path / "one")
    assert "not our ref" in error or "unadvertised" in error
    assert await fetch_commit(repository, tip, tmp_path / "two") == tip
    assert {request.protocol for request in host.requests} == {0}
    repository.faults.remove(fault)
    assert await fetch_commit(repository, old, tmp_path / "three") == old


async def _fetch_error(repository: Repository, sha: str, to: Path) -> str:
    await git("init", "--bare", "--quiet", str(to))
    return await git_error(f"--git-dir={to}", "fetch", "--quiet", "--depth=1", repository.url, sha)
