import asyncio
import os
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from support.git_repository import Repository
from support.git_server import GitServer
from workspace_server.concurrency import Deadline, TaskScope
from workspace_server.errors import (
    UnavailableError,
)
from workspace_server.git import (
    GitAccess,
    Resolver,
)
from workspace_server.runtimes import Template

from .conftest import FILES, look_up_failure, template_at

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
    empty = await host.create("o/empty")
    assert (await look_up_failure(resolver, folder(empty, ref))).code == "template_ref_missing"


async def test_a_folder_without_repository_is_missing(resolver: Resolver, tmp_path: Path) -> None:
    assert (await look_up_failure(resolver, template_at(f"file://{tmp_path}/none"))).code == "template_repo_missing"


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
    assert caught.value.message == "git is not installed, and it moves the template's files from its repository"
