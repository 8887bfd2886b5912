"""Which build is wanted: by the repository's word, or offline by what was built last."""

import os
from dataclasses import replace

import httpx
import pytest

from support.engine import Engine as Api
from support.git_repository import Repository
from support.git_server import GitServer
from workspace_server.engine import Engine
from workspace_server.errors import SourceError
from workspace_server.git import GitAccess, Resolver
from workspace_server.images import LocalBuildSource
from workspace_server.images.wanted import WantedBuild, WantedBuilds
from workspace_server.model import names
from workspace_server.model.repository import RepositoryUrl
from workspace_server.runtimes import Template

from .conftest import Server
from .making import identity, labels_of, load_image, made_image

pytestmark = pytest.mark.engine

SOURCE = LocalBuildSource(platform="linux/amd64")


@pytest.fixture
def offline(server: Server, http: httpx.AsyncClient, access: GitAccess) -> WantedBuilds:
    resolver = Resolver(http=http, access=replace(access, offline=True), scope=server.scope)
    return WantedBuilds(engine=server.engine, resolver=resolver, ledger=server.ledger)


async def test_the_repositorys_commit_is_wanted(server: Server, template: Template, repository: Repository) -> None:
    assert await server.wanted.of(template, SOURCE) == WantedBuild(identity=identity(template, repository.tip()))


async def test_without_a_platform_the_engines_own_is_wanted(server: Server, template: Template) -> None:
    wanted = await server.wanted.of(template, LocalBuildSource(platform=None))

    assert wanted.identity.platform == (await server.engine.info()).platform


async def test_offline_the_image_that_was_built_last_is_wanted_and_stale(
    api: Api, server: Server, offline: WantedBuilds, *, template: Template, git_host: GitServer
) -> None:
    for number in (2, 3, 1):
        await made_image(api, server.ledger, identity(template, f"{number}" * 40))

    assert await offline.of(template, SOURCE) == WantedBuild(identity=identity(template, "1" * 40), stale=True)
    assert git_host.requests == []


async def test_offline_a_use_does_not_make_an_image_newer(
    api: Api, server: Server, offline: WantedBuilds, template: Template
) -> None:
    await made_image(api, server.ledger, identity(template, "1" * 40))
    last = await made_image(api, server.ledger, identity(template, "2" * 40))
    os.utime(server.ledger._file(last), (0, 0))  # the other one was used since

    assert (await offline.of(template, SOURCE)).identity.commit == "2" * 40


async def test_offline_images_of_others_are_not_wanted(
    api: Api, server: Server, offline: WantedBuilds, template: Template
) -> None:
    """Of another source, another platform, another runtime of the same source, with forged labels, with a child's."""
    fork = replace(template, url=RepositoryUrl.parse(f"{template.url}-fork"))
    await made_image(api, server.ledger, identity(fork, "1" * 40))
    await made_image(api, server.ledger, identity(template, "2" * 40, "linux/arm64"))
    twin = await made_image(api, server.ledger, identity(replace(template, runtime=f"{template.runtime}-2"), "3" * 40))
    await load_image(api, labels=labels_of(identity(template, "4" * 40)))
    child = await load_image(api, labels=labels_of(identity(template, "5" * 40)))
    server.ledger.note_made(child, identity(template, "6" * 40).build_id)
    try:
        with pytest.raises(SourceError) as caught:
            await offline.of(template, SOURCE)
    finally:
        await server.engine.remove_image(twin, force=True)

    assert caught.value.as_dict() == {
        "error": f"local-build mode: offline, and no image of {template.runtime} was built here from {template.url} for"
        " linux/amd64",
        "code": "git_offline",
        "hint": "unset MOLECULE_LOCAL_BUILD_OFFLINE where the Git host can be reached, and build it once",
    }


async def test_offline_a_pinned_commit_is_wanted_and_not_stale(offline: WantedBuilds, template: Template) -> None:
    pinned = replace(template, ref="a" * 40)

    assert await offline.of(pinned, SOURCE) == WantedBuild(identity=identity(pinned, "a" * 40), stale=False)


async def test_offline_a_repository_in_a_folder_is_asked(
    offline: WantedBuilds, template: Template, repository: Repository
) -> None:
    here = replace(template, url=RepositoryUrl.parse(f"file://{repository.directory}"))

    assert await offline.of(here, SOURCE) == WantedBuild(identity=identity(here, repository.tip()), stale=False)


async def test_the_label_of_the_runtime_is_what_images_are_found_by(
    engine: Engine, api: Api, server: Server, template: Template
) -> None:
    await made_image(api, server.ledger, identity(template))

    assert len(await engine.images({names.RUNTIME: template.runtime})) == 1
