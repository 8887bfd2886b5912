"""Containers on the engine."""

import asyncio
import io
import tarfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Any

from workspace_server.concurrency import Deadline
from workspace_server.engine.connection import SLOW, Connection, label_filter
from workspace_server.engine.decode import container_info, listed_container_info
from workspace_server.engine.encode import CPU_SHARES, ENGINE_SOCKET, container_config
from workspace_server.errors import ConflictError, InvalidRequestError, NotFoundError, UnavailableError
from workspace_server.model.container import ContainerFile, ContainerInfo, ContainerSpec
from workspace_server.model.names import INSTANCE, MANAGED, WORKSPACE_ID

_OWNER = 1000
_LARGEST_FILE = 1024 * 1024
_TAR_OVERHEAD = 64 * 1024
_CARRIED = "/carried"


class Containers:
    """What ``Engine`` can do with containers. Every method raises UnavailableError and DeadlineError, too."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def create_container(self, spec: ContainerSpec) -> str:
        """Create a container, not started, and return its id.

        Raises ConflictError ``container_name_taken``, NotFoundError ``image_not_found``, ConflictError
        ``image_platform_mismatch`` when the image is for another platform than ``spec.platform``, and
        InvalidRequestError for a mount whose source does not exist.
        """
        params = {"name": spec.name} | ({"platform": spec.platform} if spec.platform else {})
        operation = f"create the container {spec.name}"
        try:
            created = await self._connection.call(
                "POST",
                "containers/create",
                operation=operation,
                params=params,
                body=container_config(spec, await self._cpus(spec), self._connection.address.socket or ENGINE_SOCKET),
                limit=SLOW,
            )
        except ConflictError as error:
            raise ConflictError(error.message, code="container_name_taken") from error
        except NotFoundError as error:
            raise _image_refusal(spec, error) from error
        return str(created["Id"])

    async def _cpus(self, spec: ContainerSpec) -> int | None:
        """How many CPUs the engine's machine has; None where a limit of no more than one makes that the same."""
        if spec.limits.cpu_shares is None or spec.limits.cpu_shares <= CPU_SHARES:
            return None
        data = await self._connection.call("GET", "info", operation="say how many CPUs it has")
        return int(data["NCPU"])

    async def copy_files(self, container_id: str, files: Sequence[ContainerFile]) -> None:
        """Put files into a container that has not started yet; they and their directories belong to uid 1000.

        That includes the topmost directory: ``/configs``, whose fresh volume belongs to root. Files for a container
        with a read-only root must be for its mounts. Raises NotFoundError when the container does not exist.
        """
        operation = f"copy files into the container {container_id[:12]}"
        try:
            await self._put(container_id, files, operation)
        except (InvalidRequestError, UnavailableError):  # a read-only root is a 500 or a 403, depending on the engine
            own = await self._connection.call("GET", f"containers/{container_id}/json", operation=operation)
            if not own["HostConfig"]["ReadonlyRootfs"]:
                raise
            await self._carry(own, files, operation)

    async def _put(self, container_id: str, files: Sequence[ContainerFile], operation: str) -> None:
        path = f"containers/{container_id}/archive"
        await self._connection.call(
            "PUT", path, operation=operation, params={"path": "/"}, body=archive(files), limit=SLOW
        )

    async def _carry(self, own: Mapping[str, Any], files: Sequence[ContainerFile], operation: str) -> None:
        """Copy into the mounts of a container with a read-only root, through another container that has them too.

        The engine takes an archive for such a container only below a mount, and then leaves the mount's own directory
        to root.
        """
        # Whose it is, so that it is found should nobody come to remove it; but no generation: it is no workspace's own.
        kept = (MANAGED, INSTANCE, WORKSPACE_ID)
        labels = {name: value for name, value in own["Config"]["Labels"].items() if name in kept}
        body = {"Image": own["Image"], "Labels": labels, "HostConfig": {"Mounts": own["HostConfig"]["Mounts"]}}
        carrier = await self._connection.call("POST", "containers/create", operation=operation, body=body, limit=SLOW)
        try:
            await self._put(carrier["Id"], files, operation)
        finally:
            await self.remove_container(carrier["Id"])

    async def read_file(self, container_id: str, path: str) -> bytes | None:
        """A file of a container, running or not; None when there is no such container, or no regular file.

        Raises InvalidRequestError for a file of more than a MiB.
        """
        operation = f"read {path} of the container {container_id[:12]}"
        stream = self._connection.stream(
            "GET", f"containers/{container_id}/archive", operation=operation, params={"path": path}
        )
        raw = bytearray()
        try:
            async with Deadline(SLOW).limit(operation), stream as body:
                async for chunk in body.iter_any():
                    raw += chunk
                    if len(raw) > _LARGEST_FILE + _TAR_OVERHEAD:
                        raise InvalidRequestError(f"{path} in the container has more than a MiB")
        except NotFoundError:
            return None
        with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
            member = tar.next()
            # Whoever works in the container may have put anything in its place: a link leads nowhere in the archive.
            content = tar.extractfile(member) if member is not None and member.isreg() else None
            return content.read() if content is not None else None

    async def read_file_of_volume(
        self, volume: str, path: str, *, image_id: str, labels: Mapping[str, str]
    ) -> bytes | None:
        """A file of a volume that exists, through a container with ``labels`` that never starts; None as above."""
        operation = f"read {path} of the volume {volume}"
        mount = {"Type": "volume", "Source": volume, "Target": _CARRIED, "ReadOnly": True}
        body = {"Image": image_id, "Labels": dict(labels), "HostConfig": {"Mounts": [mount]}}
        carrier = await self._connection.call("POST", "containers/create", operation=operation, body=body, limit=SLOW)
        try:
            return await self.read_file(carrier["Id"], f"{_CARRIED}/{path}")
        finally:
            await self.remove_container(carrier["Id"])

    async def start(self, container_id: str) -> None:
        """Start a container; one that runs already stays as it is. Raises NotFoundError."""
        operation = f"start the container {container_id[:12]}"
        await self._connection.call("POST", f"containers/{container_id}/start", operation=operation, limit=SLOW)

    async def stop_container(self, container_id: str) -> None:
        """Stop a container and keep it; killed when it does not end by itself within 10 s. Raises NotFoundError."""
        operation = f"stop the container {container_id[:12]}"
        await self._connection.call("POST", f"containers/{container_id}/stop", operation=operation, limit=SLOW)

    async def container(self, id_or_name: str) -> ContainerInfo | None:
        """The container, running or not; None when the engine says that there is none."""
        try:
            data = await self._connection.call(
                "GET", f"containers/{id_or_name}/json", operation=f"look at the container {id_or_name}"
            )
        except NotFoundError:
            return None
        return container_info(data)

    async def containers(self, labels: Mapping[str, str]) -> list[ContainerInfo]:
        """All containers that carry ``labels``, also stopped ones."""
        listed = await self._connection.call(
            "GET",
            "containers/json",
            operation="list containers",
            params={"all": "1", "filters": label_filter(labels)},
        )
        found = await asyncio.gather(*(self._listed(item) for item in listed))
        return [each for each in found if each is not None]

    async def _listed(self, item: Mapping[str, str]) -> ContainerInfo | None:
        return listed_container_info(item) or await self.container(item["Id"])

    async def remove_container(self, container_id: str) -> None:
        """Kill and remove a container with its anonymous volumes. It is gone afterwards, also when it was before."""
        operation = f"remove the container {container_id[:12]}"
        try:
            await self._connection.call(
                "DELETE", f"containers/{container_id}", operation=operation, params={"force": "1", "v": "1"}, limit=SLOW
            )
        except NotFoundError:
            return
        except ConflictError:  # somebody else is removing it
            with suppress(NotFoundError):
                await self._wait(container_id, "removed", operation, SLOW)

    async def wait_exit(self, container_id: str) -> int:
        """Wait until a started container ends and return its exit code. Raises NotFoundError when there is none."""
        return await self._wait(container_id, "not-running", f"wait for the container {container_id[:12]}", None)

    async def _wait(self, container_id: str, condition: str, operation: str, limit: float | None) -> int:
        ended = await self._connection.call(
            "POST",
            f"containers/{container_id}/wait",
            operation=operation,
            params={"condition": condition},
            limit=limit,
        )
        return int(ended["StatusCode"])


