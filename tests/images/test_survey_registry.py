"""What a registry has for a runtime, asked through the engine; nothing is pulled for it."""

import asyncio

import pytest

from support.engine import Engine as Api
from support.engine_proxy import EngineProxy
from support.images import PackedImage
from support.registry import Registry
from workspace_server.engine import Engine
from workspace_server.images import RegistrySource
from workspace_server.images.source import PullPolicy
from workspace_server.images.survey import RegistryImage, RuntimeInfo, Survey
from workspace_server.model import names
from workspace_server.runtimes import Runtimes

from .conftest import Heard, Server, ServerOf
from .making import template
from .pulling import Shelf

pytestmark = pytest.mark.engine


@pytest.fixture
def shelf(hub: Registry, runtime: str) -> Shelf:
    return Shelf(hub=hub, runtime=runtime, host=hub.host)


@pytest.fixture
def server(server_of: ServerOf, proxied: Engine) -> Server:
    return server_of(engine=proxied)


async def asked(server: Server, source: RegistrySource) -> RuntimeInfo:
    survey = Survey(
        source=source,
        runtimes=Runtimes({"hermes": template()}),
        engine=server.engine,
        resolver=server.resolver,
        book=server.book,
        ledger=server.ledger,
        wanted=server.wanted,
        registry=server.registry,
        known_failure=server.builds.known_failure,
    )
    (info,) = await survey.runtimes()
    return info


async def pulled(server: Server, shelf: Shelf) -> PackedImage:
    """An image that is in the registry and on the engine."""
    image = await shelf.put()
    await server.service(template(), source=shelf.source()).ensure("hermes", Heard())
    return image


def of(info: RuntimeInfo) -> RegistryImage:
    assert isinstance(info.image, RegistryImage)
    return info.image


async def test_what_is_in_the_registry_can_be_provisioned_and_is_not_pulled(
    server: Server, shelf: Shelf, proxy: EngineProxy
) -> None:
    image = await shelf.put()

    assert await asked(server, shelf.source()) == RuntimeInfo(
        name="hermes", source="registry", template=None, head=image.digest
    )
    assert proxy.count("POST", "/images/create") == 0


async def test_what_is_not_in_the_registry_says_so(server: Server, shelf: Shelf) -> None:
    info = await asked(server, shelf.source())

    assert info.reason is not None
    assert (info.reason.code, info.head, info.image) == ("image_not_found", None, None)


async def test_an_image_that_is_here_is_shown_with_its_digest_and_who_uses_it(
    server: Server, shelf: Shelf, api: Api
) -> None:
    image = await pulled(server, shelf)
    labels = {names.MANAGED: "true", names.WORKSPACE_ID: "w1"}
    body = {"Image": image.id, "Cmd": ["x"], "Labels": labels}
    container = (await api.call("POST", "/containers/create", body))["Id"]
    try:
        info = await asked(server, shelf.source())
    finally:
        await api.call("DELETE", f"/containers/{container}")

    found = of(info)
    assert (found.image.id, found.tag, found.digest, found.in_use_by) == (
        image.id,
        shelf.reference,
        image.digest,
        ("w1",),
    )
    assert (info.head, info.stale, info.reason) == (image.digest, False, None)


async def test_a_newer_image_in_the_registry_makes_the_one_here_stale(server: Server, shelf: Shelf) -> None:
    image = await pulled(server, shelf)
    newer = await shelf.put()
    info = await asked(server, shelf.source())

    assert (of(info).digest, info.head, info.stale, info.reason) == (image.digest, newer.digest, True, None)


@pytest.mark.parametrize(("policy", "code"), [(PullPolicy.MISSING, None), (PullPolicy.ALWAYS, "image_not_found")])
async def test_an_image_that_is_here_is_enough_unless_it_is_always_checked(
    server: Server, shelf: Shelf, policy: PullPolicy, code: str | None
) -> None:
    image = await pulled(server, shelf)
    shelf.hub.forget(shelf.repository)
    info = await asked(server, shelf.source(pull=policy))

    assert (of(info).image.id, info.stale, info.reason and info.reason.code) == (image.id, True, code)


async def test_an_image_for_another_platform_says_so(server: Server, shelf: Shelf) -> None:
    await shelf.put(shelf.image("linux/arm64"), shelf.image("linux/arm/v7"))
    info = await asked(server, shelf.source("linux/amd64"))

    assert info.reason is not None
    assert (info.reason.code, info.reason.message.endswith("it is for linux/arm64, linux/arm/v7")) == (
        "image_platform_mismatch",
        True,
    )


async def test_a_registry_that_does_not_answer_is_not_waited_for(
    server: Server, shelf: Shelf, proxy: EngineProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workspace_server.images.registry._ASK_SECONDS", 0.1)
    proxy.faults.hold("GET", "/distribution/.*")
    async with asyncio.timeout(20):
        info = await asked(server, shelf.source())

    assert info.reason is not None
    assert (info.reason.code, shelf.reference in info.reason.message) == ("deadline_exceeded", True)
