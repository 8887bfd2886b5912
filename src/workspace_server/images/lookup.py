"""Is the image of a build on the engine? Answered by inspection, never from a record alone."""

from dataclasses import dataclass

from workspace_server.engine import Engine
from workspace_server.images.identity import BuildIdentity
from workspace_server.model import names
from workspace_server.model.container import ImageInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """The image is there."""

    image: ImageInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Miss:
    """The image must be built. ``reason`` is one of a few fixed words, ``detail`` what is behind it."""

    reason: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.reason} {self.detail}".rstrip()


async def look_up(engine: Engine, identity: BuildIdentity) -> Hit | Miss:
    """Inspect the expected tag; ask by label only when the tag is missing or is another image's."""
    tagged = await engine.image(f"{identity.repository}:{identity.tag}")
    if tagged is not None and _agrees(tagged, identity):
        return Hit(image=tagged)
    for image in await engine.images({names.BUILD_ID: identity.build_id}):
        if _agrees(image, identity):
            return Hit(image=image)
    if tagged is not None:
        return Miss(reason="labels disagree", detail=f"{identity.repository}:{identity.tag}")
    return await _reason(engine, identity)


def _agrees(image: ImageInfo, identity: BuildIdentity) -> bool:
    return image.labels.get(names.BUILD_ID) == identity.build_id and same_platform(image.platform, identity.platform)


def same_platform(found: str, wanted: str) -> bool:
    """Whether an image's platform is the wanted one; a variant counts only when it was asked for."""
    return found == wanted or found.startswith(f"{wanted}/")


async def _reason(engine: Engine, identity: BuildIdentity) -> Miss:
    newest = await engine.image(f"{identity.repository}:{identity.floating_tag}")
    if newest is None:
        return Miss(reason="no image")
    labels = newest.labels
    if labels.get(names.SOURCE) != identity.template.url.source:
        return Miss(reason="source changed", detail=f"{labels.get(names.SOURCE)} → {identity.template.url.source}")
    if labels.get(names.COMMIT) == identity.commit:
        return Miss(reason="image was removed")
    return Miss(reason="commit moved", detail=f"{labels.get(names.COMMIT, '?')[:12]} → {identity.commit[:12]}")