def archive(files: Sequence[ContainerFile]) -> bytes:
    """A tar for ``/`` of files and of all directories above them, all of them uid and gid 1000's."""
    relative = {PurePosixPath(file.path).relative_to("/"): file for file in files}
    directories = {parent for path in relative for parent in path.parents if parent.parts}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for directory in sorted(directories):
            entry = _entry(f"{directory}/", 0o755)
            entry.type = tarfile.DIRTYPE
            tar.addfile(entry)
        for path, file in sorted(relative.items()):
            entry = _entry(str(path), file.mode)
            entry.size = len(file.content)
            tar.addfile(entry, io.BytesIO(file.content))
    return buffer.getvalue()


def _entry(name: str, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.uid = entry.gid = _OWNER
    entry.mode = mode
    entry.mtime = int(time.time())
    return entry


def _image_refusal(spec: ContainerSpec, error: NotFoundError) -> ConflictError | NotFoundError:
    # Both answers are a 404 about the image; only the text tells a missing image from one of another platform.
    if "does not match the specified platform" in error.message:
        return ConflictError(
            f"the image {spec.image_id} is not for the platform {spec.platform}", code="image_platform_mismatch"
        )
    return NotFoundError(
        f"the image {spec.image_id} is not on the engine",
        code="image_not_found",
        hint="somebody removed it since it was looked up; try again",
    )
