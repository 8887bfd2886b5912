"""``ensure``: a runtime's name goes in, the id of an image on the engine comes out, from the one configured source."""

import asyncio

import pytest
from structlog.typing import EventDict

from support.engine import Engine as Api
from support.engine_proxy import EngineProxy
from support.git_objects import symlink
from support.git_repository import Repository
from support.git_server import GitServer
from workspace_server.engine import Engine
from workspace_server.errors import InvalidRequestError, SourceError, TemplateError, UnavailableError
from workspace_server.git import CheckoutStore
from workspace_server.images import EnsuredImage, ImageService
from workspace_server.model.build import BuildState
from workspace_server.runtimes import Template

from .conftest import FILES, Heard, Server, ServerOf
from .making import identity, made_image

pytestmark = pytest.mark.engine


@pytest.fixture
def service(server: Server, template: Template) -> ImageService:
    return server.service(template)


async def ensured(service: ImageService, runtime: str) -> EnsuredImage:
    return await service.ensure(runtime, Heard())


async def there_already(
    api: Api, server: Server, repository: Repository, template: Template, commit: str | None = None
) -> str:
    """An image as an earlier build of the commit (the tip) left it."""
    build = identity(template, commit or repository.tip())
    return await made_image(api, server.ledger, build, f"{build.repository}:{build.tag}")


async def test_an_image_is_built_when_there_is_none(
    service: ImageService, server: Server, repository: Repository, template: Template
) -> None:
    heard = Heard()
    image = await service.ensure(template.runtime, heard)

    (record,) = server.book.newest()
    made = server.ledger.find(image.id)
    assert image == EnsuredImage(
        id=record.image_id or "",
        source="local-build",
        platform="linux/amd64",
        commit=repository.tip(),
        build_id=identity(template, repository.tip()).build_id,
        build=record.id,
        built_at=made.made_at if made else None,
        stale=False,
    )
    assert heard.records == [record.id]


async def test_an_image_that_is_there_needs_no_clone_and_no_build(
    api: Api, service: ImageService, server: Server, *, repository: Repository, template: Template, git_host: GitServer
) -> None:
    present = await there_already(api, server, repository, template)
    heard = Heard()
    image = await service.ensure(template.runtime, heard)

    assert (image.id, image.build, heard.records) == (present, None, [])
    assert (server.book.newest(), git_host.pack_requests(), len(git_host.requests)) == ([], [], 1)


async def test_the_next_workspace_runs_the_newest_commit_and_the_old_image_stays(
    api: Api, service: ImageService, server: Server, repository: Repository, template: Template
) -> None:
    old = await there_already(api, server, repository, template)
    newest = await repository.commit({"content": "y"})
    image = await ensured(service, template.runtime)

    assert (image.commit, image.id != old, await server.engine.image(old) is not None) == (newest, True, True)
    assert server.book.newest()[0].reason.startswith("commit moved ")


async def test_an_image_that_was_removed_is_built_again_and_said_to_have_been(
    service: ImageService, server: Server, template: Template
) -> None:
    first = await ensured(service, template.runtime)
    await server.engine.remove_image(first.id, force=True)
    await ensured(service, template.runtime)

    assert server.book.newest()[0].reason == "image was removed"


async def test_an_image_that_lost_its_tag_gets_it_back(
    api: Api, service: ImageService, server: Server, repository: Repository, template: Template
) -> None:
    build = identity(template, repository.tip())
    left_untagged = await made_image(api, server.ledger, build)  # killed between build and tag
    await ensured(service, template.runtime)

    tagged = await server.engine.image(f"{build.repository}:{build.tag}")
    assert tagged is not None
    assert tagged.id == left_untagged


async def test_without_a_platform_the_engines_own_is_built(
    api: Api, server: Server, repository: Repository, template: Template
) -> None:
    native = (await server.engine.info()).platform
    build = identity(template, repository.tip(), native)
    present = await made_image(api, server.ledger, build)

    image = await ensured(server.service(template, platform=None), template.runtime)
    assert (image.id, image.platform) == (present, native)


async def test_a_template_that_moves_during_its_fetch_is_resolved_again(
    service: ImageService, server: Server, repository: Repository, template: Template
) -> None:
    repository.faults.refuse_unadvertised()
    repository.faults.move_head_after(1, lambda: repository.commit({"content": "y"}))

    image = await ensured(service, template.runtime)

    assert image.commit == repository.tip()
    assert [record.state for record in server.book.newest()] == [BuildState.SUCCEEDED, BuildState.CANCELLED]


