"""An engine of which nothing exists but its records: for more sequences of events than containers can be started for.

What the real engine does at each of these calls is tested beside it, in ``tests/engine`` and ``test_lifecycle.py``.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from workspace_server.engine.volumes import VolumeInfo
from workspace_server.errors import ConflictError, NotFoundError, UnavailableError
from workspace_server.model import names
from workspace_server.model.container import ContainerFile, ContainerInfo, ContainerSpec, NetworkInfo

_AWAY = UnavailableError("the engine is away", code="engine_unavailable", hint="start it")
_REFUSED = UnavailableError("the engine could not do it", code="engine_error")


@dataclass
class MemoryEngine:
    """The calls of ``Engine`` that workspaces need. Each of them lets others run before and after it takes effect."""

    containers_: dict[str, ContainerInfo] = field(default_factory=dict)
    volumes_: dict[str, Mapping[str, str]] = field(default_factory=dict)
    away: bool = False
    refuse: set[str] = field(default_factory=set)
    """Calls that fail the next time."""
    waited_for: dict[str, int] = field(default_factory=dict)
    """The generation of workspaces' containers whose end somebody waits for: nothing happens until an agent calls."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    broken: list[str] = field(default_factory=list)
    """What must never be asked for."""
    _ended: dict[str, asyncio.Event] = field(default_factory=dict)
    _made: int = 0

    async def _reached(self, call: str) -> None:
        await asyncio.sleep(0)
        if self.away:
            raise _AWAY
        if call in self.refuse:
            self.refuse.remove(call)
            raise _REFUSED

    async def ensure_network(self, name: str) -> NetworkInfo:
        await self._reached("ensure_network")
        return NetworkInfo(id=name, gateway="172.18.0.1", device="br-memory")

    async def volumes(self, labels: Mapping[str, str]) -> list[VolumeInfo]:
        await self._reached("volumes")
        found = self.volumes_.items()
        return [VolumeInfo(name=name, labels=own) for name, own in found if labels.items() <= own.items()]

    async def ensure_volume(self, name: str, labels: Mapping[str, str]) -> None:
        await self._reached("ensure_volume")
        self.volumes_.setdefault(name, dict(labels))
        await asyncio.sleep(0)

    async def remove_volume(self, name: str) -> None:
        await self._reached("remove_volume")
        self.volumes_.pop(name, None)
        await asyncio.sleep(0)

    async def containers(self, labels: Mapping[str, str]) -> list[ContainerInfo]:
        await self._reached("containers")
        found = [each for each in self.containers_.values() if labels.items() <= each.labels.items()]
        await asyncio.sleep(0)
        return found

    async def container(self, container_id: str) -> ContainerInfo | None:
        await self._reached("container")
        return self.containers_.get(container_id)

    async def create_container(self, spec: ContainerSpec) -> str:
        await self._reached("create_container")
        if any(each.name == spec.name for each in self.containers_.values()):
            self.broken.append(f"a second container {spec.name}")
            raise ConflictError("the name is taken", code="name_taken")
        for mount in spec.mounts:  # as the engine does: what is missing is made, without labels
            self.volumes_.setdefault(mount.source, {})
        self._made += 1
        container_id = f"{self._made:012d}"
        self._ended[container_id] = asyncio.Event()
        self.containers_[container_id] = ContainerInfo(
            id=container_id,
            name=spec.name,
            labels=dict(spec.labels),
            image_id=spec.image_id,
            running=False,
            exit_code=None,
            addresses=(),
            agent_port=None,
        )
        await asyncio.sleep(0)
        return container_id

    async def copy_files(self, container_id: str, files: Sequence[ContainerFile]) -> None:
        await self._reached("copy_files")
        self._there(container_id)

    async def read_file(self, container_id: str, _path: str) -> bytes | None:
        await self._reached("read_file")
        self._there(container_id)
        return None

    async def read_file_of_volume(self, volume: str, _path: str, **_: Any) -> bytes | None:
        await self._reached("read_file_of_volume")
        if volume not in self.volumes_:
            self.broken.append(f"a look into the volume {volume}, which is not there")
        return None

    async def start(self, container_id: str) -> None:
        await self._reached("start")
        self.containers_[container_id] = replace(self._there(container_id), running=True, agent_port=8000)
        await asyncio.sleep(0)

    async def stop_container(self, container_id: str) -> None:
        await self._reached("stop_container")
        self.die(self._there(container_id))

    async def remove_container(self, container_id: str) -> None:
        await self._reached("remove_container")
        if (container := self.containers_.get(container_id)) is not None:
            self.die(container)
            del self.containers_[container_id]
        await asyncio.sleep(0)

    async def wait_exit(self, container_id: str) -> int:
        await self._reached("wait_exit")
        labels = self._there(container_id).labels
        workspace, generation = labels[names.WORKSPACE_ID], int(labels[names.GENERATION])
        self.waited_for[workspace] = generation
        self.changed.set()
        try:
            await self._ended[container_id].wait()
        finally:
            if self.waited_for.get(workspace) == generation:
                del self.waited_for[workspace]
        if self.away:
            raise _AWAY
        return 137

    async def logs_tail(self, container_id: str, lines: int) -> str:
        await self._reached("logs_tail")
        return "last words"

    def die(self, container: ContainerInfo) -> None:
        """Its process ends, behind everybody's back."""
        self.containers_[container.id] = replace(container, running=False, exit_code=137, agent_port=None)
        self._ended[container.id].set()

    def of(self, workspace: str) -> list[ContainerInfo]:
        return [each for each in self.containers_.values() if each.labels.get(names.WORKSPACE_ID) == workspace]

    def _there(self, container_id: str) -> ContainerInfo:
        if (container := self.containers_.get(container_id)) is None:
            raise NotFoundError("there is no such container", code="container_not_found")
        return container


def foreign(name: str, labels: Mapping[str, str]) -> dict[str, Any]:
    """The fields of a container of somebody else."""
    return {
        "id": name,
        "name": name,
        "labels": labels,
        "image_id": "sha256:0",
        "running": True,
        "exit_code": None,
        "addresses": (),
        "agent_port": None,
    }
