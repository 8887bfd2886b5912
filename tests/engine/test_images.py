"""Images on a real engine, and a registry it pulls from."""

from collections.abc import AsyncIterator, Mapping

import pytest

from support.engine_proxy import EngineProxy
from workspace_server.engine import Engine, PullProgress
from workspace_server.errors import (
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    SourceError,
    UnavailableError,
)
from workspace_server.model.container import ContainerSpec, ImageInfo
from workspace_server.model.names import INSTANCE

from .registry import Registry, registry


@pytest.fixture
async def hub(labels: Mapping[str, str]) -> AsyncIterator[Registry]:
    async with registry({**labels, "hello": "1"}) as served:
        yield served


@pytest.mark.engine
async def test_an_image_is_found_by_id_with_its_labels_and_platform(
    engine: Engine, agent_id: str, labels: Mapping[str, str]
) -> None:
    image = await engine.image(agent_id)

    assert image is not None
    assert (image.id, image.labels.items() >= labels.items()) == (agent_id, True)
    assert image.platform == (await engine.info()).platform


@pytest.mark.engine
async def test_no_image_is_none(engine: Engine) -> None:
    assert await engine.image("none-such:1") is None


@pytest.mark.engine
async def test_images_are_found_by_all_of_the_labels(engine: Engine, agent: ImageInfo, instance: str) -> None:
    assert agent in await engine.images({INSTANCE: instance, "molecule.platform.managed": "true"})


@pytest.mark.engine
async def test_the_labels_of_images_come_without_the_images(
    engine: Engine, agent: ImageInfo, instance: str, labels: Mapping[str, str]
) -> None:
    assert dict(agent.labels) in await engine.labels_of_images(labels)
    assert await engine.labels_of_images({INSTANCE: instance, "colour": "none"}) == []


@pytest.mark.engine
async def test_an_image_that_lacks_one_of_the_labels_is_not_found(engine: Engine, instance: str) -> None:
    assert await engine.images({INSTANCE: instance, "colour": "none"}) == []


@pytest.mark.engine
async def test_a_tag_leads_to_the_image(engine: Engine, agent: ImageInfo, instance: str) -> None:
    await engine.tag(agent.id, f"molecule-local/{instance}", "abc")

    found = await engine.image(f"molecule-local/{instance}:abc")
    assert found is not None
    assert (found.id, f"molecule-local/{instance}:abc" in found.tags) == (agent.id, True)


@pytest.mark.engine
async def test_only_an_image_can_be_tagged(engine: Engine) -> None:
    with pytest.raises(NotFoundError):
        await engine.tag("sha256:" + "0" * 64, "molecule-local/none", "1")


@pytest.mark.engine
async def test_removing_a_tag_keeps_the_image_under_its_others(engine: Engine, agent: ImageInfo, instance: str) -> None:
    await engine.tag(agent.id, f"molecule-local/{instance}", "first")
    await engine.tag(agent.id, f"molecule-local/{instance}", "second")

    await engine.remove_image(f"molecule-local/{instance}:first")

    assert await engine.image(f"molecule-local/{instance}:first") is None
    assert await engine.image(f"molecule-local/{instance}:second") is not None


@pytest.mark.engine
async def test_removing_what_is_gone_is_no_error(engine: Engine) -> None:
    await engine.remove_image("none-such:1")


@pytest.mark.engine
async def test_the_image_of_a_container_is_not_removed(engine: Engine, spec: ContainerSpec) -> None:
    container_id = await engine.create_container(spec)
    await engine.start(container_id)

    with pytest.raises(ConflictError):
        await engine.remove_image(spec.image_id, force=True)


@pytest.mark.engine
async def test_an_image_is_pulled(engine: Engine, hub: Registry) -> None:
    await engine.pull(f"{hub.host}/hello:1", None)

    image = await engine.image(f"{hub.host}/hello:1")
    assert image is not None
    assert (image.labels["hello"], image.platform) == ("1", "linux/amd64")


@pytest.mark.engine
async def test_a_name_without_a_tag_is_the_latest(engine: Engine, hub: Registry) -> None:
    await engine.pull(f"{hub.host}/hello", None)

    assert await engine.image(f"{hub.host}/hello:latest") is not None


@pytest.mark.engine
async def test_the_progress_of_a_pull_is_told(engine: Engine, hub: Registry) -> None:
    told: list[PullProgress] = []

    await engine.pull(f"{hub.host}/hello:1", None, told.append)

    assert told[-1].status.startswith("Status: ")


@pytest.mark.engine
@pytest.mark.parametrize(("name", "code"), [("nothing", "image_not_found"), ("denied", "registry_denied")])
async def test_what_a_registry_refuses_is_its_own_error(engine: Engine, hub: Registry, name: str, code: str) -> None:
    with pytest.raises(SourceError, match=f"{hub.host}/{name}:1") as caught:
        await engine.pull(f"{hub.host}/{name}:1", None)

    assert caught.value.code == code


@pytest.mark.engine
async def test_a_registry_that_is_away_is_unreachable(engine: Engine) -> None:
    with pytest.raises(SourceError) as caught:
        await engine.pull("127.0.0.1:1/hello:1", None)

    assert caught.value.code == "registry_unreachable"


@pytest.mark.engine
async def test_a_failure_inside_the_stream_is_a_failure(engine: Engine, hub: Registry) -> None:
    hub.loses_layers = True

    with pytest.raises(SourceError):
        await engine.pull(f"{hub.host}/hello:1", None)


@pytest.mark.engine
async def test_a_stream_that_is_cut_off_is_no_success(proxy: EngineProxy, proxied: Engine, hub: Registry) -> None:
    proxy.faults.cut_off("POST", "/images/create", 40)

    with pytest.raises(UnavailableError):
        await proxied.pull(f"{hub.host}/hello:1", None)


@pytest.mark.engine
@pytest.mark.parametrize(
    "reference",
    ["molecule-local/workspace-template-hermes:latest", "registry.example.org/molecule-local/workspace-template-x"],
)
async def test_a_local_build_is_never_pulled(proxy: EngineProxy, proxied: Engine, reference: str) -> None:
    with pytest.raises(InvalidRequestError):
        await proxied.pull(reference, None)

    assert proxy.calls == []
