"""Whether the engine runs on this machine's kernel: then the kernel's own files tell about its steps."""

import os
import socket
import sys

from workspace_server.engine.connection import Connection


async def is_here(connection: Connection) -> bool:
    """Whether the engine's kernel is ours: by kernel and host name, since a socket may lead into a virtual machine.

    False also where it cannot be told, as for a server in a container. Raises UnavailableError and DeadlineError.
    """
    if sys.platform != "linux" or not connection.address.local_socket:
        return False
    data = await connection.call("GET", "info", operation="say what it is")
    return (data.get("KernelVersion"), data.get("Name")) == (os.uname().release, socket.gethostname())
