"""Images of a registry: pulled when they are missing or always, run by id, never built."""

import pytest

from support.engine import Engine as Api
from support.engine_proxy import EngineProxy
from support.git_server import GitServer
from support.registry import Registry
from workspace_server.engine import Engine
from workspace_server.errors import InvalidRequestError, SourceError
from workspace_server.images import EnsuredImage, ImageService
from workspace_server.images.source import PullPolicy
from workspace_server.model import names
from workspace_server.model.workspace import ImageOnRow

from .conftest import Heard, Server, ServerOf
from .making import load_image, template
from .pulling import Shelf

pytestmark = pytest.mark.engine

ALWAYS = PullPolicy.ALWAYS


@pytest.fixture
def shelf(hub: Registry, runtime: str) -> Shelf:
    return Shelf(hub=hub, runtime=runtime, host=hub.host)


@pytest.fixture
def server(server_of: ServerOf, proxied: Engine) -> Server:
    return server_of(engine=proxied)


@pytest.fixture
def service(server: Server, shelf: Shelf) -> ImageService:
    return server.service(template(), source=shelf.source())


def pulls(proxy: EngineProxy) -> int:
    return proxy.count("POST", "/images/create")


async def present(api: Api, shelf: Shelf, platform: str = "linux/amd64") -> str:
    """An image on the engine that was loaded, and that no registry has."""
    return await load_image(api, labels={names.RUNTIME: shelf.runtime}, tags=(shelf.reference,), platform=platform)


async def test_an_image_that_is_there_is_not_pulled(
    api: Api, service: ImageService, proxy: EngineProxy, shelf: Shelf
) -> None:
    image = await present(api, shelf)
    heard = Heard()

    assert await service.ensure("hermes", heard) == EnsuredImage(id=image, source="registry", platform=None)
    assert (pulls(proxy), heard.records) == (0, [])


async def test_an_image_that_is_missing_is_pulled_and_known_by_its_digest(
    service: ImageService, server: Server, proxy: EngineProxy, shelf: Shelf
) -> None:
    image = await shelf.put()
    heard = Heard()
    ensured = await service.ensure("hermes", heard)

    assert ensured == EnsuredImage(
        id=image.id, source="registry", platform=None, digest=image.digest, build=server.book.newest()[0].id
    )
    assert (pulls(proxy), heard.records) == (1, [ensured.build])


async def test_it_is_pulled_once_and_known_ever_after(service: ImageService, proxy: EngineProxy, shelf: Shelf) -> None:
    image = await shelf.put()
    await service.ensure("hermes", Heard())
    await shelf.put()  # a newer one, which nobody asked for

    assert await service.ensure("hermes", Heard()) == EnsuredImage(
        id=image.id, source="registry", platform=None, digest=image.digest
    )
    assert pulls(proxy) == 1


async def test_when_always_is_asked_for_the_newest_is_run(server: Server, proxy: EngineProxy, shelf: Shelf) -> None:
    service = server.service(template(), source=shelf.source(pull=ALWAYS))
    await shelf.put()
    await service.ensure("hermes", Heard())
    newer = await shelf.put()
    ensured = await service.ensure("hermes", Heard())

    assert ((ensured.id, ensured.digest), pulls(proxy)) == ((newer.id, newer.digest), 2)
    assert [record.reason for record in server.book.newest()] == ["always checked"] * 2


async def test_when_always_is_asked_for_an_old_image_is_not_run_in_place_of_a_new_one(
    api: Api, server: Server, shelf: Shelf
) -> None:
    await present(api, shelf)

    with pytest.raises(SourceError) as caught:
        await server.service(template(), source=shelf.source(pull=ALWAYS)).ensure("hermes", Heard())
    assert caught.value.code == "image_not_found"


