"""Ports that nobody listens on."""

import random
import socket
from contextlib import suppress

_PORTS = range(20_000, 32_000)  # below those that systems give to outgoing connections and engines to containers


def free_port() -> int:
    """Return a port that nobody listens on."""
    for port in random.sample(_PORTS, 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("0.0.0.0", port))
            return port
    raise AssertionError("no free port was found")
