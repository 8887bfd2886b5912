"""Which Git repositories this program talks to: parsed URLs, hostile until they passed here."""

import hashlib
import re
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

DEFAULT_TEMPLATE_PREFIX = "https://git.moleculesai.app/molecule-ai/molecule-ai-workspace-template-"

_HOST = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9.])?|[0-9a-f:.]*:[0-9a-f:.]*")
_PATH = re.compile(r"(/[A-Za-z0-9._~@+-]+)+/?")


@dataclass(frozen=True, slots=True)
class RepositoryUrl:
    """An absolute ``https``, loopback ``http`` or ``file`` URL without user-info, query or fragment.

    Also used for a URL prefix up to a runtime's name. ``str()`` is the URL as Git gets it; nothing in it is secret.
    """

    text: str

    @classmethod
    def parse(cls, text: str) -> "RepositoryUrl":
        """Parse ``text``; raises ValueError with one sentence that says what is wrong with it."""
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            raise ValueError("is not a URL") from None
        if not text.isprintable() or " " in text:  # urlsplit would drop some of these without a word
            raise ValueError("must not contain white space or control characters")
        if parts.scheme not in ("https", "http", "file"):
            raise ValueError("must begin with https://, file:// or, on this machine only, http://")
        if "@" in parts.netloc:
            raise ValueError("must not contain a user name or password; a token belongs in MOLECULE_GITEA_TOKEN")
        if "?" in text or "#" in text:
            raise ValueError("must not have a query or a fragment")
        if not _PATH.fullmatch(parts.path) or ".." in parts.path.split("/"):
            raise ValueError("must have a plain path of letters, digits and . _ ~ @ + -")
        if parts.scheme == "file" and parts.netloc:
            raise ValueError("must have three slashes: file:///path")
        if parts.scheme != "file" and not _HOST.fullmatch(parts.hostname or ""):
            raise ValueError("must name a host")
        if parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
            raise ValueError("must begin with https:// unless the host is this machine")
        host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else (parts.hostname or "")
        netloc = host if port is None else f"{host}:{port}"
        return cls(f"{parts.scheme}://{netloc}{parts.path}")

    def joined(self, runtime: str) -> "RepositoryUrl":
        """The repository of ``runtime`` when this URL is a prefix."""
        return RepositoryUrl(f"{self.text}{runtime}")

    @property
    def scheme(self) -> str:
        """``https``, ``http`` or ``file``."""
        return self.text.split(":", 1)[0]

    @property
    def origin(self) -> str:
        """Scheme, host and port: what a token is bound to, and what is named when it cannot be reached."""
        parts = urlsplit(self.text)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def source(self) -> str:
        """The repository's identity: the URL without a ``.git`` at its end."""
        return self.text.removesuffix(".git")

    @property
    def digest(self) -> str:
        """The first eight hex digits of the sha256 of ``source``, for names of tags and folders."""
        return hashlib.sha256(self.source.encode()).hexdigest()[:8]

    def __str__(self) -> str:
        return self.text


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