async def test_a_template_that_moves_at_every_fetch_is_given_up_after_the_third(
    service: ImageService, server: Server, repository: Repository, template: Template, git_host: GitServer
) -> None:
    repository.faults.refuse_unadvertised()

    async def move() -> None:
        repository.faults.move_head_after(1, move)
        await repository.commit({"content": str(len(git_host.requests))})

    await move()
    with pytest.raises(SourceError) as caught:
        await ensured(service, template.runtime)

    assert (caught.value.code, len(server.book.newest())) == ("commit_moved", 3)
    assert caught.value.message == (
        f"local-build mode: the template of {template.runtime}, {template.url}, moved 3 times during its fetch, and its"
        " host hands out no older commits"
    )


async def test_a_runtime_that_is_not_in_the_table_is_refused_before_any_network(
    service: ImageService, proxy: EngineProxy, git_host: GitServer, template: Template
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        await ensured(service, "smolagents")

    assert (caught.value.code, template.runtime in caught.value.hint) == ("unknown_runtime", True)
    assert (git_host.requests, proxy.calls) == ([], [])


async def test_a_git_host_that_is_away_is_the_error_and_no_registry_is_asked(
    server_of: ServerOf, proxy: EngineProxy, proxied: Engine, template: Template, git_host: GitServer
) -> None:
    await git_host.stop()

    with pytest.raises(SourceError) as caught:
        await ensured(server_of(engine=proxied).service(template), template.runtime)

    assert caught.value.message == (
        f"local-build mode: Gitea unreachable at {git_host.url.removesuffix('/')} — verify network or set"
        " MOLECULE_IMAGE_REGISTRY to a reachable registry"
    )
    assert proxy.count("POST", "/images/create") == 0


async def test_an_engine_that_is_away_is_the_error_and_no_build_begins(
    server_of: ServerOf, proxy: EngineProxy, proxied: Engine, template: Template, git_host: GitServer
) -> None:
    server = server_of(engine=proxied)
    await proxy.down()

    with pytest.raises(UnavailableError) as caught:
        await ensured(server.service(template), template.runtime)

    assert (caught.value.code, server.book.newest(), git_host.pack_requests()) == ("engine_unavailable", [], [])


async def test_a_missing_image_is_logged_with_its_reason(
    service: ImageService, template: Template, logs: list[EventDict]
) -> None:
    await ensured(service, template.runtime)

    missing = [line for line in logs if line["event"] == "local-build: image missing"]
    assert [(line["runtime"], line["reason"]) for line in missing] == [(template.runtime, "no image")]


# The template's own config.yaml


async def test_the_templates_config_is_that_of_the_images_commit(
    api: Api, service: ImageService, repository: Repository, template: Template, server: Server
) -> None:
    await there_already(api, server, repository, template)
    image = await ensured(service, template.runtime)
    await repository.commit({"config.yaml": "name: Newer\n"})

    assert await service.template_config(template.runtime, image) == FILES["config.yaml"].encode()


async def test_a_template_without_a_config_has_none(
    api: Api, service: ImageService, repository: Repository, template: Template, server: Server
) -> None:
    await repository.commit({"config.yaml": None})
    await there_already(api, server, repository, template)

    assert await service.template_config(template.runtime, await ensured(service, template.runtime)) is None


async def test_the_second_workspace_of_a_commit_reads_no_checkout(
    api: Api, server: Server, repository: Repository, *, template: Template, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = server.service(template)
    await there_already(api, server, repository, template)
    image = await ensured(service, template.runtime)
    first = await service.template_config(template.runtime, image)
    monkeypatch.delattr(CheckoutStore, "checkout")

    assert await service.template_config(template.runtime, image) == first


async def test_who_waited_for_a_build_reads_no_checkout_after_it(
    service: ImageService, repository: Repository, template: Template, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = await ensured(service, template.runtime)
    monkeypatch.delattr(CheckoutStore, "checkout")

    assert await service.template_config(template.runtime, image) == FILES["config.yaml"].encode()


async def test_a_config_that_is_none_fails_whoever_asks_for_it_and_no_build(
    service: ImageService, repository: Repository, template: Template
) -> None:
    await repository.commit({"config.yaml": symlink("../outside")})
    image = await ensured(service, template.runtime)

    with pytest.raises(TemplateError, match=r"config\.yaml that is not a regular file"):
        await service.template_config(template.runtime, image)


async def test_what_is_remembered_does_not_grow_with_the_commits(
    api: Api, service: ImageService, repository: Repository, template: Template, server: Server
) -> None:
    for n in range(3):
        await repository.commit({"config.yaml": f"name: {n}\n"})
        await there_already(api, server, repository, template)
        image = await ensured(service, template.runtime)
        assert await service.template_config(template.runtime, image) == f"name: {n}\n".encode()

    assert len(service._files._configs) == 1


async def test_equal_requests_at_once_all_get_the_config(
    api: Api, service: ImageService, repository: Repository, template: Template, server: Server
) -> None:
    await there_already(api, server, repository, template)
    image = await ensured(service, template.runtime)

    found = await asyncio.gather(*(service.template_config(template.runtime, image) for _ in range(5)))
    assert set(found) == {FILES["config.yaml"].encode()}