@pytest.mark.parametrize("policy", PullPolicy)
async def test_a_start_by_itself_asks_no_registry_and_runs_what_ran_before(
    server: Server, proxy: EngineProxy, shelf: Shelf, policy: PullPolicy
) -> None:
    image = await shelf.put()
    service = server.service(template(), source=shelf.source("linux/amd64", policy))
    before = await service.ensure("hermes", Heard())
    await shelf.put()  # a newer one
    known = ImageOnRow(
        source="registry", id=before.id, digest=before.digest, build=before.build, platform="linux/amd64"
    )

    assert await service.ensure_again("hermes", known, Heard()) == before
    assert (before.digest, pulls(proxy)) == (image.digest, 1)


async def test_an_image_that_ran_before_and_is_gone_is_pulled_again_and_no_newer_one(
    api: Api, service: ImageService, shelf: Shelf
) -> None:
    image = await shelf.put()
    before = await service.ensure("hermes", Heard())
    await shelf.put()  # a newer one
    await api.call("DELETE", f"/images/{image.id}", force="true")
    known = ImageOnRow(source="registry", id=before.id, digest=before.digest)
    ensured = await service.ensure_again("hermes", known, Heard())

    assert (ensured.id, ensured.digest, ensured.build != before.build) == (image.id, image.digest, True)


async def test_an_image_that_ran_before_and_is_nowhere_any_more_is_not_replaced_by_another(
    service: ImageService, shelf: Shelf
) -> None:
    await shelf.put()
    known = ImageOnRow(source="registry", id="sha256:" + "0" * 64, digest="sha256:" + "1" * 64)

    with pytest.raises(SourceError, match=f"has no image .*@sha256:{'1' * 64}") as caught:
        await service.ensure_again("hermes", known, Heard())
    assert (caught.value.code, "a restart of the workspace runs the newest" in caught.value.hint) == (
        "image_not_found",
        True,
    )


async def test_what_no_registry_had_is_looked_for_as_if_it_were_new(service: ImageService, shelf: Shelf) -> None:
    image = await shelf.put()
    known = ImageOnRow(source="local-build", id="sha256:" + "0" * 64, commit="0" * 40)

    assert (await service.ensure_again("hermes", known, Heard())).id == image.id


async def test_an_image_of_another_platform_is_pulled_anew(
    api: Api, server: Server, proxy: EngineProxy, shelf: Shelf
) -> None:
    await present(api, shelf, "linux/arm64")
    image = await shelf.put(shelf.image("linux/amd64"), shelf.image("linux/arm64"))
    ensured = await server.service(template(), source=shelf.source("linux/amd64")).ensure("hermes", Heard())

    assert (ensured.id, ensured.platform, pulls(proxy)) == (image.id, "linux/amd64", 1)


async def test_no_failure_leads_anywhere_else(
    service: ImageService, server: Server, git_host: GitServer, proxy: EngineProxy, shelf: Shelf
) -> None:
    with pytest.raises(SourceError) as caught:
        await service.ensure("hermes", Heard())

    assert (caught.value.code, shelf.reference in caught.value.message) == ("image_not_found", True)
    assert (git_host.requests, pulls(proxy), proxy.count("POST", "/build")) == ([], 1, 0)
    assert [record.image for record in server.book.newest()] == [shelf.reference]


async def test_a_runtime_that_is_not_in_the_table_is_never_pulled(service: ImageService, proxy: EngineProxy) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        await service.ensure("smolagents", Heard())

    assert (caught.value.code, proxy.calls) == ("unknown_runtime", [])


async def test_a_pull_is_cancelled_through_the_same_door_as_a_build(
    service: ImageService, server: Server, shelf: Shelf
) -> None:
    await shelf.put()
    ensured = await service.ensure("hermes", Heard())
    assert ensured.build is not None

    with pytest.raises(Exception, match=f"the pull {ensured.build} is not under way in this server"):
        await service.cancel_build(ensured.build, "the owner")


async def test_a_registry_image_has_no_template_of_its_own(
    service: ImageService, shelf: Shelf, git_host: GitServer
) -> None:
    await shelf.put()
    image = await service.ensure("hermes", Heard())

    assert (await service.template_config("hermes", image), git_host.requests) == (None, [])
