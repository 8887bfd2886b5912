"""What the programs of build steps consume: the proof that a silent one is at work.

Of BuildKit's steps the Engine API tells that they run, and nothing more: ``/system/df`` keeps the size of a running
step at 0. An engine on this machine's kernel shows more in the kernel's own files, to any user: CPU time by control
group, whose name ends with BuildKit's id, and the bytes on the network of its first process. Which build a step belongs
to is not shown. The classic builder's steps are containers, of which the API tells everything, wherever the engine is.
"""

import asyncio
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workspace_server.engine.connection import SLOW, Connection
from workspace_server.engine.here import is_here
from workspace_server.errors import NotFoundError

CGROUPS = Path("/sys/fs/cgroup")
PROCESSES = Path("/proc")

# docker/buildkit/<id> under the cgroupfs driver. Other names with an id of BuildKit's form at their end are taken, too.
_BUILDKIT = re.compile(r"(?:.*[^a-z0-9])?([a-z0-9]{25})(?:\.scope)?")

_COMMAND = re.compile(r"RUN (?:--\S+ +)*(?P<command>.+)", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """What a step's programs have consumed so far: seconds of CPU time, bytes received and sent."""

    cpu_seconds: float = 0.0
    network_bytes: int = 0


Efforts = Mapping[str, Effort]
"""By the id of the step's container."""


class Activity:
    """What ``Engine`` can tell of build steps. Every method raises UnavailableError and DeadlineError, too."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def step_efforts(self, container: str | None) -> Efforts | None:
        """What steps have consumed so far: the classic builder's in ``container``, else all of BuildKit's.

        None when the step's program has ended, and the engine itself works: it saves what was made.
        """
        if container is not None:
            return await self._of_container(container)
        if not await is_here(self._connection):
            return {}
        return await asyncio.to_thread(buildkit_efforts, CGROUPS, PROCESSES)

    async def runs_step(self, name: str) -> bool:
        """Whether the engine works on ``RUN command``, whoever asked for it: builds share equal steps.

        False for what cannot be seen: steps that are no RUN, and those without a shell.
        """
        match = _COMMAND.fullmatch(name)
        if match is None:
            return False
        operation = "say which build steps it runs"
        usage = await self._connection.call("GET", "system/df", operation=operation, limit=SLOW)
        containers = await self._connection.call("GET", "containers/json", operation=operation)
        mounts = [item["Description"] for item in usage.get("BuildCache") or () if item["InUse"]]
        commands = [item["Command"] for item in containers]
        # By a shell: /bin/sh -c command; the list of containers puts it in quotes where it has spaces.
        ends = tuple(f" -c {quote}{match['command']}{quote}" for quote in ("", "'"))
        return any(each.endswith(ends) for each in (*mounts, *commands))

    async def _of_container(self, container: str) -> Efforts | None:
        operation = f"tell what the container {container} consumes"
        query = {"stream": "0", "one-shot": "1"}
        try:
            data = await self._connection.call("GET", f"containers/{container}/json", operation=operation)
            if not data["State"]["Running"]:
                return None
            found = await self._connection.call(
                "GET", f"containers/{container}/stats", operation=operation, params=query
            )
        except NotFoundError:
            return None
        # Of one that ended after the first question the answer is null, or zeros; a running one has cost something.
        effort = container_effort(found) if found else Effort()
        return {container: effort} if effort.cpu_seconds else None


def container_effort(data: Mapping[str, Any]) -> Effort:
    """From ``GET /containers/{id}/stats``."""
    networks = (data.get("networks") or {}).values()
    return Effort(
        cpu_seconds=data["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9,
        network_bytes=sum(each["rx_bytes"] + each["tx_bytes"] for each in networks),
    )


def buildkit_efforts(cgroups: Path, processes: Path) -> Efforts:
    """What every BuildKit step that runs on this kernel has consumed so far; both versions of control groups."""
    found = {}
    v2 = (cgroups / "cgroup.controllers").exists()
    for identity, group in _groups(cgroups if v2 else cgroups / "cpuacct"):
        try:
            cpu = _usage_v2(group) if v2 else int((group / "cpuacct.usage").read_text()) / 1e9
        except OSError:  # it ended meanwhile
            continue
        found[identity] = Effort(cpu_seconds=cpu, network_bytes=_network_bytes(group, processes))
    return found


def _groups(root: Path) -> Iterable[tuple[str, Path]]:
    for parent, folders, _ in os.walk(root):
        for name in folders:
            if (match := _BUILDKIT.fullmatch(name)) is not None:
                yield match[1], Path(parent, name)


def _usage_v2(group: Path) -> float:
    fields = dict(line.split() for line in (group / "cpu.stat").read_text().splitlines())
    return int(fields["usage_usec"]) / 1e6


def _network_bytes(group: Path, processes: Path) -> int:
    """Of the network that the group's first process sees, without its loopback; 0 when it has ended meanwhile."""
    try:
        first = (group / "cgroup.procs").read_text().split()[:1]
        lines = (processes / first[0] / "net" / "dev").read_text().splitlines()[2:] if first else []
    except OSError:
        return 0
    counted = [line.partition(":") for line in lines]
    fields = [counters.split() for name, _, counters in counted if name.strip() != "lo"]
    return sum(int(counters[0]) + int(counters[8]) for counters in fields)
