"""A secret that is looked for, in every form that a program may give it, in whatever a test collected."""

import base64
import gzip
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, quote_plus

_GZIP = b"\x1f\x8b"
_ESCAPE = re.compile("%..")


@dataclass(frozen=True, slots=True, order=True)
class Hit:
    """A secret in a place: of what kind the place is, which one it is, which secret, and in what form."""

    kind: str
    place: str
    secret: str
    form: str


@dataclass(slots=True)
class SecretSearch:
    """``secrets`` by name. ``searched`` counts the bytes that were looked through, by kind of place."""

    secrets: Mapping[str, str]
    hits: list[Hit] = field(default_factory=list)
    searched: Counter[str] = field(default_factory=Counter)

    def look(self, kind: str, place: object, content: bytes | str) -> list[Hit]:
        """Look through some bytes, also through what they are when they are compressed; return and keep the hits."""
        data = content.encode(errors="surrogateescape") if isinstance(content, str) else content
        if data.startswith(_GZIP):
            data = gzip.decompress(data)
        self.searched[kind] += len(data)
        found = [
            Hit(kind, str(place), name, form)
            for name, secret in self.secrets.items()
            for form, written in forms(secret).items()
            if written in data
        ]
        self.hits += found
        return found

    def look_below(self, kind: str, root: Path) -> list[Path]:
        """Look through every file below a folder, and at the names and link targets there; return the files."""
        paths = sorted(root.rglob("*"))
        for path in paths:
            self.look(kind, path, str(path.relative_to(root)))
            if path.is_symlink():
                self.look(kind, path, str(path.readlink()))
            elif path.is_file():
                self.look(kind, path, path.read_bytes())
        return [path for path in paths if path.is_file() and not path.is_symlink()]

    def of(self, kind: str) -> list[Hit]:
        """Return the hits in places of a kind."""
        return [hit for hit in self.hits if hit.kind == kind]


def forms(secret: str) -> dict[str, bytes]:
    """Return a secret as it is written, and as programs write it: quoted, in hex, inside base64 wherever it begins."""
    raw = secret.encode()
    texts = {
        "as it is": secret,
        "in a URL": quote(secret, safe=""),
        "in a form": quote_plus(secret),
        "in a URL, lower case": _ESCAPE.sub(lambda escape: escape[0].lower(), quote(secret, safe="")),
        "in JSON": json.dumps(secret)[1:-1],
        "in Python": repr(secret)[1:-1],
        "in hex": raw.hex(),
        "in hex, upper case": raw.hex().upper(),
    }
    written = {form: text.encode() for form, text in texts.items()}
    for offset in range(3):
        inside = _inside_base64(raw, offset)
        written[f"in base64 at {offset}"] = inside
        written[f"in base64 for URLs at {offset}"] = inside.replace(b"+", b"-").replace(b"/", b"_")
    return written


def _inside_base64(raw: bytes, offset: int) -> bytes:
    """The digits that depend on the secret alone, when so many bytes (modulo 3) stand before it."""
    digits = base64.b64encode(bytes(offset) + raw).rstrip(b"=")
    shared_at_the_end = 1 if (offset + len(raw)) % 3 else 0
    return digits[(0, 2, 3)[offset] : len(digits) - shared_at_the_end]
