"""Where this program runs: on the engine's kernel, whose files then tell about its steps; in a container."""

import os
import socket
import sys
from pathlib import Path

from workspace_server.engine.connection import Connection

# The inode numbers that the kernel gives to its first namespaces (include/linux/proc_ns.h).
_FIRST_NAMESPACES = {"pid": 0xEFFFFFFC, "uts": 0xEFFFFFFE, "ipc": 0xEFFFFFFF}


async def is_here(connection: Connection) -> bool:
    """Whether the engine's kernel is ours: by kernel and host name, since a socket may lead into a virtual machine.

    False also where it cannot be told, as for a server in a container. Raises UnavailableError and DeadlineError.
    """
    if sys.platform != "linux" or not connection.address.local_socket:
        return False
    data = await connection.call("GET", "info", operation="say what it is")
    return (data.get("KernelVersion"), data.get("Name")) == (os.uname().release, socket.gethostname())


def runs_in_container() -> bool:
    """Whether this program itself runs in a container, where loopback means nothing to others.

    A virtual machine made from an image carries a container's mark as well, but it has the kernel's first namespaces.
    """
    marked = any(Path(mark).exists() for mark in ("/.dockerenv", "/run/.containerenv"))
    return sys.platform == "linux" and marked and not _in_first_namespaces()


def _in_first_namespaces() -> bool:
    try:
        return all(Path(f"/proc/self/ns/{kind}").stat().st_ino == number for kind, number in _FIRST_NAMESPACES.items())
    except OSError:
        return False
