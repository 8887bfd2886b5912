"""Images on a real engine."""

from collections.abc import Mapping

import pytest

from workspace_server.engine import Engine
from workspace_server.errors import ConflictError, NotFoundError
from workspace_server.model.container import ContainerSpec, ImageInfo
from workspace_server.model.names import INSTANCE


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
