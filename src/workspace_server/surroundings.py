"""What this program itself runs in."""

import sys
from pathlib import Path

# The inode numbers that the kernel gives to its first namespaces (include/linux/proc_ns.h).
_FIRST_NAMESPACES = {"pid": 0xEFFFFFFC, "uts": 0xEFFFFFFE, "ipc": 0xEFFFFFFF}


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
