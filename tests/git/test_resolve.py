import asyncio
import base64
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from support.git_repository import Repository
from support.git_server import GitServer, git_server
from workspace_server.concurrency import Deadline, TaskScope
from workspace_server.errors import SourceError, UnavailableError, WorkspaceServerError
from workspace_server.git import GitAccess, Resolver, open_http_client, remote
from workspace_server.runtimes import Template

from .conftest import FILES, template_at

BASIC = "Basic " + base64.b64encode(b"oauth2:s3cret").decode()


async def code_of(resolver: Resolver, template: Template) -> str:
    return (await failure_of(resolver, template)).code


async def failure_of(resolver: Resolver, template: Template) -> WorkspaceServerError:
    with pytest.raises(SourceError) as caught:
        await resolver.resolve(template, Deadline(60))
    return caught.value


@pytest.fixture
async def elsewhere(tmp_path: Path) -> AsyncIterator[GitServer]:
    """Another origin."""
    async with git_server(tmp_path / "elsewhere") as server:
        yield server


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a short answer is waited for, however slow the host."""
    monkeypatch.setattr(remote, "REST_SECONDS", 60)


# What a ref is


async def test_without_a_ref_it_is_head(resolver: Resolver, repository: Repository, template: Template) -> None:
    assert await resolver.resolve(template, Deadline(60)) == repository.tip()


async def test_head_is_the_default_branch_and_not_main(
    resolver: Resolver, repository: Repository, template: Template
) -> None:
    trunk = await repository.commit({"x": "x"}, branch="trunk")
    await repository.set_head("trunk")
    assert await resolver.resolve(template, Deadline(60)) == trunk


async def test_a_detached_head_is_a_commit(resolver: Resolver, repository: Repository, template: Template) -> None:
    first = repository.tip()
    await repository.commit({"x": "x"})
    await repository.detach_head(first)
    assert await resolver.resolve(template, Deadline(60)) == first


async def test_a_branch_is_not_another_that_ends_like_it(resolver: Resolver, repository: Repository) -> None:
    await repository.commit({"x": "x"}, branch="feature/main")
    assert await resolver.resolve(template_at(repository.url, ref="main"), Deadline(60)) == repository.tip("main")


async def test_a_plain_tag_is_its_commit(resolver: Resolver, repository: Repository) -> None:
    commit = repository.tip()
    await repository.tag("v1")
    await repository.commit({"x": "x"})
    assert await resolver.resolve(template_at(repository.url, ref="v1"), Deadline(60)) == commit


async def test_an_annotated_tag_is_the_commit_behind_it(resolver: Resolver, repository: Repository) -> None:
    assert await repository.tag("v1", annotated=True) != repository.tip()
    assert await resolver.resolve(template_at(repository.url, ref="v1"), Deadline(60)) == repository.tip()


async def test_a_branch_outranks_a_tag_of_its_name(resolver: Resolver, repository: Repository) -> None:
    await repository.tag("v1")
    branch = await repository.commit({"x": "x"}, branch="v1")
    assert await resolver.resolve(template_at(repository.url, ref="v1"), Deadline(60)) == branch


async def test_a_sha256_repository_has_long_commits(host: GitServer, resolver: Resolver) -> None:
    repository = await host.create("o/long", FILES, object_format="sha256")
    assert len(repository.tip()) == 64
    assert await resolver.resolve(template_at(repository.url), Deadline(60)) == repository.tip()


async def test_an_answer_is_not_kept(resolver: Resolver, repository: Repository, template: Template) -> None:
    await resolver.resolve(template, Deadline(60))
    new = await repository.commit({"x": "x"})
    assert await resolver.resolve(template, Deadline(60)) == new


# What it costs


async def test_a_look_up_is_one_request(host: GitServer, resolver: Resolver, template: Template) -> None:
    await resolver.resolve(template, Deadline(60))
    assert [(request.method, request.service, request.protocol) for request in host.requests] == [
        ("GET", "info/refs", 0)
    ]


async def test_a_full_commit_needs_no_request(host: GitServer, resolver: Resolver) -> None:
    template = template_at(host.url + "o/none", ref="0123456789" * 4)
    assert (await resolver.resolve(template, Deadline(60)), host.requests) == ("0123456789" * 4, [])


@pytest.mark.usefixtures("patient")
async def test_of_ten_thousand_refs_only_the_first_is_waited_for(
    resolver: Resolver, repository: Repository, template: Template
) -> None:
    await repository.refs({f"refs/heads/b{n:05}": repository.tip() for n in range(10_000)})
    hold = repository.faults.hold("info/refs", after_bytes=70_000)  # never released: the rest is not sent
    assert await resolver.resolve(template, Deadline(60)) == repository.tip()
    repository.faults.remove(hold)


async def test_the_end_of_an_answer_that_is_known_is_not_waited_for(
    resolver: Resolver, repository: Repository, template: Template
) -> None:
    await repository.refs({f"refs/heads/b{n:02}": repository.tip() for n in range(50)})
    repository.faults.hold("info/refs", after_bytes=1000)  # never released
    assert await resolver.resolve(template, Deadline(60)) == repository.tip()


async def test_a_tag_after_ten_thousand_branches_is_found(resolver: Resolver, repository: Repository) -> None:
    await repository.refs({f"refs/heads/b{n:05}": repository.tip() for n in range(10_000)})
    await repository.tag("v1")
    assert await resolver.resolve(template_at(repository.url, ref="v1"), Deadline(60)) == repository.tip()


@pytest.mark.usefixtures("patient")
async def test_a_look_up_reuses_the_connection_of_the_last(
    host: GitServer, http: httpx.AsyncClient, resolver: Resolver, template: Template
) -> None:
    opened = []

    async def note(event: str, info: object) -> None:
        opened.append(event)

    async def trace(request: httpx.Request) -> None:
        request.extensions["trace"] = note

    http.event_hooks["request"] = [trace]
    await resolver.resolve(template, Deadline(60))
    await resolver.resolve(template, Deadline(60))
    assert (host.count(), opened.count("connection.connect_tcp.complete")) == (2, 1)


async def test_look_ups_in_flight_are_shared(
    host: GitServer, resolver: Resolver, repository: Repository, template: Template
) -> None:
    hold = repository.faults.hold("info/refs")
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(resolver.resolve(template, Deadline(60))) for _ in range(50)]
        await hold.arrived.wait()
        hold.release()
    assert ({task.result() for task in tasks}, host.count()) == ({repository.tip()}, 1)


async def test_look_ups_of_different_refs_are_not_shared(
    host: GitServer, resolver: Resolver, repository: Repository, template: Template
) -> None:
    other = await repository.commit({"x": "x"}, branch="other")
    got = await asyncio.gather(
        resolver.resolve(template, Deadline(60)), resolver.resolve(replace(template, ref="other"), Deadline(60))
    )
    assert (got, host.count()) == ([repository.tip(), other], 2)


async def test_a_caller_that_goes_away_does_not_end_the_look_up_for_the_others(
    resolver: Resolver, repository: Repository, template: Template
) -> None:
    hold = repository.faults.hold("info/refs")
    first = asyncio.create_task(resolver.resolve(template, Deadline(60)))
    await hold.arrived.wait()
    second = asyncio.create_task(resolver.resolve(template, Deadline(60)))
    first.cancel()
    await asyncio.wait([first])
    hold.release()
    assert await second == repository.tip()


# The token


async def test_the_token_is_sent_with_the_first_request(
    host: GitServer, with_token: Resolver, repository: Repository, template: Template
) -> None:
    host.faults.require_token("s3cret")
    assert await with_token.resolve(template, Deadline(60)) == repository.tip()
    assert [(request.status, request.headers["Authorization"]) for request in host.requests] == [(200, BASIC)]


async def test_the_token_is_not_sent_to_another_origin(elsewhere: GitServer, with_token: Resolver) -> None:
    repository = await elsewhere.create("o/n", FILES)
    await with_token.resolve(template_at(repository.url), Deadline(60))
    assert [request.headers.get("Authorization") for request in elsewhere.requests] == [None]


async def test_the_token_is_not_sent_after_a_redirect_to_another_origin(
    host: GitServer, elsewhere: GitServer, with_token: Resolver, template: Template
) -> None:
    host.faults.redirect(elsewhere.url + "o/n")
    assert await code_of(with_token, template) == "template_repo_missing"
    assert elsewhere.requests == []


async def test_a_redirect_inside_the_origin_keeps_the_token(
    host: GitServer, with_token: Resolver, repository: Repository
) -> None:
    host.faults.require_token("s3cret")
    host.faults_at("o/old").redirect(repository.url)
    assert await with_token.resolve(template_at(host.url + "o/old"), Deadline(60)) == repository.tip()
    assert [request.headers.get("Authorization") for request in host.requests] == [BASIC, BASIC]


# Redirects


async def test_where_redirects_ended_is_remembered_for_the_fetch(
    host: GitServer, resolver: Resolver, repository: Repository
) -> None:
    host.faults_at("o/old").redirect(repository.url)
    template = template_at(host.url + "o/old")
    await resolver.resolve(template, Deadline(60))
    assert resolver.location(template.url).text == repository.url


async def test_five_redirects_are_followed(host: GitServer, resolver: Resolver, repository: Repository) -> None:
    for n in range(4):
        host.faults_at(f"o/r{n}").redirect(f"{host.url}o/r{n + 1}")
    host.faults_at("o/r4").redirect(repository.url)
    assert await resolver.resolve(template_at(host.url + "o/r0"), Deadline(60)) == repository.tip()


async def test_redirects_in_a_circle_end(host: GitServer, resolver: Resolver) -> None:
    host.faults.redirect(host.url + "o/n")
    assert await code_of(resolver, template_at(host.url + "o/n")) == "git_unreachable"
    assert host.count() == 6


@pytest.mark.parametrize(
    ("location", "code"),
    [
        ("/user/login?redirect_to=%2Fo%2Fn", "template_repo_missing"),
        ("https://127.0.0.1:{port}/o/n/info/refs?service=git-upload-pack", "template_repo_missing"),
        ("http://localhost:{port}/o/n/info/refs?service=git-upload-pack", "template_repo_missing"),
        ("http://u:p@127.0.0.1:{port}/o/n/info/refs?service=git-upload-pack", "git_unreachable"),
        ("/o/%2e%2e/n/info/refs?service=git-upload-pack", "git_unreachable"),
        ("http://127.0.0.1:99999999/info/refs?service=git-upload-pack", "git_unreachable"),
        ("http://[::1/", "git_unreachable"),
    ],
)
async def test_a_redirect_that_does_not_lead_to_a_repository_here_is_not_followed(
    host: GitServer, resolver: Resolver, location: str, code: str
) -> None:
    host.faults.answer(302, headers={"Location": location.format(port=host.port)})
    assert await code_of(resolver, template_at(host.url + "o/n")) == code
    assert host.count() == 1


# Failures, each made to happen


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (404, "template_repo_missing"),
        (410, "template_repo_missing"),
        (401, "template_repo_missing"),
        (403, "template_repo_missing"),
        (400, "git_unreachable"),
        (429, "git_unreachable"),
        (500, "git_unreachable"),
        (503, "git_unreachable"),
        (204, "git_unreachable"),
    ],
)
async def test_what_the_host_answers_to_strangers(
    host: GitServer, resolver: Resolver, template: Template, status: int, code: str
) -> None:
    host.faults.answer(status)
    assert await code_of(resolver, template) == code


@pytest.mark.parametrize("wrong", ["401", "403"])
async def test_a_refused_token_is_denied(host: GitServer, with_token: Resolver, template: Template, wrong: str) -> None:
    host.faults.require_token("another", wrong=wrong)  # type: ignore[arg-type]
    assert await code_of(with_token, template) == "git_denied"


async def test_a_missing_repository_is_missing(host: GitServer, resolver: Resolver) -> None:
    error = await failure_of(resolver, template_at(host.url + "o/none"))
    assert error.message.startswith(f"does not exist: the template repository {host.url}o/none of runtime hermes;")


async def test_a_repository_that_asks_for_a_log_in_is_missing_or_private(
    host: GitServer, resolver: Resolver, template: Template
) -> None:
    host.faults.require_token("s3cret")
    assert (await failure_of(resolver, template)).message.startswith("does not exist or is private: ")


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ("<!DOCTYPE html><title>Sign in</title>", "text/html; charset=utf-8"),
        ("0123456789012345678901234567890123456789\trefs/heads/main\n", "text/plain"),
    ],
    ids=["log-in page", "dumb protocol"],
)
async def test_a_page_instead_of_refs_is_missing_or_private(
    host: GitServer, resolver: Resolver, template: Template, body: str, content_type: str
) -> None:
    host.faults.answer(200, body, content_type)
    assert (await failure_of(resolver, template)).message.startswith("does not exist or is private: ")


async def test_the_right_media_type_with_nonsense_is_unreachable(
    host: GitServer, resolver: Resolver, template: Template
) -> None:
    host.faults.answer(200, "<html>", "application/x-git-upload-pack-advertisement")
    assert await code_of(resolver, template) == "git_unreachable"


async def test_an_empty_repository_has_no_ref(host: GitServer, resolver: Resolver) -> None:
    repository = await host.create("o/empty")
    assert await code_of(resolver, template_at(repository.url)) == "template_ref_missing"


async def test_a_head_that_names_no_branch_has_no_ref(
    resolver: Resolver, repository: Repository, template: Template
) -> None:
    await repository.delete_head()
    assert await code_of(resolver, template) == "template_ref_missing"


async def test_a_ref_that_is_not_there_is_missing(resolver: Resolver, repository: Repository) -> None:
    assert await code_of(resolver, template_at(repository.url, ref="v9")) == "template_ref_missing"


async def test_a_host_that_is_off_is_unreachable_in_the_exact_words(
    host: GitServer, resolver: Resolver, template: Template
) -> None:
    await host.stop()
    error = await failure_of(resolver, template)
    assert (error.code, error.message, error.hint) == (
        "git_unreachable",
        (
            f"local-build mode: Gitea unreachable at http://127.0.0.1:{host.port} — verify network or set"
            " MOLECULE_IMAGE_REGISTRY to a reachable registry"
        ),
        f"the connection failed: connection refused (runtime hermes, {template.url})",
    )


@pytest.mark.parametrize("after", [0, 20, 60, 10_000_000])
async def test_a_connection_that_is_cut_is_unreachable(
    host: GitServer, resolver: Resolver, repository: Repository, after: int
) -> None:
    host.faults.cut_off(after)
    assert await code_of(resolver, template_at(repository.url, ref="v9")) == "git_unreachable"


async def test_a_list_that_ends_too_early_is_unreachable(
    host: GitServer, resolver: Resolver, repository: Repository
) -> None:
    cut = f"001e# service=git-upload-pack\n0000{4 + 40 + 6:04x}{repository.tip()} HEAD\n"
    host.faults.answer(200, cut, "application/x-git-upload-pack-advertisement")
    assert await code_of(resolver, template_at(repository.url, ref="v9")) == "git_unreachable"


async def test_a_host_that_stays_silent_is_unreachable_after_the_limit(
    host: GitServer,
    resolver: Resolver,
    template: Template,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("workspace_server.git.resolve.LOOK_UP_SECONDS", 0.05)
    host.faults.hold("info/refs")
    error = await failure_of(resolver, template)
    assert (error.code, error.hint) == (
        "git_unreachable",
        f"no complete answer in time: the look-up took longer than 0.05 s (runtime hermes, {template.url})",
    )


async def test_a_deadline_that_ends_during_the_look_up_is_unreachable(
    host: GitServer, resolver: Resolver, template: Template
) -> None:
    host.faults.hold("info/refs")
    with pytest.raises(SourceError) as caught:
        await resolver.resolve(template, Deadline(0.05))
    assert caught.value.code == "git_unreachable"


async def test_a_list_without_end_is_given_up(
    resolver: Resolver, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "MAX_BYTES", 100)
    error = await failure_of(resolver, template_at(repository.url, ref="v9"))
    assert error.hint.startswith("the list of refs is longer than ")


async def test_a_host_without_tls_is_unreachable_with_the_cause(host: GitServer, resolver: Resolver) -> None:
    error = await failure_of(resolver, template_at(f"https://127.0.0.1:{host.port}/o/n"))
    assert error.hint.startswith("the connection failed: no common TLS ")


async def test_a_failure_is_logged_in_the_words_of_the_error(
    host: GitServer, resolver: Resolver, logs: list[dict[str, str]]
) -> None:
    error = await failure_of(resolver, template_at(host.url + "o/none"))
    assert logs == [
        {
            "event": error.message,
            "log_level": "warning",
            "runtime": "hermes",
            "url": host.url + "o/none",
            "code": "template_repo_missing",
            "cause": error.hint,
        }
    ]


async def test_a_missing_repository_names_the_runtimes_that_answered_last(
    host: GitServer, resolver: Resolver, repository: Repository
) -> None:
    for runtime in ("hermes", "codex"):
        await resolver.resolve(template_at(repository.url, runtime=runtime), Deadline(60))
    error = await failure_of(resolver, template_at(host.url + "o/none", runtime="autogen"))
    assert error.message.endswith("; runtimes last seen to be buildable: codex, hermes")


async def test_a_runtime_whose_repository_vanished_is_no_longer_named(
    host: GitServer, resolver: Resolver, repository: Repository, template: Template
) -> None:
    await resolver.resolve(template, Deadline(60))
    repository.faults.answer(404)
    error = await failure_of(resolver, template)
    assert error.message.endswith("; no runtime was seen to be buildable since the server started")


async def test_an_error_makes_no_request_of_its_own(host: GitServer, resolver: Resolver) -> None:
    await failure_of(resolver, template_at(host.url + "o/none"))
    assert host.count() == 1


# Repositories in folders


def folder(repository: Repository, ref: str | None = None) -> Template:
    return template_at(f"file://{repository.directory}", ref=ref)


async def test_a_folder_is_looked_up_without_the_network(
    host: GitServer, resolver: Resolver, repository: Repository
) -> None:
    assert await resolver.resolve(folder(repository), Deadline(60)) == repository.tip()
    assert host.requests == []


@pytest.mark.parametrize("ref", ["main", "v1", "v2"])
async def test_in_a_folder_refs_are_matched_as_exactly(resolver: Resolver, repository: Repository, ref: str) -> None:
    main = repository.tip()
    await repository.tag("v1")
    await repository.tag("v2", annotated=True)
    for name in (f"feature/{ref}", f"feature/refs/heads/{ref}"):
        await repository.commit({"x": name}, branch=name)
    assert await resolver.resolve(folder(repository, ref), Deadline(60)) == main


@pytest.mark.parametrize("ref", [None, "v9"])
async def test_in_a_folder_an_empty_repository_has_no_ref(host: GitServer, resolver: Resolver, ref: str | None) -> None:
    assert await code_of(resolver, folder(await host.create("o/empty"), ref)) == "template_ref_missing"


async def test_a_folder_without_repository_is_missing(resolver: Resolver, tmp_path: Path) -> None:
    assert await code_of(resolver, template_at(f"file://{tmp_path}/none")) == "template_repo_missing"


async def test_a_folder_of_another_user_is_read(resolver: Resolver, repository: Repository) -> None:
    if os.geteuid() == 0:  # nobody else can give files away
        for path in [repository.directory, *repository.directory.rglob("*")]:
            os.chown(path, 1000, 1000)
    assert await resolver.resolve(folder(repository), Deadline(60)) == repository.tip()


async def test_without_git_a_folder_is_no_source(
    http: httpx.AsyncClient, access: GitAccess, scope: TaskScope, repository: Repository
) -> None:
    resolver = Resolver(http=http, access=replace(access, passed_on={"PATH": "/nowhere"}), scope=scope)
    with pytest.raises(UnavailableError) as caught:
        await resolver.resolve(folder(repository), Deadline(60))
    assert caught.value.code == "tool_missing"


# The client


async def test_the_client_keeps_no_cookie(
    host: GitServer, http: httpx.AsyncClient, resolver: Resolver, template: Template
) -> None:
    fault = host.faults.answer(404, headers={"Set-Cookie": "session=1; Path=/"})
    await code_of(resolver, template)
    host.faults.remove(fault)
    await resolver.resolve(template, Deadline(60))
    assert [request.headers.get("Cookie") for request in host.requests] == [None, None]


async def test_a_client_of_others_that_follows_redirects_does_not_follow_them_here(
    host: GitServer,
    elsewhere: GitServer,
    access: GitAccess,
    scope: TaskScope,
    template: Template,
) -> None:
    host.faults.redirect(elsewhere.url + "o/n")
    async with httpx.AsyncClient(follow_redirects=True, auth=("user", "password")) as client:
        await code_of(Resolver(http=client, access=access, scope=scope), template)
    assert ([request.headers.get("Authorization") for request in host.requests], elsewhere.requests) == ([None], [])


async def test_certificates_that_cannot_be_read_are_a_wrong_setting(access: GitAccess, tmp_path: Path) -> None:
    broken = replace(access, passed_on={"SSL_CERT_FILE": str(tmp_path / "none.pem")})
    with pytest.raises(WorkspaceServerError) as caught:
        async with open_http_client(broken):
            pass
    assert caught.value.code == "invalid_setting"
