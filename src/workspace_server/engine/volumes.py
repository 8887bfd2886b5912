"""Named volumes on the engine."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from workspace_server.engine.connection import SLOW, Connection, label_filter
from workspace_server.errors import NotFoundError


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeInfo:
    """A named volume as found."""

    name: str
    labels: Mapping[str, str]


class Volumes:
    """What ``Engine`` can do with volumes. Every method raises UnavailableError and DeadlineError, too."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def ensure_volume(self, name: str, labels: Mapping[str, str]) -> None:
        """Create a volume with ``labels``; one that exists stays as it is, with the labels it has."""
        await self._connection.call(
            "POST",
            "volumes/create",
            operation=f"create the volume {name}",
            body={"Name": name, "Labels": dict(labels)},
            limit=SLOW,
        )

    async def volumes(self, labels: Mapping[str, str]) -> list[VolumeInfo]:
        """All volumes that carry ``labels``."""
        listed = await self._connection.call(
            "GET", "volumes", operation="list volumes", params={"filters": label_filter(labels)}
        )
        return [VolumeInfo(name=each["Name"], labels=each["Labels"] or {}) for each in listed["Volumes"] or ()]

    async def remove_volume(self, name: str) -> None:
        """Remove a volume with what is in it. It is gone afterwards, also when it was before.

        Raises ConflictError while a container uses it, running or not.
        """
        with suppress(NotFoundError):
            await self._connection.call("DELETE", f"volumes/{name}", operation=f"remove the volume {name}", limit=SLOW)
