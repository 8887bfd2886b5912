"""Images of a registry: pulled when they are missing, run by id, never built."""

import secrets
from urllib.parse import parse_qs

import pytest

from support.engine import Engine as Api
from support.engine_proxy import EngineProxy
from support.git_server import GitServer
from workspace_server.engine import Engine
from workspace_server.errors import DeadlineError, InvalidRequestError, SourceError
from workspace_server.images import EnsuredImage, ImageService, RegistrySource
from workspace_server.images.registry import RegistryImages
from workspace_server.model import names
from workspace_server.model.reference import RegistryPrefix
from workspace_server.runtimes import Runtimes

from .conftest import Heard, ServerOf
from .making import load_image, template

pytestmark = pytest.mark.engine

NOBODY = "127.0.0.1:1"  # refuses connections


@pytest.fixture
def source(runtime: str) -> RegistrySource:
    return RegistrySource(prefix=RegistryPrefix.parse(f"{NOBODY}/{runtime}"), platform=None)


@pytest.fixture
def reference(source: RegistrySource) -> str:
    return source.prefix.image("hermes")


@pytest.fixture
def service(server_of: ServerOf, proxied: Engine, source: RegistrySource) -> ImageService:
    server = server_of(engine=proxied)
    return ImageService(
        source=source,
        runtimes=Runtimes({"hermes": template()}),
        engine=proxied,
        wanted=server.wanted,
        files=server.files,
        builds=server.builds,
        ledger=server.ledger,
    )


async def present(api: Api, runtime: str, reference: str, platform: str = "linux/amd64") -> str:
    labels = {names.RUNTIME: runtime, "unique": secrets.token_hex(4)}
    return await load_image(api, labels=labels, tags=(reference,), platform=platform)


async def test_an_image_that_is_there_is_not_pulled(
    api: Api, service: ImageService, proxy: EngineProxy, runtime: str, reference: str
) -> None:
    image = await present(api, runtime, reference)

    ensured = await service.ensure("hermes", Heard())

    assert ensured == EnsuredImage(id=image, source="registry", platform=None)
    assert proxy.count("POST", "/images/create") == 0


async def test_a_registry_that_is_away_is_the_error_and_nothing_is_built(
    service: ImageService, git_host: GitServer, reference: str
) -> None:
    with pytest.raises(SourceError) as caught:
        await service.ensure("hermes", Heard())

    assert (caught.value.code, reference in caught.value.message) == ("registry_unreachable", True)
    assert (git_host.requests, service._builds._book.newest()) == ([], [])


async def test_an_image_of_another_platform_is_pulled_anew(
    api: Api, proxied: Engine, proxy: EngineProxy, *, source: RegistrySource, runtime: str, reference: str
) -> None:
    await present(api, runtime, reference, "linux/arm64")
    wanted = RegistrySource(prefix=source.prefix, platform="linux/amd64")

    with pytest.raises(SourceError):
        await RegistryImages(proxied).ensure(wanted, "hermes")

    (pull,) = (call for call in proxy.calls if call.path == "/images/create")
    assert parse_qs(pull.query) == {"fromImage": [reference], "platform": ["linux/amd64"]}


async def test_a_pull_that_ended_well_and_left_nothing_is_an_error(
    proxied: Engine, source: RegistrySource, reference: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def pull(_: Engine, reference: str, platform: str | None) -> None:
        """A pull whose image is pruned in the same moment."""

    monkeypatch.setattr(Engine, "pull", pull)

    with pytest.raises(SourceError) as caught:
        await RegistryImages(proxied).ensure(source, "hermes")

    assert (caught.value.code, reference in caught.value.message) == ("image_not_found", True)


async def test_a_pull_has_a_clock_of_its_own(
    proxied: Engine, proxy: EngineProxy, source: RegistrySource, reference: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workspace_server.images.registry._PULL_SECONDS", 0.05)
    proxy.faults.hold("POST", "/images/create")

    with pytest.raises(DeadlineError, match=f"pulling {reference} took longer"):
        await RegistryImages(proxied).ensure(source, "hermes")


async def test_a_runtime_that_is_not_in_the_table_is_never_pulled(service: ImageService, proxy: EngineProxy) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        await service.ensure("smolagents", Heard())

    assert (caught.value.code, proxy.calls) == ("unknown_runtime", [])


async def test_a_registry_image_has_no_template_of_its_own(
    api: Api, service: ImageService, runtime: str, reference: str, git_host: GitServer
) -> None:
    await present(api, runtime, reference)
    image = await service.ensure("hermes", Heard())

    assert (await service.template_config("hermes", image), git_host.requests) == (None, [])
