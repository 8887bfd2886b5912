"""Is the image of a build on the engine? Answered by inspection, never from a record alone."""

from collections.abc import Callable
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


async def look_up(
    engine: Engine, identity: BuildIdentity, was_built: Callable[[str], bool] = lambda _: False
) -> Hit | Miss:
    """Inspect the expected tag; ask by label only when the tag is missing or is another image's.

    ``was_built`` says whether a build of that id is on record to have ended well: then its image was removed.
    """
    tagged = await engine.image(f"{identity.repository}:{identity.tag}")
    if tagged is not None and _agrees(tagged, identity):
        return Hit(image=tagged)
    for image in await engine.images({names.BUILD_ID: identity.build_id}):
        if _agrees(image, identity):
            return Hit(image=image)
    if tagged is not None:
        return Miss(reason="labels disagree", detail=f"{identity.repository}:{identity.tag}")
    if was_built(identity.build_id):
        return Miss(reason="image was removed")
    return await _reason(engine, identity)


def _agrees(image: ImageInfo, identity: BuildIdentity) -> bool:
    return image.labels.get(names.BUILD_ID) == identity.build_id and same_platform(image.platform, identity.platform)


def same_platform(found: str, wanted: str) -> bool:
    """Whether an image's platform is the wanted one; a variant counts only when it was asked for."""
    return found == wanted or found.startswith(f"{wanted}/")


async def _reason(engine: Engine, identity: BuildIdentity) -> Miss:
    """What the runtime's other images tell, the newest of those that have most in common with the wanted one."""
    others = await engine.images({names.MANAGED: "true", names.RUNTIME: identity.template.runtime})
    if not others:
        return Miss(reason="no image")
    source, platform = identity.template.url.source, identity.platform
    of_source = [image.labels for image in others if image.labels.get(names.SOURCE) == source]
    if not of_source:
        return Miss(reason="source changed", detail=f"{others[0].labels.get(names.SOURCE, '?')} → {source}")
    of_platform = [labels for labels in of_source if labels.get(names.PLATFORM) == platform]
    if not of_platform:
        return Miss(reason="platform changed", detail=f"{of_source[0].get(names.PLATFORM, '?')} → {platform}")
    commit = of_platform[0].get(names.COMMIT, "?")
    if commit == identity.commit:
        return Miss(reason="labels disagree", detail=f"of an image of commit {commit[:12]}")
    return Miss(reason="commit moved", detail=f"{commit[:12]} → {identity.commit[:12]}")
