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
