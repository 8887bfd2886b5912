import base64
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from support.git_repository import Repository
from support.git_server import GitServer
from workspace_server.concurrency import Deadline, TaskScope
from workspace_server.errors import (
    WorkspaceServerError,
)
from workspace_server.git import GitAccess, Resolver, open_http_client
from workspace_server.runtimes import Template

from .conftest import FILES, look_up_failure, template_at

BASIC = "Basic " + base64.b64encode(b"oauth2:s3cret").decode()


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
    assert (await look_up_failure(with_token, template)).code == "template_repo_missing"
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
    assert (await look_up_failure(resolver, template_at(host.url + "o/n"))).code == "git_unreachable"
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
    assert (await look_up_failure(resolver, template_at(host.url + "o/n"))).code == code
    assert host.count() == 1


# The client


async def test_the_client_keeps_no_cookie(
    host: GitServer, http: httpx.AsyncClient, resolver: Resolver, template: Template
) -> None:
    fault = host.faults.answer(404, headers={"Set-Cookie": "session=1; Path=/"})
    await look_up_failure(resolver, template)
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
        await look_up_failure(Resolver(http=client, access=access, scope=scope), template)
    assert ([request.headers.get("Authorization") for request in host.requests], elsewhere.requests) == ([None], [])


async def test_certificates_that_cannot_be_read_are_a_wrong_setting(access: GitAccess, tmp_path: Path) -> None:
    broken = replace(access, passed_on={"SSL_CERT_FILE": str(tmp_path / "none.pem")})
    with pytest.raises(WorkspaceServerError) as caught:
        async with open_http_client(broken):
            pass
    assert caught.value.code == "invalid_setting"
