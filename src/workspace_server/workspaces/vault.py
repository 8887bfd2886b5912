"""Sealing and opening secrets: AES-256-GCM, bound to whose they are and what they are called."""

import os
from collections.abc import Sequence
from contextlib import suppress

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_FORM = b"\x01"
_NONCE_BYTES = 12


class UnreadableError(Exception):
    """A sealed value was made with another key, for another place, or was changed."""


class Vault:
    """Seals values with the first of its keys, and opens what was sealed with any of them; 32 bytes each."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._ciphers = [AESGCM(key) for key in keys]

    def seal(self, workspace_id: str | None, name: str, value: str) -> bytes:
        """The value, readable only with the key and only as this secret of this workspace (None: of all)."""
        nonce = os.urandom(_NONCE_BYTES)
        return _FORM + nonce + self._ciphers[0].encrypt(nonce, value.encode(), _place(workspace_id, name))

    def open(self, workspace_id: str | None, name: str, sealed: bytes) -> str:
        """The value; raises UnreadableError."""
        form, nonce, body = sealed[:1], sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        for cipher in self._ciphers if form == _FORM else ():
            with suppress(InvalidTag, ValueError):  # another key's, or cut short
                return cipher.decrypt(nonce, body, _place(workspace_id, name)).decode()
        raise UnreadableError


def _place(workspace_id: str | None, name: str) -> bytes:
    """What a sealed value is bound to. No id and no name holds a NUL, so no two places look alike."""
    owner = "global" if workspace_id is None else f"workspace\0{workspace_id}"
    return f"{owner}\0{name}".encode()
