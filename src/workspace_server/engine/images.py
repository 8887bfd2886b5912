"""Images on the engine, and the registries it pulls them from."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import aiodocker
from aiodocker.exceptions import DockerStreamError

from workspace_server.engine.connection import SLOW, Connection, json_lines, label_filter
from workspace_server.engine.credentials import Credentials
from workspace_server.engine.decode import image_info
from workspace_server.engine.registry_faults import registry_fault
from workspace_server.errors import InvalidRequestError, NotFoundError, WorkspaceServerError
from workspace_server.model.container import ImageInfo

LOCAL_NAMESPACE = "molecule-local"
"""The first part of the names of images that are built here. They exist in no registry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PullProgress:
    """How one layer of a pull stands: ``current`` of ``total`` bytes where the engine knows them."""

    layer: str
    status: str
    current: int | None
    total: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedImage:
    """What a registry has under a name now: its digest, and the platforms it is for (``os/architecture[/variant]``)."""

    digest: str
    platforms: Sequence[str]


class Images:
    """What ``Engine`` can do with images. Every method raises UnavailableError and DeadlineError, too."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def image(self, reference: str) -> ImageInfo | None:
        """The image of that id, tag or digest; None when the engine says that there is none."""
        try:
            data = await self._connection.call(
                "GET", f"images/{reference}/json", operation=f"look at the image {reference}"
            )
        except NotFoundError:
            return None
        return image_info(data)

    async def images(self, labels: Mapping[str, str]) -> list[ImageInfo]:
        """All images that carry ``labels``, also untagged ones. Reads every image: ``image`` is much cheaper."""
        found = await asyncio.gather(*(self.image(item["Id"]) for item in await self._listed_images(labels)))
        return [each for each in found if each is not None]

    async def labels_of_images(self, labels: Mapping[str, str]) -> list[Mapping[str, str]]:
        """The labels of all images that carry ``labels``, those of the newest image first. One call, however many."""
        return [item["Labels"] or {} for item in await self._listed_images(labels)]

    async def _listed_images(self, labels: Mapping[str, str]) -> list[Mapping[str, Any]]:
        listed: list[Mapping[str, Any]] = await self._connection.call(
            "GET", "images/json", operation="list images", params={"filters": label_filter(labels)}
        )
        return listed

    async def tag(self, image_id: str, repository: str, tag: str) -> None:
        """Give an image a name; the name leaves the image that had it. Raises NotFoundError."""
        await self._connection.call(
            "POST",
            f"images/{image_id}/tag",
            operation=f"tag the image {image_id} as {repository}:{tag}",
            params={"repo": repository, "tag": tag},
        )

    async def remove_image(self, reference: str, *, force: bool = False) -> None:
        """Remove a tag, and the image with its last one. It is gone afterwards, also when it was before.

        Raises ConflictError when a container uses the image, or it has several tags and ``reference`` is an id.
        """
        with suppress(NotFoundError):
            await self._connection.call(
                "DELETE",
                f"images/{reference}",
                operation=f"remove the image {reference}",
                params={"force": "1" if force else "0"},
                limit=SLOW,
            )

    async def pull(
        self,
        reference: str,
        platform: str | None,
        credentials: Credentials,
        on_progress: Callable[[PullProgress], None] = lambda _: None,
    ) -> str | None:
        """Pull an image from its registry, with the name's tag or ``latest``; its digest there, if that is told.

        Has no time limit: the caller's decides. Raises SourceError ``registry_denied``, ``registry_rate_limited``,
        ``image_not_found``, ``image_platform_mismatch``, ``image_corrupted`` or ``registry_unreachable``, and
        InvalidRequestError for a name that only a local build can have.
        """
        if LOCAL_NAMESPACE in reference.split("/")[:2]:
            raise InvalidRequestError(
                f"{reference} is built on this machine and is never pulled", code="local_image_not_pulled"
            )
        params = {"fromImage": _with_tag(reference)} | ({"platform": platform} if platform else {})
        digest = None
        with _told_of(reference, credentials):
            async with self._connection.stream(
                "POST",
                "images/create",
                operation=f"pull the image {reference}",
                params=params,
                headers=_shown(reference, credentials),
            ) as body:
                async for message in json_lines(body.iter_any()):
                    if (detail := message.get("errorDetail")) is not None or "error" in message:
                        raise _stream_error(message, detail)
                    progress = _progress(message)
                    digest = _digest(progress.status) or digest
                    on_progress(progress)
        return digest

    async def published(self, reference: str, credentials: Credentials) -> PublishedImage:
        """What the registry has under a name, as the engine sees it; nothing is pulled. Raises what ``pull`` does."""
        with _told_of(reference, credentials):
            found = await self._connection.call(
                "GET",
                f"distribution/{_with_tag(reference)}/json",
                operation=f"ask for the image {reference}",
                headers=_shown(reference, credentials),
            )
        platforms = (
            "/".join(part for part in (each["os"], each["architecture"], each.get("variant")) if part)
            for each in found.get("Platforms") or ()
        )
        return PublishedImage(digest=found["Descriptor"]["digest"], platforms=tuple(platforms))


@contextmanager
def _told_of(reference: str, credentials: Credentials) -> Iterator[None]:
    """A block that asks a registry through the engine: its refusal is told as the registry's."""
    try:
        yield
    except WorkspaceServerError as error:
        if (fault := registry_fault(reference, error.__cause__, credentials)) is not None:
            raise fault from error.__cause__
        raise


def _shown(reference: str, credentials: Credentials) -> Mapping[str, str]:
    """The credentials, for the one host that they are for."""
    return credentials.headers if reference.startswith(f"{credentials.host}/") else {}


def _digest(status: str) -> str | None:
    """The digest, from the line of a pull that tells it."""
    return status.removeprefix("Digest: ") if status.startswith("Digest: sha256:") else None


def _with_tag(reference: str) -> str:
    """Without a tag the engine would pull every tag there is."""
    return reference if ":" in reference.rpartition("/")[2] or "@" in reference else f"{reference}:latest"


def _stream_error(message: Mapping[str, Any], detail: object) -> aiodocker.DockerError:
    """A failure inside the stream, with the HTTP status of its cause where the engine passes it on."""
    detail = detail if isinstance(detail, dict) else {}
    return DockerStreamError(
        str(detail.get("message") or message.get("error")), error_detail=detail, status=int(detail.get("code") or 500)
    )


def _progress(message: Mapping[str, Any]) -> PullProgress:
    detail = message.get("progressDetail") or {}
    return PullProgress(
        layer=str(message.get("id", "")),
        status=str(message.get("status", "")),
        current=detail.get("current"),
        total=detail.get("total"),
    )
