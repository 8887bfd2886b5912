"""Is the image of a build on the engine? Answered by inspection, never from a record alone.

An image is a hit when the ledger says that a build of that id made it, and its labels and its platform agree. Labels
alone would not do: they can be forged, and an image built ``FROM`` another inherits them.
"""

from collections.abc import Callable
from dataclasses import dataclass

from workspace_server.engine import Engine
from workspace_server.images.identity import BuildIdentity
from workspace_server.images.ledger import ImageLedger
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
    engine: Engine, ledger: ImageLedger, identity: BuildIdentity, was_built: Callable[[str], bool] = lambda _: False
) -> Hit | Miss:
    """Inspect the expected tag; ask by label only when the tag is missing or is another image's.

    ``was_built`` says whether a build of that id is on record to have ended well: then its image was removed.
    """
    image, others = await _candidates(engine, ledger, identity)
    if image is not None:
        return Hit(image=image)
    if others:
        return _disagreement(others[0], identity)
    if was_built(identity.build_id):
        return Miss(reason="image was removed")
    return await _reason(engine, identity)


async def find(engine: Engine, ledger: ImageLedger, identity: BuildIdentity) -> ImageInfo | None:
    """The same without the reason of a miss, which costs more the more images a runtime has."""
    image, _ = await _candidates(engine, ledger, identity)
    return image


async def _candidates(
    engine: Engine, ledger: ImageLedger, identity: BuildIdentity
) -> tuple[ImageInfo | None, list[ImageInfo]]:
    """The image of the build, if it is there; without it, those that have its tag or its build id."""
    others: list[ImageInfo] = []
    tagged = await engine.image(f"{identity.repository}:{identity.tag}")
    if tagged is not None:
        others.append(tagged)
    if tagged is None or not _is_of(identity, tagged, ledger):
        others += await engine.images({names.BUILD_ID: identity.build_id})
    return next((image for image in others if _is_of(identity, image, ledger)), None), others


def _is_of(identity: BuildIdentity, image: ImageInfo, ledger: ImageLedger) -> bool:
    return _agrees(image, identity) and ledger.has_made(image.id, identity.build_id)


def _agrees(image: ImageInfo, identity: BuildIdentity) -> bool:
    return image.labels.get(names.BUILD_ID) == identity.build_id and same_platform(image.platform, identity.platform)


def _disagreement(image: ImageInfo, identity: BuildIdentity) -> Miss:
    """What is wrong with an image that has the tag or the build id of the wanted one."""
    name = next(iter(image.tags), image.id)
    source, wanted = image.labels.get(names.SOURCE), identity.template.url.source
    if source is not None and source != wanted:
        return Miss(reason="source changed", detail=f"{source} → {wanted}")
    if not same_platform(image.platform, identity.platform):
        return Miss(reason="platform changed", detail=f"{image.platform} → {identity.platform}")
    if image.labels.get(names.BUILD_ID) == identity.build_id:
        return Miss(reason="not made here", detail=name)
    return Miss(reason="labels disagree", detail=name)


def same_platform(found: str, wanted: str) -> bool:
    """Whether an image's platform is the wanted one; a variant counts only when it was asked for."""
    return found == wanted or found.startswith(f"{wanted}/")


async def _reason(engine: Engine, identity: BuildIdentity) -> Miss:
    """What the runtime's other images tell, the newest of those that have most in common with the wanted one."""
    others = await engine.labels_of_images({names.MANAGED: "true", names.RUNTIME: identity.template.runtime})
    if not others:
        return Miss(reason="no image")
    source, platform = identity.template.url.source, identity.platform
    of_source = [labels for labels in others if labels.get(names.SOURCE) == source]
    if not of_source:
        return Miss(reason="source changed", detail=f"{others[0].get(names.SOURCE, '?')} → {source}")
    of_platform = [labels for labels in of_source if labels.get(names.PLATFORM) == platform]
    if not of_platform:
        return Miss(reason="platform changed", detail=f"{of_source[0].get(names.PLATFORM, '?')} → {platform}")
    commit = of_platform[0].get(names.COMMIT, "?")
    if commit == identity.commit:
        return Miss(reason="labels disagree", detail=f"of an image of commit {commit[:12]}")
    return Miss(reason="commit moved", detail=f"{commit[:12]} → {identity.commit[:12]}")
