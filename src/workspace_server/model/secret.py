"""Secrets of workspaces: what their names and values may be, and the key that they are kept under."""

import base64
import binascii
import re
from dataclasses import dataclass
from datetime import datetime

KEY_BYTES = 32
LONGEST_VALUE = 64 * 1024

RESERVED = frozenset({"WORKSPACE_ID", "PLATFORM_URL", "MOLECULE_URL", "WORKSPACE_CONFIG_PATH", "TIER"})
"""What the server itself tells a container. No secret takes their place."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretInfo:
    """A secret as it is shown: never its value."""

    key: str
    is_global: bool
    created_at: datetime
    updated_at: datetime


def check_secret(key: str, value: str) -> None:
    """Raise ValueError, in words, for what no container's environment can hold or no secret may replace."""
    if not _NAME.fullmatch(key):
        raise ValueError("a secret's key is a variable's name: letters, digits and _, at most 128")
    if key in RESERVED:
        raise ValueError(f"{key} is set by the server and cannot be a secret")
    if "\0" in value or len(value.encode()) > LONGEST_VALUE:
        raise ValueError(f"the value of {key} is longer than 64 KiB or holds a NUL")


def parse_encryption_key(text: str) -> bytes:
    """The 32 bytes of a key: the text itself when it has exactly 32 bytes, else base64 of 32 bytes.

    The text itself comes first: 32 characters may look like base64, and would then stand for 24 bytes. Raises
    ValueError that repeats nothing of the text.
    """
    for raw in (text.encode(), text.strip().encode()):
        if len(raw) == KEY_BYTES:
            return raw
    compact = text.strip().replace("-", "+").replace("_", "/").rstrip("=")
    try:
        key = base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise ValueError("is neither 32 characters nor base64 of 32 bytes")
    return key
